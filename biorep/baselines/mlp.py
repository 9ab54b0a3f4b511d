"""The backprop baseline: a multilayer perceptron, trained end to end with penalties.

With one hidden layer, no bias and ReLU it is the baseline of Holzhausen et al. (2024): He-initialised weights,
normalised inputs, a linear output layer with bias.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
import xarray as xr
from pydantic import field_validator
from torch import Tensor, nn

from biorep import rng
from biorep.baselines.regularizers import AnyPenalty
from biorep.bridge.readout import readout_dataset
from biorep.bridge.training import Schedule, train
from biorep.config import setting
from biorep.context import RunContext
from biorep.networks.base import DifferentiableNetwork, flat_images, image_shape, set_report
from biorep.networks.encoder import Encoder, normalised, rectified_power
from biorep.schema import describe, label_names

Activation = Literal["relu", "tanh", "softplus"]
#: What a layer of BatchNorm has learnt: name in the state -> attribute of torch's module, meaning.
NORM = {
    "norm_mean": ("running_mean", "mean of the responses, taken off"),
    "norm_variance": ("running_var", "variance of the responses, divided by its root"),
    "norm_weight": ("weight", "scale after that"),
    "norm_bias": ("bias", "shift after that"),
}
#: Added to variances by torch's BatchNorm.
NORM_EPSILON = 1e-5


class MLP(DifferentiableNetwork):
    """Multilayer perceptron; its representation is the last hidden layer."""

    accepts: ClassVar[tuple[float, float] | None] = None
    has_readout: ClassVar[bool] = True
    reference: ClassVar[str] = "Holzhausen et al. (2024), arXiv:2405.00679 (baseline)"

    kind: Literal["mlp"] = "mlp"
    hidden: tuple[int, ...] = setting((2000,), min_length=1, description="widths of the hidden layers")
    activation: Activation = setting("relu", description="relu (with `power`), tanh or softplus")
    power: float = setting(1.0, gt=0, description="exponent n of the ReLU^n")
    bias: bool = setting(False, description="whether hidden layers have a bias")
    batch_norm: bool = setting(
        False,
        neutral=False,
        description="normalise the responses of hidden layers, after the nonlinearity (Nassar 2020)",
    )
    epochs: int = setting(50, ge=0, description="passes over the training images")
    batch_size: int = setting(100, ge=1, description="images per update")
    optimiser: Literal["adam", "amsgrad", "sgd"] = setting(
        "adam",
        neutral="adam",
        description="amsgrad: Adam that never forgets its largest gradients; sgd: with `momentum`",
    )
    momentum: float = setting(0.9, ge=0, lt=1, neutral=0.9, description="of sgd")
    rate: float = setting(1e-3, gt=0, description="learning rate in the first epoch")
    milestones: dict[int, float] = setting({}, description="epoch (from 0) -> learning rate from then on")
    penalties: tuple[AnyPenalty, ...] = setting((), description="terms added to the cross-entropy")

    @field_validator("penalties")
    @classmethod
    def _once(cls, value: tuple[AnyPenalty, ...]) -> tuple[AnyPenalty, ...]:
        kinds = [penalty.kind for penalty in value]
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"each kind of penalty can be named once, got {kinds}")
        return value

    def fit(self, dataset: xr.Dataset, *, seed: int, run: RunContext | None = None) -> xr.Dataset:
        """Learn the classes end to end.

        Returns
        -------
        xr.Dataset
            ``weights_<l>`` of every hidden layer (the last one has the dim `neuroid`), with BatchNorm its running
            statistics ``norm_mean_<l>`` and ``norm_variance_<l>`` and its affine map, its own readout
            (``readout_weights``, ``readout_bias``), and the history over `epoch`: loss, accuracy on the training
            batches, penalties.
        """
        self.check_fitting(dataset)
        run = run or RunContext()
        device = run.torch_device()
        inputs = normalised(torch.as_tensor(flat_images(dataset)), self.input_norm).to(device)
        labels = torch.as_tensor(dataset["label"].values).to(device)
        classes = label_names(dataset)
        module = self._initial(inputs.shape[1], len(classes), seed).to(device)
        schedule = Schedule(
            self.epochs, self.batch_size, self.rate, self.milestones, optimiser=self.optimiser, momentum=self.momentum
        )
        history = train(
            module, inputs, labels, schedule=schedule, seed=seed, name="mlp", penalties=self.penalties, run=run
        )
        state = self._state(module.cpu(), classes, history)
        state.attrs["image_shape"] = list(image_shape(dataset))
        return state

    def module(self, state: xr.Dataset) -> Encoder:
        """Return the frozen hidden layers as a torch module."""
        layers = []
        for index in range(len(self.hidden)):
            bias = torch.as_tensor(state[f"bias_{index}"].values) if self.bias else None
            layers.append((torch.as_tensor(state[f"weights_{index}"].values), bias))
        norms = [
            tuple(torch.as_tensor(state[f"{name}_{index}"].values) for name in NORM) if self.batch_norm else None
            for index in range(len(self.hidden))
        ]
        return HiddenLayers(layers, self.activation, norms=norms, input_norm=self.input_norm, power=self.power)

    def _initial(self, inputs: int, classes: int, seed: int) -> nn.Module:
        """Return the network with He-initialised (tanh: Xavier) weights, as an `_Trainable`."""
        generator = rng.stream(seed, self.kind, "weights")
        gain = 2.0 if self.activation == "relu" else 1.0
        sizes = (inputs, *self.hidden, classes)
        module = _Trainable(sizes, self.bias, self.activation, self.power, batch_norm=self.batch_norm)
        with torch.no_grad():
            for layer in module.layers:
                assert isinstance(layer, nn.Linear)
                draws = generator.standard_normal(layer.weight.shape, dtype=np.float32)
                layer.weight.copy_(torch.as_tensor(draws * np.float32(np.sqrt(gain / layer.in_features))))
                if layer.bias is not None:
                    layer.bias.zero_()
        return module

    def _state(self, module: nn.Module, classes: list[str], history: dict[str, list[float]]) -> xr.Dataset:
        assert isinstance(module, _Trainable)
        *hidden, output = (layer for layer in module.layers if isinstance(layer, nn.Linear))
        state = readout_dataset(output.weight.detach().numpy(), output.bias.detach().numpy(), classes)
        previous = "input"
        for index, layer in enumerate(hidden):
            current = "neuroid" if index == len(hidden) - 1 else f"hidden_{index}"
            state[f"weights_{index}"] = ((current, previous), layer.weight.detach().numpy())
            describe(state, {f"weights_{index}": (f"weights into hidden layer {index}", "1")})
            if layer.bias is not None:
                state[f"bias_{index}"] = (current, layer.bias.detach().numpy())
                describe(state, {f"bias_{index}": (f"bias of hidden layer {index}", "1")})
            if module.norms is not None:
                for name, (attribute, meaning) in NORM.items():
                    state[f"{name}_{index}"] = (current, getattr(module.norms[index], attribute).detach().numpy())
                    describe(state, {f"{name}_{index}": (f"BatchNorm of hidden layer {index}: {meaning}", "1")})
            previous = current
        epochs = len(history.get("loss", []))
        state = state.assign_coords(epoch=np.arange(1, epochs + 1))
        for name, values in history.items():
            state[name] = ("epoch", np.asarray(values))
            describe(state, {name: (f"{name.replace('_', ' ')} on the training batches", "1"), "epoch": ("epoch", "1")})
        report = {"training_loss": history["loss"][-1], "training_accuracy": history["accuracy"][-1]} if epochs else {}
        set_report(state, report, [])
        return state


class _Trainable(nn.Module):
    """Hidden layers and output layer with trainable weights; takes normalised rows."""

    def __init__(
        self, sizes: tuple[int, ...], bias: bool, activation: Activation, power: float, *, batch_norm: bool = False
    ):
        super().__init__()
        last = len(sizes) - 2
        pairs = enumerate(itertools.pairwise(sizes))
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=bias or index == last) for index, (a, b) in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm1d(n, eps=NORM_EPSILON) for n in sizes[1:-1]) if batch_norm else None
        self.activation, self.power = activation, power

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.layers) - 1

    def trace(self, rows: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return the responses of the hidden layers, the currents of the last one, and the logits."""
        *hidden, output = self.layers
        responses, currents = [], rows
        for index, layer in enumerate(hidden):
            currents = layer(rows)
            rows = activate(currents, self.activation, self.power)
            rows = rows if self.norms is None else self.norms[index](rows)
            responses.append(rows)
        return responses, currents, output(rows)

    def forward(self, rows: Tensor) -> Tensor:
        return self.trace(rows)[2]


