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
from biorep.baselines.regularizers.jacobian import JacobianPenalty, jacobian_penalty
from biorep.baselines.regularizers.matrices import (
    ParsevalPenalty,
    SpectralNormPenalty,
    parseval_penalty,
    spectral_norm_penalty,
)
from biorep.baselines.regularizers.spectral import SpectralPenalty, spectral_penalty
from biorep.baselines.regularizers.weight import WeightPenalty, weight_penalty

__all__ = [
    "AnyPenalty",
    "InputGradientPenalty",
    "IsometricPenalty",
    "JacobianPenalty",
    "ParsevalPenalty",
    "SpectralNormPenalty",
    "SpectralPenalty",
    "WeightPenalty",
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
    | ParsevalPenalty,
    Field(discriminator="kind"),
]
