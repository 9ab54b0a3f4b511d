"""Weights before training, by the conventions that the papers use."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import nn

from biorep import rng
from biorep.context import as_usual
from biorep.errors import ConfigError
from biorep.nn import gate
from biorep.words import checked

Init = Literal["normal", "uniform", "glorot", "orthogonal"]


@checked
@as_usual()
def initialise(module: nn.Module, init: Init, *, gain: float, seed: int, name: str) -> None:
    """Draw the weights and biases of all linear and convolution layers, in place.

    Parameters
    ----------
    module : nn.Module
    init : {"normal", "uniform", "glorot", "orthogonal"}
        normal: variance `gain` / fan-in and biases 0 (He et al. 2015 with gain 2); uniform: weights and biases within
        1 / sqrt(fan-in), torch's default; glorot: weights uniform with variance 2 / (fan-in + fan-out); orthogonal:
        orthonormal rows or columns in dense hidden layers. What is not said is as uniform.
    gain : float
        Of normal.
    seed : int
    name : str
        Of the random stream.
    """
    if not (gate.is_number(gain) and gain >= 0):
        raise ConfigError(f"gain must be a number of at least 0, got {gain!r}")
    generator = rng.stream(seed, name, "weights")
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    for index, layer in enumerate(layers):
        fan_in = layer.weight[0].numel()
        bound = 1 / np.sqrt(fan_in)
        if init == "normal":
            draws = generator.standard_normal(layer.weight.shape, dtype=np.float32) * np.float32(np.sqrt(gain / fan_in))
        elif init == "orthogonal" and isinstance(layer, nn.Linear) and index < len(layers) - 1:
            draws = orthogonal(generator.standard_normal((len(layer.weight), fan_in))).reshape(layer.weight.shape)
        else:
            fan_out = layer.weight[:, 0].numel()
            widest = np.sqrt(6 / (fan_in + fan_out)) if init == "glorot" else bound
            draws = generator.uniform(-widest, widest, layer.weight.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.as_tensor(draws))
            if layer.bias is not None:
                size = layer.bias.shape
                bias = np.zeros(size) if init == "normal" else generator.uniform(-bound, bound, size)
                layer.bias.copy_(torch.as_tensor(bias))


def orthogonal(draws: np.ndarray) -> np.ndarray:
    """Return a matrix with orthonormal rows (columns, if there are fewer), uniform if the draws are Gaussian."""
    tall = draws if draws.shape[0] >= draws.shape[1] else draws.T
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diag(r))
    return q if tall is draws else q.T
