"""Frozen networks as torch modules: pixels in [0, 1] to responses, normalisation inside.

Layers are named from the input on; ``last`` is another name of the last one, whose response is what a module returns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from biorep.contracts import Quantity
from biorep.errors import DataError, choose
from biorep.words import checked

#: Images encoded at once; bounds the memory, changes nothing else.
BATCH = 1000


class Encoder(nn.Module, ABC):
    """A frozen network: ``response = activation(preactivation(normalise(image)))``.

    One with several layers says their `layers` and the `values` of each.

    Parameters
    ----------
    inputs, neuroids : int
        Numbers of values of an image and of responses.
    input_norm : float, optional
        Each image is divided by its Lp norm with this p; None leaves it alone. A black image stays black.
    power : float, optional
        Exponent n of the ReLU^n of `activation`; None: the identity.
    """

    #: How many images are to be shown together where the answer to one depends on the others; None: it does not.
    together: int | None = None

    def __init__(self, inputs: int, neuroids: int, *, input_norm: float | None, power: float | None):
        super().__init__()
        self.inputs, self.neuroids = inputs, neuroids
        self.input_norm, self.power = input_norm, power

    def normalise(self, images: Tensor) -> Tensor:
        """Return images (presentation, ...) as normalised rows, (presentation, input)."""
        rows = taken(images, self).flatten(1)
        if rows.shape[1] != self.inputs:
            raise DataError(f"the network was trained on images of {self.inputs} values, got {rows.shape[1]}")
        return normalised(rows, self.input_norm)

    @abstractmethod
    def preactivation(self, rows: Tensor) -> Tensor:
        """Return the currents of the last layer for normalised rows, (presentation, neuroid)."""

    def activation(self, currents: Tensor) -> Tensor:
        """Return the responses to currents, elementwise."""
        return rectified_power(currents, self.power)

    def layers(self) -> tuple[str, ...]:
        """Return the names of the layers, from the input on."""
        return ("hidden_1",)

    @checked
    def values(self, rows: Tensor, layer: int, quantity: Quantity) -> Tensor:
        """Return currents or responses of a layer, counted from 0, for normalised rows, (presentation, neuroid)."""
        currents = self.preactivation(rows)
        return currents if quantity == "preactivation" else self.activation(currents)

    @checked
    def response_of(self, images: Tensor, layer: str = "last", quantity: Quantity = "response") -> Tensor:
        """Return what a layer makes of images.

        Parameters
        ----------
        images : Tensor, (presentation, ...)
        layer : str
            One of `layers`, or ``last``.
        quantity : {"response", "preactivation"}
            After or before the nonlinearity, and what follows it.

        Returns
        -------
        Tensor, (presentation, neuroid)

        Raises
        ------
        ConfigError
            If there is no such layer or quantity.
        """
        names = self.layers()
        return self.values(self.normalise(images), names.index(layer_name(layer, names)), quantity)

    def preactivation_of(self, images: Tensor) -> Tensor:
        """Return the currents of the last layer for images (presentation, ...)."""
        return self.preactivation(self.normalise(images))

    def after_normalisation(self, rows: Tensor) -> Tensor:
        """Return the responses to rows that are normalised already."""
        return self.activation(self.preactivation(rows))

    def forward(self, images: Tensor) -> Tensor:
        """Return the responses to images (presentation, ...), (presentation, neuroid)."""
        return self.after_normalisation(self.normalise(images))


class LinearEncoder(Encoder):
    """One layer: ``relu(W x) ** power``; `weights` is (neuroid, input)."""

    def __init__(self, weights: Tensor, *, input_norm: float | None, power: float | None):
        super().__init__(weights.shape[1], weights.shape[0], input_norm=input_norm, power=power)
        self.register_buffer("weights", weights)
        self.weights: Tensor

    def preactivation(self, rows: Tensor) -> Tensor:
        """Return ``W x`` for rows x."""
        return rows @ self.weights.T


class IdentityEncoder(Encoder):
    """Responses that are the (normalised) pixels, the only layer."""

    def __init__(self, inputs: int, *, input_norm: float | None):
        super().__init__(inputs, inputs, input_norm=input_norm, power=None)

    def layers(self) -> tuple[str, ...]:
        """Return the name of the pixels."""
        return ("pixels",)

    def preactivation(self, rows: Tensor) -> Tensor:
        """Return the rows."""
        return rows


def taken(images: Tensor, module: nn.Module) -> Tensor:
    """Return images (presentation, ...) as the numbers that a module computes with.

    Raises
    ------
    DataError
        If they are no floating-point numbers (bytes from 0 to 255 are not what a network has learnt from), or have no
        dim of presentations.
    """
    if not isinstance(images, Tensor) or not images.is_floating_point() or images.ndim < 2:
        found = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        raise DataError(f"images must be a tensor of floating-point numbers (presentation, ...), got {found}")
    own = (values for values in (*module.parameters(), *module.buffers()) if values.is_floating_point())
    like = next(own, images)
    return images.to(like.dtype)


def layer_name(layer: str, names: Sequence[str]) -> str:
    """Return the name of a layer; ``last`` is that of the last one.

    Raises
    ------
    ConfigError
        If there is no such layer.
    """
    return names[-1] if choose(layer, (*names, "last"), "layer") == "last" else layer


def normalised(rows: Tensor, norm: float | None) -> Tensor:
    """Return rows (presentation, input) divided by their Lp norms; rows of zeros stay zero."""
    if norm is None:
        return rows
    return rows / rows.norm(p=norm, dim=1, keepdim=True).clamp_min(1e-12)


def rectified_power(currents: Tensor, power: float | None) -> Tensor:
    """Return ``max(0, h) ** n``; None returns the currents."""
    if power is None:
        return currents
    rectified = torch.relu(currents)
    return rectified if power == 1 else rectified**power


class ArrayBatches(Sequence[Tensor]):
    """Slices of an array along its first dim, as tensors."""

    def __init__(self, values: np.ndarray, size: int):
        self.values, self.size = values, size

    def __len__(self) -> int:
        return -(-len(self.values) // self.size)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = self.values[index * self.size : (index + 1) * self.size]
        return torch.as_tensor(np.ascontiguousarray(part))


def equal_parts(count: int, size: int) -> list[int]:
    """Return lengths of parts of `count` presentations, as equal as can be and none shorter than `size` if possible."""
    parts = max(1, count // size)
    return [count // parts + (index < count % parts) for index in range(parts)]


def batches(values: np.ndarray, size: int = BATCH) -> ArrayBatches:
    """Return the slices of an array (presentation, ...) as tensors of at most `size` presentations."""
    return ArrayBatches(values, size)
