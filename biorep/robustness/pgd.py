"""Projected gradient descent (Madry et al. 2018): the gradient is taken anew at every point."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from biorep.config import setting
from biorep.context import undisturbed
from biorep.errors import ConfigError, whole
from biorep.robustness.attack import Attack, Problem, zero_gradients
from biorep.robustness.gate import check_call, check_start, is_positive, logits_of
from biorep.robustness.loss import gradient_and_logits, margin
from biorep.robustness.perturbation import Bounds, Loss, Model, Norm, direction, per_image, project
from biorep.words import checked


@checked
@undisturbed()
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
    bounds: Bounds = (0.0, 1.0),
) -> Tensor:
    """Return adversarial images: for each image the iterate with the smallest margin.

    Parameters
    ----------
    model : callable
        Images (presentation, ...) to logits (presentation, class). A module in training mode is asked as in use.
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

    Raises
    ------
    ConfigError, DataError, NumericalError
        See `biorep.robustness.gate`.

    References
    ----------
    Madry et al. (2018), arXiv:1706.06083; Carlini & Wagner (2017), arXiv:1608.04644 (margin loss).
    """
    check_call(images, labels, epsilon=epsilon, norm=norm, bounds=bounds, loss=loss)
    steps = whole(steps, "steps")
    if relative_step is not None and not (is_positive(relative_step) and relative_step < float("inf")):
        raise ConfigError(f"relative_step must be a positive number, got {relative_step!r}")
    if start is not None:
        check_start(start, images)
        start = start.to(images)
    radius = per_image(epsilon, images)
    point = images if start is None else project(images + radius * start, images, radius, norm, bounds)
    best, smallest = images, torch.full((len(images),), torch.inf, dtype=images.dtype, device=images.device)
    for number in range(steps):
        step = radius * (5 / steps * (1 - number / steps) if relative_step is None else relative_step)
        gradient, logits = gradient_and_logits(model, point, labels, loss)
        best, smallest = _better(best, smallest, point, margin(logits, labels))
        point = project(point + step * direction(gradient, norm), images, radius, norm, bounds)
    with torch.no_grad():
        final = margin(logits_of(model, point, labels), labels)
    return _better(best, smallest, point, final)[0]


def _better(best: Tensor, smallest: Tensor, point: Tensor, margins: Tensor) -> tuple[Tensor, Tensor]:
    improved = margins < smallest
    mask = improved.view(-1, *[1] * (point.ndim - 1))
    return torch.where(mask, point, best), torch.where(improved, margins, smallest)


class PGD(Attack):
    """Gradient steps inside the ball, from several starts; every image keeps the iterate with the smallest margin."""

    versions: ClassVar[dict[str, int]] = {"pgd": 1}

    kind: Literal["pgd"] = "pgd"
    steps: int = setting(40, ge=1, description="gradient steps of each start")
    relative_step: float | None = setting(None, gt=0, description="step / epsilon; null: from 5 / steps down to 0")
    restarts: int = setting(2, ge=1, description="starts; only images that withstood are tried again")
    random_start: bool = setting(True, description="start at random points of the ball, else once at the image")
    loss: Loss = setting("margin", description="loss that is increased")

    def __call__(self, problem: Problem, index: Tensor, epsilon: Tensor | None) -> Tensor:
        """Return for each image what the first successful start found, else what the last one found."""
        assert epsilon is not None
        best = problem.images[index].clone()
        standing = torch.arange(len(index))
        for restart in range(self.restarts if self.random_start else 1):
            chosen = index[standing]
            best[standing] = self._from_start(problem, chosen, epsilon[standing], restart)
            standing = standing[~problem.fooled(chosen, best[standing])]
            if not len(standing):
                break
        return best

    def _from_start(self, problem: Problem, index: Tensor, epsilon: Tensor, restart: int) -> Tensor:
        images = problem.images[index]
        return pgd(
            problem.model,
            images,
            problem.labels[index],
            epsilon=epsilon,
            norm=problem.norm,
            steps=self.steps,
            relative_step=self.relative_step,
            loss=self.loss,
            start=problem.start(restart)[index].to(images) if self.random_start else None,
            bounds=problem.bounds,
        )

    def examine(self, problem: Problem) -> list[str]:
        """Warn where the gradient is zero."""
        return zero_gradients(problem, self.loss)
