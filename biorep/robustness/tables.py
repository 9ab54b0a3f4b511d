"""The labelled tables that an evaluation of robustness stores."""

from __future__ import annotations

import numpy as np
import xarray as xr

from biorep.robustness.critical import LeastNorms, median, withstand
from biorep.schema import describe


def attack_table(
    found: dict[str, LeastNorms], epsilons: list[float], tolerance: np.ndarray, clean: np.ndarray
) -> xr.Dataset:
    """Return the group of one norm.

    Parameters
    ----------
    found : dict of str to LeastNorms
        By the name of the attack; all else follows from these.
    epsilons : list of float
    tolerance : array, (epsilon,)
        See `tolerances`.
    clean : array of bool, (presentation,)
        Images that are classified correctly.
    """
    distance = np.stack([norms.distance for norms in found.values()])
    l2 = np.stack([norms.l2 for norms in found.values()])
    correct = np.stack([withstand(row, epsilons, tolerance) for row in distance])
    accuracy = correct.mean(-1)
    group = xr.Dataset(
        {
            "critical_distance": (("attack", "presentation"), distance),
            "critical_l2": (("attack", "presentation"), l2),
            "tolerance": ("epsilon", tolerance),
            "correct": (("attack", "epsilon", "presentation"), correct.astype(np.int8)),
            "accuracy": (("attack", "epsilon"), accuracy),
            "relative_accuracy": (("attack", "epsilon"), accuracy / max(clean.mean(), np.finfo(float).tiny)),
            "median_critical_distance": ("attack", [median(row) for row in distance]),
            "median_critical_distance_correct": ("attack", [median(row[clean]) for row in distance]),
            "median_critical_l2_correct": ("attack", [median(row[clean]) for row in l2]),
        },
        coords={"attack": list(found), "epsilon": epsilons},
    )
    return describe(
        group,
        {
            "attack": ("attack", "1"),
            "epsilon": ("radius of the ball, in units of the attacked images", "1"),
            "critical_distance": ("least norm found that fools; inf: never fooled, 0: wrong without attack", "1"),
            "critical_l2": ("L2 norm of that perturbation", "1"),
            "tolerance": ("by how much the norm of a perturbation of radius epsilon may exceed it by rounding", "1"),
            "correct": ("1 if critical_distance > epsilon + tolerance", "1"),
            "accuracy": ("share of all images that withstand", "1"),
            "relative_accuracy": ("accuracy / clean accuracy", "1"),
            "median_critical_distance": ("median over all images", "1"),
            "median_critical_distance_correct": ("median over the images that are classified correctly", "1"),
            "median_critical_l2_correct": ("median of critical_l2 over the images classified correctly", "1"),
        },
    )


def noise_table(found: LeastNorms, share: np.ndarray, epsilons: list[float], clean: np.ndarray) -> xr.Dataset:
    """Return the group of Gaussian noise.

    Parameters
    ----------
    found : LeastNorms
        Along the direction of the first draw.
    share : array, (epsilon, presentation)
        Of the draws that were classified correctly.
    epsilons : list of float
        Standard deviations.
    clean : array of bool, (presentation,)
        Images that are classified correctly without noise.
    """
    group = xr.Dataset(
        {
            "share_correct": (("epsilon", "presentation"), share.astype(np.float32)),
            "accuracy": ("epsilon", share.mean(1)),
            "relative_accuracy": ("epsilon", share.mean(1) / max(share[0].mean(), np.finfo(float).tiny)),
            "critical_distance": ("presentation", found.distance),
            "median_critical_distance": median(found.distance),
            "median_critical_distance_correct": median(found.distance[clean]),
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
            "median_critical_distance_correct": ("median over the images that are classified correctly", "1"),
        },
    )
