"""Norms, projections and random starts that the attacks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from biorep import rng
from biorep.words import checked

Norm = Literal["linf", "l2"]
Loss = Literal["cross-entropy", "margin"]
Bounds = tuple[float, float]
#: Images (presentation, ...) to logits (presentation, class).
Model = Callable[[Tensor], Tensor]


@checked
def size(perturbation: Tensor, norm: Norm) -> Tensor:
    """Return the norm of each perturbation, (presentation, ...) to (presentation,)."""
    return perturbation.flatten(1).norm(p=torch.inf if norm == "linf" else 2, dim=1)


@checked
def direction(gradient: Tensor, norm: Norm) -> Tensor:
    """Return the steepest direction: the sign (L-inf), or the gradient over its length (L2); zero stays zero."""
    if norm == "linf":
        return gradient.sign()
    # Divide by the largest entry first: the square of a tiny gradient would underflow.
    flat = gradient.flatten(1)
    flat = flat / flat.abs().amax(1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    return (flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-12)).view_as(gradient)


@checked
def project(images: Tensor, centre: Tensor, epsilon: Tensor, norm: Norm, bounds: Bounds) -> Tensor:
    """Return images moved into the ball around `centre`, then into the box of allowed values.

    Parameters
    ----------
    images, centre : Tensor, (presentation, ...)
    epsilon : Tensor, (presentation, 1, ...)
        Radius of each ball.
    norm : {"linf", "l2"}
    bounds : (float, float)
        Smallest and largest value.
    """
    delta = images - centre
    if norm == "linf":
        delta = torch.maximum(torch.minimum(delta, epsilon), -epsilon)
    else:
        length = delta.flatten(1).norm(dim=1).view_as(epsilon).clamp_min(1e-12)
        delta = delta * torch.clamp(epsilon / length, max=1.0)
    return (centre + delta).clamp(*bounds)


def per_image(epsilon: float | Tensor, images: Tensor) -> Tensor:
    """Return epsilon as (presentation, 1, ...), one for each image."""
    value = torch.as_tensor(epsilon, dtype=images.dtype, device=images.device)
    return value.expand(len(images)).reshape(-1, *[1] * (images.ndim - 1))


@checked
def unit_start(shape: tuple[int, ...], norm: Norm, seed: int, *names: str | int) -> Tensor:
    """Return random points of the unit ball, uniform, one per presentation; scale them by epsilon."""
    generator = rng.stream(seed, "start", norm, *names)
    if norm == "linf":
        return torch.as_tensor(generator.uniform(-1, 1, shape).astype(np.float32))
    points = generator.standard_normal(shape).reshape(shape[0], -1)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points *= generator.random((shape[0], 1)) ** (1 / points.shape[1])
    return torch.as_tensor(points.reshape(shape).astype(np.float32))
