"""Penalties: terms of the loss, one file each.

A penalty is a `Config` with a `kind`, a `strength` and a call ``(module, inputs, labels) -> Tensor``; the
training loop multiplies by the strength and records the term by itself. To add one: a file, and a member of
`AnyPenalty`.
"""

from __future__ import annotations

from biorep.baselines.regularizers.weight import WeightPenalty

__all__ = ["AnyPenalty", "WeightPenalty"]

#: A penalty of any kind, as recipes write it: ``{kind: l2, strength: 5e-4}``.
AnyPenalty = WeightPenalty
