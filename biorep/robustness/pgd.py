"""Projected gradient descent (Madry et al. 2018): the gradient is taken anew at every point."""

from __future__ import annotations

import torch
from torch import Tensor

from biorep.robustness.perturbation import (
    Loss,
    Model,
    Norm,
    direction,
    gradient_and_logits,
    margin,
    per_image,
    project,
)


def pgd(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
    norm: Norm = "linf",
    steps: int = 40,
    relative_step: float | None = None,
    loss: Loss = "margin",
    start: Tensor | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """Return adversarial images: for each image the iterate with the smallest margin.

    Parameters
    ----------
    model : callable
        Images (presentation, ...) to logits (presentation, class).
    images : Tensor, (presentation, ...)
    labels : Tensor of int64, (presentation,)
    epsilon : float or Tensor, (presentation,)
        Radius of the ball in the units of the pixels.
    norm : {"linf", "l2"}
    steps : int
        Number of gradient steps; after each the point is projected into the ball, then into the box.
    relative_step : float, optional
        Length of every step as a share of epsilon. By default the steps shrink linearly from 5 / steps to 0; their
        sum is 2.5 epsilon, so that any point of the ball can be reached whatever epsilon is.
    loss : {"cross-entropy", "margin"}
        What is increased. The margin keeps a gradient where the softmax has saturated.
    start : Tensor like images, optional
        Starting points in the unit ball, scaled by epsilon (see `unit_start`); the image itself if not given.
    bounds : (float, float)
        Smallest and largest allowed value.

    References
    ----------
    Madry et al. (2018), arXiv:1706.06083; Carlini & Wagner (2017), arXiv:1608.04644 (margin loss).
    """
    radius = per_image(epsilon, images)
    point = images if start is None else project(images + radius * start, images, radius, norm, bounds)
    best, smallest = images, torch.full((len(images),), torch.inf, dtype=images.dtype, device=images.device)
    for number in range(steps):
        step = radius * (5 / steps * (1 - number / steps) if relative_step is None else relative_step)
        gradient, logits = gradient_and_logits(model, point, labels, loss)
        best, smallest = _better(best, smallest, point, margin(logits, labels))
        point = project(point + step * direction(gradient, norm), images, radius, norm, bounds)
    with torch.no_grad():
        final = margin(model(point), labels)
    return _better(best, smallest, point, final)[0]


def _better(best: Tensor, smallest: Tensor, point: Tensor, margins: Tensor) -> tuple[Tensor, Tensor]:
    improved = margins < smallest
    mask = improved.view(-1, *[1] * (point.ndim - 1))
    return torch.where(mask, point, best), torch.where(improved, margins, smallest)
