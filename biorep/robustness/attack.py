"""What an attack gets, and what it is as settings.

To add one: a subclass of `Attack` in a file of its own, and its line in `biorep.tables.ATTACKS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from biorep.config import Config
from biorep.robustness.gate import check_problem, logits_of
from biorep.robustness.loss import gradient_and_logits
from biorep.robustness.perturbation import Bounds, Loss, Model, Norm, unit_start
from biorep.words import checked

#: Images attacked at once; bounds the memory, changes nothing else.
BATCH = 500


@checked
@dataclass(frozen=True)
class Problem:
    """A classifier, and the images at which it is to be fooled.

    Parameters
    ----------
    model : callable
        Images (presentation, ...) to logits (presentation, class).
    images : Tensor, (presentation, ...)
    labels : Tensor of int64, (presentation,)
    bounds : (float, float)
        Smallest and largest allowed value.
    norm : {"linf", "l2"}
        What measures a perturbation.
    start : callable
        Number of a restart -> random points of the unit ball, one per presentation, shaped like `images`.

    Raises
    ------
    ConfigError, DataError, NumericalError
        If images, labels, bounds or norm are not what they should be.
    """

    model: Model
    images: Tensor
    labels: Tensor
    bounds: Bounds
    norm: Norm
    start: Callable[[int], Tensor]

    def __post_init__(self) -> None:
        check_problem(self.images, self.labels, norm=self.norm, bounds=self.bounds)

    def fooled(self, index: Tensor, images: Tensor) -> Tensor:
        """Return whether `images` in place of those at `index` are misclassified, (presentation,) on the CPU."""
        labels = self.labels[index]
        with torch.no_grad():
            return (logits_of(self.model, images, labels).argmax(1) != labels).cpu()

    def batches(self, index: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return indices (presentation,), by default all of them, in parts that fit into memory."""
        return (torch.arange(len(self.images)) if index is None else index).split(BATCH)


@checked
def random_starts(images: Tensor, norm: Norm, seed: int) -> Callable[[int], Tensor]:
    """Return the `start` of a `Problem`: each restart is drawn once, from a stream of its own."""

    @cache
    def drawn(restart: int) -> Tensor:
        return unit_start(tuple(images.shape), norm, seed, restart)

    return lambda restart: drawn(restart).clone()  # an attack may work in place


class Attack(Config, ABC):
    """Base of the attacks that recipes name; concrete ones are final and set `kind`."""

    #: Whether it looks for the smallest norm itself: then it is called once, with epsilon None, not over a grid.
    minimises: ClassVar[bool] = False

    kind: str

    @abstractmethod
    def __call__(self, problem: Problem, index: Tensor, epsilon: Tensor | None) -> Tensor:
        """Return perturbed images; whether they fool, and how large they are, is measured on what is returned.

        Parameters
        ----------
        problem : Problem
        index : Tensor of int64, (chosen,)
            Which presentations to attack.
        epsilon : Tensor, (chosen,), or None
            Radius of the ball around each image; None for an attack that `minimises`.

        Returns
        -------
        Tensor, (chosen, ...)
            Inside the bounds of the problem.
        """

    def examine(self, problem: Problem) -> list[str]:
        """Return what the user should know about the attack on this problem, as ends of sentences."""
        return []


@checked
def zero_gradients(problem: Problem, loss: Loss) -> list[str]:
    """Warn where an attack has no gradient to follow: robustness that is none."""
    zero = 0
    for index in problem.batches():
        gradient, _ = gradient_and_logits(problem.model, problem.images[index], problem.labels[index], loss)
        zero += int((gradient.flatten(1).abs().amax(1) == 0).sum())
    if zero <= 0.01 * len(problem.images):
        return []
    return [
        f"the gradient of the {loss} is exactly zero at {100 * zero / len(problem.images):.0f} % of the images, so "
        "this attack overstates the robustness."
    ]
