"""The one fact about an attack on an image: the least norm of a perturbation that was seen to fool the classifier.

It is called the critical distance of the image: 0 for an image that is misclassified anyway, infinite for one that was
never fooled (censored at the end of the grid). Whether an image withstands an attack of radius epsilon follows from
it, so that accuracy under attack and critical distance cannot disagree.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biorep.errors import DataError, NumericalError
from biorep.robustness.attack import Problem
from biorep.robustness.perturbation import size

#: An attack on a problem: (index of images, epsilon of each or None) -> perturbed images.
Move = Callable[[Tensor, Tensor | None], Tensor]
#: Cuts at most; on a logarithmic scale 20 come from any radius to a millionth of it.
CUTS = 60


@dataclass(frozen=True)
class LeastNorms:
    """Of each image, (presentation,): the critical distance in the norm of the problem, and that perturbation's L2."""

    distance: np.ndarray
    l2: np.ndarray


def least_norms(
    problem: Problem, move: Move, clean: np.ndarray, *, epsilons: list[float], precision: float
) -> LeastNorms:
    """Run an attack over a grid of epsilons and refine the first success of each image by bisection.

    Parameters
    ----------
    problem : Problem
        Success is always measured with its model on the images that the attack returns.
    move : callable
    clean : array of bool, (presentation,)
        Images that are classified correctly; the others are not attacked.
    epsilons : list of float
        Ascending, the first one 0. Empty: call the attack once, without epsilon.
    precision : float
        The interval from the last epsilon that failed, or from 0, to the first that succeeded is halved on a
        logarithmic scale until it is this share of its lower end; infinite: not at all.
    """
    search = _Search(problem, move, clean)
    if not epsilons:
        search.attempt(search.standing, None)
    search.scan(epsilons)
    finest = tolerances(problem, epsilons[1:2])  # below is nothing but rounding
    for _ in range(CUTS if len(finest) else 0):
        if not search.bisect(precision, float(finest[0])):
            break
    return LeastNorms(search.distance.numpy(), search.l2.numpy())


class _Search:
    """What is known of each image while an attack is tried at one epsilon after the other."""

    def __init__(self, problem: Problem, move: Move, clean: np.ndarray):
        self.problem, self.move = problem, move
        self.standing = torch.as_tensor(np.flatnonzero(clean))
        self.distance = torch.where(torch.as_tensor(clean), torch.inf, 0.0).to(torch.float64)
        self.l2 = self.distance.clone()
        #: The last epsilon that failed and the first that succeeded.
        self.low = torch.zeros(len(clean), dtype=torch.float64)
        self.high = torch.full((len(clean),), torch.inf, dtype=torch.float64)

    def attempt(self, chosen: Tensor, epsilon: Tensor | None) -> Tensor:
        """Attack the chosen images, note successes, and return which were fooled."""
        if not len(chosen):
            return torch.zeros(0, dtype=torch.bool)
        problem = self.problem
        found = self.move(chosen, None if epsilon is None else epsilon.to(problem.images.dtype))
        fooled = problem.fooled(chosen, found)
        delta = (found - problem.images[chosen]).double()
        norms = size(delta, problem.norm).cpu()
        closer = fooled & (norms < self.distance[chosen])
        self.distance[chosen[closer]] = norms[closer]
        self.l2[chosen[closer]] = size(delta, "l2").cpu()[closer]
        return fooled

    def scan(self, epsilons: list[float]) -> None:
        """Try every epsilon of the grid on every image: a larger ball may hold a smaller perturbation."""
        for below, epsilon in itertools.pairwise(epsilons):
            fooled = self.attempt(self.standing, torch.full((len(self.standing),), epsilon, dtype=torch.float64))
            first = self.standing[fooled & torch.isinf(self.high[self.standing])]
            self.low[first], self.high[first] = below, epsilon

    def bisect(self, precision: float, finest: float) -> bool:
        """Cut the intervals that are too wide at their geometric mean, and return whether there were any."""
        low = self.low.clamp_min(finest)
        between = torch.nonzero(torch.isfinite(self.high) & (self.high > (1 + precision) * low)).flatten()
        if not len(between):
            return False
        middle = (low * self.high)[between].sqrt()
        fooled = self.attempt(between, middle)
        self.high[between[fooled]] = middle[fooled]
        self.low[between[~fooled]] = middle[~fooled]
        return True


def tolerances(problem: Problem, epsilons: list[float]) -> np.ndarray:
    """Return by how much the norm of a perturbation of radius epsilon may exceed epsilon by rounding, (epsilon,).

    A perturbed image is rounded relative to its own size, not to that of the perturbation, and the radius by the
    arithmetic of the projection: one unit in the last place of the largest image, and 4 of epsilon. Without this, an
    image that is fooled at an epsilon of the grid would sometimes count as one that withstands it. At epsilon 0 nothing
    is perturbed, and nothing allowed.
    """
    largest = float(size(problem.images, problem.norm).max())
    unit = float(torch.finfo(problem.images.dtype).eps)
    return np.array([unit * (largest + 4 * epsilon) if epsilon else 0.0 for epsilon in epsilons])


def withstand(distance: np.ndarray, epsilons: list[float], tolerance: np.ndarray) -> np.ndarray:
    """Return whether images withstand, (epsilon, presentation): right unperturbed, and fooled by nothing that small."""
    found: np.ndarray = distance > (np.asarray(epsilons) + tolerance)[:, None]
    return found


def median(distance: np.ndarray) -> float:
    """Return the median of critical distances, (presentation,): zeros and infinities count as such; NaN of none.

    Raises
    ------
    DataError, NumericalError
        If they are no real numbers along one dim, or one of them is NaN.
    """
    distance = np.asarray(distance)
    if distance.ndim != 1 or (distance.size and distance.dtype.kind not in "biuf"):
        raise DataError(f"critical distances must be real numbers along one dim, got {distance.dtype} {distance.shape}")
    if len(missing := np.flatnonzero(np.isnan(distance.astype(float)))):
        raise NumericalError(f"{len(missing)} critical distances are NaN, the first at index {missing[0]}")
    ordered = np.sort(distance)
    if not len(ordered):
        return float("nan")
    middle = len(ordered) // 2
    if len(ordered) % 2 or ordered[middle - 1] == ordered[middle]:
        return float(ordered[middle])
    return float((ordered[middle - 1] + ordered[middle]) / 2)
