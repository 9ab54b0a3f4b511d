"""Robustness: attacks, noise, and the distance at which a classifier is fooled. Nothing here trains or knows a network.

What is attacked is any callable, images to logits. One attack is one file: a plain function
``attack(model, images, labels, *, epsilon, norm, ...) -> images``, and its settings for recipes beside it. `evaluate`
runs attacks over grids of epsilons; `Robustness` is that as a measure.
"""

from __future__ import annotations

from biorep.robustness.attack import Attack, Problem
from biorep.robustness.critical import median
from biorep.robustness.evaluate import evaluate
from biorep.robustness.fgsm import FGSM, fgsm
from biorep.robustness.measure import Robustness
from biorep.robustness.pgd import PGD, pgd

__all__ = ["FGSM", "PGD", "Attack", "Problem", "Robustness", "evaluate", "fgsm", "median", "pgd"]
