"""Penalties: terms of the loss, one file each, as plain functions and as settings of a recipe.

A penalty of a recipe has a `kind`, a `strength`, and a call ``(forward, prepared) -> Tensor``, see `base`; the training
loop multiplies by the strength and records the term by itself. Any of them go together in one training. To add one: a
file, and a line of `biorep.tables.PENALTIES`.
"""

from __future__ import annotations

from biorep.penalties.input_gradient import InputGradientPenalty, input_gradient_penalty
from biorep.penalties.isometric import IsometricPenalty, isometric_penalty
from biorep.penalties.jacobian import JacobianPenalty, holzhausen_jacobian_penalty, jacobian_penalty
from biorep.penalties.parseval import ParsevalPenalty, parseval_penalty
from biorep.penalties.singular_values import SingularValueBounds, bound_singular_values
from biorep.penalties.spectral import SpectralPenalty, spectral_penalty
from biorep.penalties.spectral_norm import SpectralNormPenalty, spectral_norm_penalty
from biorep.penalties.weight import WeightPenalty, weight_penalty

__all__ = [
    "InputGradientPenalty",
    "IsometricPenalty",
    "JacobianPenalty",
    "ParsevalPenalty",
    "SingularValueBounds",
    "SpectralNormPenalty",
    "SpectralPenalty",
    "WeightPenalty",
    "bound_singular_values",
    "holzhausen_jacobian_penalty",
    "input_gradient_penalty",
    "isometric_penalty",
    "jacobian_penalty",
    "parseval_penalty",
    "spectral_norm_penalty",
    "spectral_penalty",
    "weight_penalty",
]
