"""Gaussian pixel noise: what a network stands without an adversary."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from biorep import rng
from biorep.robustness.perturbation import per_image


def noise_directions(shape: tuple[int, ...], seed: int, draw: int) -> Tensor:
    """Return standard normal noise, one direction per presentation, (presentation, ...)."""
    draws = rng.stream(seed, "gaussian-noise", draw).standard_normal(shape, dtype=np.float32)
    return torch.as_tensor(draws)


def add_noise(
    images: Tensor, directions: Tensor, *, epsilon: float | Tensor, bounds: tuple[float, float] | None
) -> Tensor:
    """Return ``images + epsilon * directions``, clipped to `bounds` unless they are None; epsilon is the SD."""
    noisy = images + per_image(epsilon, images) * directions
    return noisy if bounds is None else noisy.clamp(*bounds)