class HiddenLayers(Encoder):
    """Frozen hidden layers.

    Parameters
    ----------
    layers : list of (Tensor, Tensor or None)
        Weights (out, in) and bias (out,).
    activation : str
    norms : list of tuple of Tensor or None
        What each layer of BatchNorm has learnt, in the order of `NORM`.
    input_norm, power
        See `Encoder`.
    """

    def __init__(
        self,
        layers: list[tuple[Tensor, Tensor | None]],
        activation: Activation,
        *,
        norms: Sequence[tuple[Tensor, ...] | None],
        input_norm: float | None,
        power: float,
    ):
        super().__init__(layers[0][0].shape[1], layers[-1][0].shape[0], input_norm=input_norm, power=power)
        self.kind, self.depth = activation, len(layers)
        for index, (weights, bias) in enumerate(layers):
            self.register_buffer(f"weights_{index}", weights)
            self.register_buffer(f"bias_{index}", bias)
            if (norm := norms[index]) is not None:
                mean, variance, weight, shift = norm
                scale = weight / (variance + NORM_EPSILON).sqrt()
                self.register_buffer(f"scale_{index}", scale)
                self.register_buffer(f"shift_{index}", shift - mean * scale)

    def preactivation(self, rows: Tensor) -> Tensor:
        """Return the currents of the last hidden layer."""
        for index in range(self.depth):
            rows = rows if index == 0 else self._responses(index - 1, rows)
            weights, bias = self.get_buffer(f"weights_{index}"), getattr(self, f"bias_{index}")
            rows = nn.functional.linear(rows, weights, bias)
        return rows

    def activation(self, currents: Tensor) -> Tensor:
        """Return the responses to currents of the last layer, elementwise."""
        return self._responses(self.depth - 1, currents)

    def _responses(self, index: int, currents: Tensor) -> Tensor:
        rows = activate(currents, self.kind, self.power)
        if not hasattr(self, f"scale_{index}"):
            return rows
        return rows * self.get_buffer(f"scale_{index}") + self.get_buffer(f"shift_{index}")


def activate(currents: Tensor, activation: Activation, power: float | None) -> Tensor:
    """Return ``max(0, h)^power``, ``tanh(h)`` or ``log(1 + exp(h))``."""
    if activation == "relu":
        return rectified_power(currents, power)
    return torch.tanh(currents) if activation == "tanh" else nn.functional.softplus(currents)
