"""Penalty on changes of the distances within each class: the representation keeps the metric of the inputs.

Beshkov, K., Verhellen, J. & Lepperød, M. E. (2022). Isometric representations in neural networks improve robustness.
arXiv:2211.01236.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from biorep.config import setting
from biorep.context import as_usual
from biorep.errors import ConfigError, DataError
from biorep.nn import gate
from biorep.nn.loss import Forward
from biorep.penalties.base import BasePenalty, hidden_layers
from biorep.words import checked

Mode = Literal["raw", "maxnorm"]
Reduction = Literal["all", "pairs"]


@checked
@as_usual()
def isometric_penalty(
    representation: Tensor,
    inputs: Tensor,
    labels: Tensor,
    *,
    scale: float = 1.0,
    mode: Mode = "raw",
    reduction: Reduction = "all",
) -> Tensor:
    """Return how much the distances of a batch differ between representation and inputs, within the classes.

    raw: the mean of ``(scale d_ij - D_ij)^2``, with the distances d of the representation and D of the inputs;
    maxnorm: the square of the mean of ``(d_ij / (scale max d) - D_ij / max D)^2``, as in the first version of the
    paper. The mean is taken over all pairs of the batch, pairs of different classes counting 0, as published; with
    ``reduction="pairs"`` over the pairs of one class, so that it does not depend on the number of classes.

    Parameters
    ----------
    representation : Tensor, (presentation, neuroid)
    inputs : Tensor, (presentation, ...)
    labels : Tensor of int, (presentation,)
    scale : float
        Published as lambda 2.
    mode : {"raw", "maxnorm"}
    reduction : {"all", "pairs"}
        ``"pairs"`` with raw only.

    Returns
    -------
    Tensor
        A number; 0 if no two samples of the batch share a class.

    Raises
    ------
    ConfigError
        If an option is unknown, the scale is not positive, the options exclude each other, or the shapes do not fit.
    """
    if not (gate.is_number(scale) and scale > 0):
        raise ConfigError(f"scale must be positive and finite, got {scale!r}")
    if mode == "maxnorm" and reduction == "pairs":
        raise ConfigError("reduction 'pairs' goes with mode 'raw'; maxnorm was published with 'all'")
    representation, inputs = gate.numbers(representation, "representation"), gate.numbers(inputs, "inputs", None)
    if len(representation) != len(inputs):
        raise ConfigError(
            f"{len(representation)} rows and {len(inputs)} inputs: they must be of the same presentations"
        )
    labels = gate.classes(labels, len(inputs))
    same = labels[:, None] == labels[None, :]
    same.fill_diagonal_(False)
    pairs = int(same.sum())
    if not pairs:
        return representation.sum() * 0.0
    own, given = distances(representation), distances(inputs.flatten(1)).detach()
    if mode == "raw":
        squares = torch.where(same, (scale * own - given).square(), 0).sum()
        return squares / (len(labels) ** 2 if reduction == "all" else pairs)
    largest, widest = own[same].max(), given[same].max()
    tiny = torch.finfo(own.dtype).tiny  # classes that have collapsed to a point
    difference = own / (scale * largest.clamp_min(tiny)) - given / widest.clamp_min(tiny)
    return (torch.where(same, difference.square(), 0).sum() / len(labels) ** 2).square()


def distances(rows: Tensor) -> Tensor:
    """Return the Euclidean distances of rows (presentation, value); coincident rows have distance and gradient 0.

    By way of the matrix product, an order of magnitude faster than pair by pair. Rows are centred first, which changes
    no distance and keeps the digits of those that are close to each other.
    """
    centred = rows - rows.mean(0).detach()
    squares = centred.square().sum(1)
    squared = squares[:, None] + squares[None, :] - 2 * centred @ centred.T
    noise = 8 * torch.finfo(rows.dtype).eps * (squares[:, None] + squares[None, :]).detach()
    apart = ~(squared <= noise)  # true for NaN, which must stay one
    apart = apart & ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    return torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0)


class IsometricPenalty(BasePenalty):
    """See `isometric_penalty`; the representation is the last hidden layer, the inputs are the network's."""

    versions: ClassVar[Mapping[str, int]] = {"isometric": 1}

    kind: Literal["isometric"] = "isometric"
    strength: float = setting(0.1, ge=0, description="multiplies the penalty (published: lambda 1)")
    scale: float = setting(1.0, gt=0, description="multiplies the distances of the representation (lambda 2)")
    mode: Mode = setting("raw", description="maxnorm: distances relative to the largest")
    reduction: Reduction = setting("all", description="pairs: mean over pairs of one class alone")

    @model_validator(mode="after")
    def _consistent(self) -> IsometricPenalty:
        if self.mode == "maxnorm" and self.reduction == "pairs":
            raise ValueError("reduction 'pairs' goes with mode 'raw'; maxnorm was published with 'all'")
        return self

    def prepare(self, module: nn.Module, inputs: Tensor, labels: Tensor) -> None:
        """Refuse a training set in which no two samples share a class."""
        if len(torch.unique(labels)) == len(labels):
            raise DataError(
                f"the isometric penalty compares samples of one class, and no two of the {len(labels)} training "
                "samples share one"
            )

    def exact(self, forward: Forward) -> Tensor:
        """Return the penalty, if two samples of the batch share a class.

        Raises
        ------
        ConfigError
            If there is no such pair.
        """
        if len(torch.unique(forward.labels)) == len(forward.labels):
            raise ConfigError("no two samples of the batch share a class")
        return self(forward)

    def __call__(self, forward: Forward, prepared: Any = None) -> Tensor:
        """Return the penalty of a mini-batch."""
        (representation,) = hidden_layers(forward.hidden)
        return isometric_penalty(
            representation,
            forward.inputs.detach(),
            forward.labels,
            scale=self.scale,
            mode=self.mode,
            reduction=self.reduction,
        )
