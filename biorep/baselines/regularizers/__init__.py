"""Penalties: terms of the loss, one file each, as plain functions and as settings of a recipe.

A penalty of a recipe has a `kind`, a `strength`, and a call ``(forward, prepared) -> Tensor``, see `base`; the training
loop multiplies by the strength and records the term by itself. Any of them go together in one training. To add one: a
file, and a member of `AnyPenalty`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from biorep.baselines.regularizers.input_gradient import InputGradientPenalty, input_gradient_penalty
from biorep.baselines.regularizers.isometric import IsometricPenalty, isometric_penalty
from biorep.baselines.regularizers.jacobian import JacobianPenalty, holzhausen_jacobian_penalty, jacobian_penalty
from biorep.baselines.regularizers.parseval import ParsevalPenalty, parseval_penalty
from biorep.baselines.regularizers.singular_values import SingularValueBounds, bound_singular_values
from biorep.baselines.regularizers.spectral import SpectralPenalty, spectral_penalty
from biorep.baselines.regularizers.spectral_norm import SpectralNormPenalty, spectral_norm_penalty
from biorep.baselines.regularizers.weight import WeightPenalty, weight_penalty

__all__ = [
    "DEFAULTS",
    "AnyPenalty",
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

#: A penalty of any kind, as recipes write it: ``{kind: l2, strength: 5e-4}``.
AnyPenalty = Annotated[
    WeightPenalty
    | JacobianPenalty
    | SpectralPenalty
    | IsometricPenalty
    | InputGradientPenalty
    | SpectralNormPenalty
    | ParsevalPenalty
    | SingularValueBounds,
    Field(discriminator="kind"),
]

#: One of each kind that is a number of a network, with its default settings: what histories record.
DEFAULTS = (
    WeightPenalty(),
    JacobianPenalty(),
    SpectralPenalty(),
    IsometricPenalty(),
    InputGradientPenalty(),
    SpectralNormPenalty(),
    ParsevalPenalty(),
)
