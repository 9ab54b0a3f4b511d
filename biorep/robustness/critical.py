"""From attacks at a grid of epsilons to the critical distance of each image.

The critical distance is the smallest norm of a perturbation that was seen to fool the network: 0 for images
that are misclassified anyway, infinite for images that were never fooled (censored at the end of the grid).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from biorep.robustness.perturbation import Model, Norm, size

#: An attack with everything but epsilon fixed: (indices of images, epsilon per image) -> adversarial images.
Attack = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Outcome:
    """What one attack did to all images.

    `correct` is (epsilon, presentation) and says which images withstood; `distance` and `l2` are
    (presentation,): the critical distance in the norm of the attack, and the L2 norm of that same perturbation.
    """

    correct: np.ndarray
    distance: np.ndarray
    l2: np.ndarray


def sweep(
    model: Model,
    images: Tensor,
    labels: Tensor,
    clean: Tensor,
    attack: Attack,
    *,
    epsilons: list[float],
    norm: Norm,
    refinements: int,
) -> Outcome:
    """Run an attack over a grid of epsilons and refine the first success of each image by bisection.

    Parameters
    ----------
    model : callable
        Images to logits; success is always recomputed with it on the images that an attack returns.
    images : Tensor, (presentation, ...)
    labels : Tensor, (presentation,)
    clean : Tensor of bool, (presentation,)
        Images that are classified correctly; the others are not attacked.
    attack : callable
    epsilons : list of float
        Ascending, the first one 0.
    norm : {"linf", "l2"}
    refinements : int
        Halvings of the interval between the last epsilon that failed and the first that succeeded.
    """
    n = len(images)
    correct = np.tile(clean.cpu().numpy(), (len(epsilons), 1))
    distance = torch.where(clean, torch.inf, 0.0).to(torch.float64)
    l2 = distance.clone()
    low, high = torch.zeros(n, dtype=torch.float64), torch.full((n,), torch.inf, dtype=torch.float64)

    def attempt(chosen: Tensor, epsilon: Tensor) -> Tensor:
        """Attack the chosen images, note successes, and return which were fooled."""
        adversarial = attack(chosen, epsilon.to(images.dtype))
        with torch.no_grad():
            fooled = (model(adversarial).argmax(1) != labels[chosen]).cpu()
        delta = (adversarial - images[chosen]).double()
        norms = size(delta, norm).cpu()
        closer = fooled & (norms < distance[chosen])
        distance[chosen[closer]] = norms[closer]
        l2[chosen[closer]] = size(delta, "l2").cpu()[closer]
        return fooled

    standing = torch.nonzero(clean.cpu()).flatten()
    for row, epsilon in enumerate(epsilons):
        if epsilon == 0 or not len(standing):
            continue
        fooled = attempt(standing, torch.full((len(standing),), epsilon, dtype=torch.float64))
        correct[row, standing[fooled].numpy()] = False
        first = standing[fooled & torch.isinf(high[standing])]
        high[first], low[first] = epsilon, epsilons[row - 1]
    correct = np.minimum.accumulate(correct, axis=0)  # what fools inside a ball fools inside all larger ones
    for _ in range(refinements):
        open_ = torch.nonzero(torch.isfinite(high)).flatten()
        if not len(open_):
            break
        middle = (low[open_] + high[open_]) / 2
        fooled = attempt(open_, middle)
        high[open_[fooled]] = middle[fooled]
        low[open_[~fooled]] = middle[~fooled]
    return Outcome(correct, distance.numpy(), l2.numpy())


def median(distance: np.ndarray) -> float:
    """Return the median of critical distances in which zeros and infinities count as such."""
    ordered = np.sort(distance)
    middle = len(ordered) // 2
    if len(ordered) % 2 or ordered[middle - 1] == ordered[middle]:
        return float(ordered[middle])
    return float((ordered[middle - 1] + ordered[middle]) / 2)
