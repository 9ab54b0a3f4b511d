"""Robustness: attacks, noise, and the distance at which a network is fooled. Nothing here trains.

One attack is one function in one file, ``attack(model, images, labels, *, epsilon, norm, ...) -> images``;
`Robustness` runs them over grids of epsilons.
"""

from __future__ import annotations

from biorep.robustness.critical import median
from biorep.robustness.evaluate import Robustness
from biorep.robustness.fgsm import fgsm
from biorep.robustness.pgd import pgd

__all__ = ["Robustness", "fgsm", "median", "pgd"]
