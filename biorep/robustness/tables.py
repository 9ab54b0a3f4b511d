"""The labelled tables that an evaluation of robustness stores."""

from __future__ import annotations

import numpy as np
import xarray as xr

from biorep.robustness.critical import Outcome, median
from biorep.schema import describe


def attack_table(outcomes: list[Outcome], names: list[str], epsilons: list[float], clean: np.ndarray) -> xr.Dataset:
    """Return the group of one norm: outcomes and names per attack; `clean` (presentation,) is right unperturbed."""
    correct = np.stack([outcome.correct for outcome in outcomes])
    distance = np.stack([outcome.distance for outcome in outcomes])
    accuracy = correct.mean(-1)
    group = xr.Dataset(
        {
            "correct": (("attack", "epsilon", "presentation"), correct.astype(np.int8)),
            "accuracy": (("attack", "epsilon"), accuracy),
            "relative_accuracy": (("attack", "epsilon"), accuracy / max(clean.mean(), np.finfo(float).tiny)),
            "critical_distance": (("attack", "presentation"), distance),
            "critical_l2": (("attack", "presentation"), np.stack([outcome.l2 for outcome in outcomes])),
            "median_critical_distance": ("attack", [median(row) for row in distance]),
            "median_critical_distance_correct": (
                "attack",
                [median(row[clean]) if clean.any() else np.nan for row in distance],
            ),
            "median_critical_l2_correct": (
                "attack",
                [median(outcome.l2[clean]) if clean.any() else np.nan for outcome in outcomes],
            ),
        },
        coords={"attack": names, "epsilon": epsilons},
    )
    return describe(
        group,
        {
            "attack": ("attack", "1"),
            "epsilon": ("radius of the ball, in units of the attacked images", "1"),
            "correct": ("1 if the attacked image is still classified correctly", "1"),
            "accuracy": ("share of all images that withstand", "1"),
            "relative_accuracy": ("accuracy / clean accuracy", "1"),
            "critical_distance": ("smallest norm that fools; inf: never fooled, 0: wrong without attack", "1"),
            "critical_l2": ("L2 norm of that perturbation", "1"),
            "median_critical_distance": ("median over all images", "1"),
            "median_critical_distance_correct": ("median over the images that are classified correctly", "1"),
            "median_critical_l2_correct": ("median of critical_l2 over the images classified correctly", "1"),
        },
    )


def noise_table(outcome: Outcome, share: np.ndarray, epsilons: list[float]) -> xr.Dataset:
    """Return the group of Gaussian noise; `share` (epsilon, presentation) of the draws was classified correctly."""
    group = xr.Dataset(
        {
            "share_correct": (("epsilon", "presentation"), share.astype(np.float32)),
            "accuracy": ("epsilon", share.mean(1)),
            "relative_accuracy": ("epsilon", share.mean(1) / max(share[0].mean(), np.finfo(float).tiny)),
            "critical_distance": ("presentation", outcome.distance),
            "median_critical_distance": median(outcome.distance),
        },
        coords={"epsilon": epsilons},
    )
    return describe(
        group,
        {
            "epsilon": ("standard deviation of the noise", "1"),
            "share_correct": ("share of the draws classified correctly", "1"),
            "accuracy": ("accuracy over images and draws", "1"),
            "relative_accuracy": ("accuracy / clean accuracy", "1"),
            "critical_distance": ("L2 norm of the smallest noise along the first draw that fools", "1"),
            "median_critical_distance": ("median over all images", "1"),
        },
    )
