"""The layers of backprop networks as torch modules: blocks of a linear map, a nonlinearity and what follows them.

The same module is trained, stored as arrays of a state, and loaded again as a frozen encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
import xarray as xr
from torch import Tensor, nn

from biorep.contracts import Quantity
from biorep.nn.encoder import Encoder, rectified_power, taken
from biorep.nn.whitening import Whitening
from biorep.schema import describe, learnt_array
from biorep.words import checked

Activation = Literal["relu", "tanh", "softplus"]
#: What a layer of BatchNorm has learnt: name in the state -> attribute of torch's module, meaning.
NORM = {
    "norm_mean": ("running_mean", "mean of the responses, taken off"),
    "norm_variance": ("running_var", "variance of the responses, divided by its root"),
    "norm_weight": ("weight", "scale after that"),
    "norm_bias": ("bias", "shift after that"),
}


@checked
def activate(currents: Tensor, activation: Activation, power: float | None) -> Tensor:
    """Return ``max(0, h)^power``, ``tanh(h)`` or ``log(1 + exp(h))``."""
    if activation == "relu":
        return rectified_power(currents, power)
    return torch.tanh(currents) if activation == "tanh" else nn.functional.softplus(currents)


class Block(nn.Module):
    """A hidden layer: ``response = pool(norm(activation(layer(x))))``, and perhaps whitening on the way to the next.

    Parameters
    ----------
    layer : nn.Linear or nn.Conv2d
    activation : str
    power : float
        Exponent of the ReLU.
    norm : nn.Module, optional
        BatchNorm, after the nonlinearity, or before it with `norm_first`.
    pool : int
        Side of the squares of which the largest response is taken; 1: none.
    whitening : Whitening, optional
        Of the flat responses.
    """

    @checked
    def __init__(
        self,
        layer: nn.Linear | nn.Conv2d,
        activation: Activation,
        power: float = 1.0,
        *,
        norm: nn.Module | None = None,
        norm_first: bool = False,
        pool: int = 1,
        whitening: Whitening | None = None,
    ):
        super().__init__()
        self.layer, self.nonlinearity, self.power = layer, activation, power
        self.norm, self.norm_first, self.pool, self.whitening = norm, norm_first, pool, whitening

    def currents(self, values: Tensor) -> Tensor:
        """Return the currents for what the previous block passes on."""
        return self.layer(values.flatten(1) if isinstance(self.layer, nn.Linear) else values)

    def respond(self, currents: Tensor) -> Tensor:
        """Return the responses to currents."""
        if self.norm is not None and self.norm_first:
            currents = self.norm(currents)
        values = activate(currents, self.nonlinearity, self.power)
        if self.norm is not None and not self.norm_first:
            values = self.norm(values)
        return nn.functional.max_pool2d(values, self.pool) if self.pool > 1 else values

    def pass_on(self, responses: Tensor) -> Tensor:
        """Return what the next block gets."""
        return responses if self.whitening is None else self.whitening(responses.flatten(1))


class Hidden(nn.Module):
    """Hidden layers, one after the other.

    Parameters
    ----------
    blocks : sequence of Block
    shape : (channel, row, column), optional
        Of images whose first block is a convolution; they arrive as rows of (row, column, channel).
    """

    def __init__(self, blocks: Sequence[Block], shape: tuple[int, int, int] | None = None):
        super().__init__()
        self.blocks, self.shape = nn.ModuleList(blocks), shape

    def __iter__(self) -> Iterator[Block]:
        return iter(self.blocks)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.blocks)

    @property
    def last(self) -> Block:
        """The block whose responses are the representation."""
        return self.blocks[-1]  # type: ignore[return-value]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers: ``conv_1``, ..., ``dense_1``, ... if there are convolutions, else ``hidden_1``, ..."""
        kinds = ["conv" if isinstance(block.layer, nn.Conv2d) else "dense" for block in self]
        if "conv" not in kinds:
            kinds = ["hidden"] * len(kinds)
        return tuple(f"{kind}_{kinds[: index + 1].count(kind)}" for index, kind in enumerate(kinds))

    def trace(self, rows: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the flat responses of all blocks, and the currents of the last one."""
        responses: list[Tensor] = []
        values = currents = self.images(rows)
        for block in self:
            currents = block.currents(values)
            response = block.respond(currents)
            responses.append(response.flatten(1))
            values = block.pass_on(response)
        return responses, currents.flatten(1)

    def currents(self, rows: Tensor, layer: int = -1) -> Tensor:
        """Return the currents of a block, (presentation, neuroid) or (presentation, channel, row, column)."""
        *before, wanted = list(self)[: layer % len(self) + 1]
        values = self.images(rows)
        for block in before:
            values = block.pass_on(block.respond(block.currents(values)))
        return wanted.currents(values)

    def images(self, rows: Tensor) -> Tensor:
        """Return rows as images (presentation, channel, row, column) if the first block is a convolution."""
        if self.shape is None:
            return rows
        channels, height, width = self.shape
        return rows.view(len(rows), height, width, channels).movedim(-1, 1)


class Trainable(nn.Module):
    """Hidden layers and the linear output layer; preprocessed rows to logits."""

    def __init__(self, hidden: Hidden, output: nn.Linear):
        super().__init__()
        self.hidden, self.output = hidden, output

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.hidden)

    def trace(self, rows: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return the responses of the hidden layers, the currents of the last one, and the logits."""
        responses, currents = self.hidden.trace(rows)
        return responses, currents, self.output(responses[-1])

    def forward(self, rows: Tensor) -> Tensor:
        """Return the logits."""
        return self.trace(rows)[2]


class FrozenLayers(Encoder):
    """Frozen hidden layers: images to responses.

    Parameters
    ----------
    hidden : Hidden
    inputs, neuroids : int
    mean, sd : sequence of float, optional
        Of each channel: images are shifted and divided by them first.
    input_norm : float, optional
    together : int, optional
        See `Encoder`.
    """

    def __init__(
        self,
        hidden: Hidden,
        inputs: int,
        neuroids: int,
        *,
        mean: Sequence[float] | None = None,
        sd: Sequence[float] | None = None,
        input_norm: float | None = None,
        together: int | None = None,
    ):
        super().__init__(inputs, neuroids, input_norm=input_norm, power=None)
        self.hidden, self.together = hidden, together
        self.mean, self.sd = mean, sd
        self.eval()
        self.requires_grad_(False)

    def normalise(self, images: Tensor) -> Tensor:
        """Return images (presentation, ..., channel) as standardised and normalised rows."""
        return super().normalise(standardised(taken(images, self), self.mean, self.sd))

    def layers(self) -> tuple[str, ...]:
        """Return the names of the hidden layers."""
        return self.hidden.names

    @checked
    def values(self, rows: Tensor, layer: int, quantity: Quantity) -> Tensor:
        """Return currents or responses of a hidden layer, counted from 0, (presentation, neuroid).

        Those of a convolution are flat, channel by channel; its currents are those before pooling, so more of them.
        """
        currents = self.hidden.currents(rows, layer)
        block = self.hidden.blocks[layer]
        assert isinstance(block, Block)
        return (currents if quantity == "preactivation" else block.respond(currents)).flatten(1)

    def preactivation(self, rows: Tensor) -> Tensor:
        """Return the currents of the last hidden layer."""
        return self.hidden.currents(rows).flatten(1)

    def activation(self, currents: Tensor) -> Tensor:
        """Return the responses to currents of the last layer."""
        return self.hidden.last.respond(currents)


def standardised(images: Tensor, mean: Sequence[float] | None, sd: Sequence[float] | None) -> Tensor:
    """Return images (presentation, ..., channel), each channel less its mean and divided by its standard deviation."""
    if mean is None or sd is None:
        return images
    return (images - torch.as_tensor(mean).to(images)) / torch.as_tensor(sd).to(images)


def stored_arrays(hidden: Hidden) -> Iterator[tuple[str, tuple[str, ...], Tensor, str]]:
    """Yield name, dims, values and meaning of every array of the hidden layers that a state keeps."""
    previous = "input" if hidden.shape is None else "channel"
    for index, block in enumerate(hidden):
        current = "neuroid" if block is hidden.last else f"hidden_{index}"
        kernel = () if isinstance(block.layer, nn.Linear) else ("kernel_row", "kernel_column")
        weights = (current, previous, *(f"{name}_{index}" for name in kernel))
        yield f"weights_{index}", weights, block.layer.weight, f"weights into hidden layer {index}"
        if block.layer.bias is not None:
            yield f"bias_{index}", (current,), block.layer.bias, f"bias of hidden layer {index}"
        if block.norm is not None:
            for name, (attribute, meaning) in NORM.items():
                values = getattr(block.norm, attribute)
                yield f"{name}_{index}", (current,), values, f"BatchNorm of hidden layer {index}: {meaning}"
        if kernel:
            current = f"{current}_flat"
        if block.whitening is not None and block.whitening.statistics == "stored":
            yield (
                f"whitening_mean_{index}",
                (current,),
                block.whitening.mean,
                f"mean of hidden layer {index}, taken off",
            )
            meaning = f"lower Cholesky factor of the second moment of hidden layer {index}"
            yield f"whitening_factor_{index}", (current, f"{current}_in"), block.whitening.factor, meaning
        previous = current


def save_hidden(hidden: Hidden, state: xr.Dataset) -> None:
    """Add the arrays of the hidden layers to a state."""
    for name, dims, values, meaning in stored_arrays(hidden):
        state[name] = (dims, values.detach().cpu().numpy().copy())
        describe(state, {name: (meaning, "1")})


def load_hidden(hidden: Hidden, state: xr.Dataset) -> None:
    """Copy the arrays of a state into the hidden layers."""
    with torch.no_grad():
        for name, dims, values, _ in stored_arrays(hidden):
            values.copy_(torch.as_tensor(learnt_array(state, name, dims, tuple(values.shape))))
