"""How long and how fast to train, by which optimiser."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator
from torch import nn

from biorep.words import checked


def _checked_milestones(value: dict[int, float]) -> dict[int, float]:
    for epoch, rate in value.items():
        if epoch < 0 or rate < 0:
            raise ValueError(f"milestones are epoch >= 0: rate >= 0, got {epoch}: {rate}")
    return value


#: Epoch (counted from 0) -> learning rate from then on, as a setting.
Milestones = Annotated[dict[int, float], AfterValidator(_checked_milestones)]
Optimiser = Literal["adam", "amsgrad", "sgd"]


@checked
@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Parameters
    ----------
    epochs, batch_size : int
    rate : float
        Learning rate in the first epoch.
    milestones : mapping of int to float
        Epoch (counted from 0) from which another learning rate holds.
    optimiser : {"adam", "amsgrad", "sgd"}
    momentum : float
        Of sgd.
    decay : float
        Weight decay: decoupled for adam and amsgrad (every step takes ``rate * decay`` of a weight), a term of the
        gradient for sgd.
    fade : (int, float), optional
        Start and time: from that epoch on the rate falls as ``exp(-(epoch - start) / time)``.
    """

    epochs: int
    batch_size: int
    rate: float
    milestones: Mapping[int, float]
    optimiser: Optimiser = "adam"
    momentum: float = 0.9
    decay: float = 0.0
    fade: tuple[int, float] | None = None

    def optimise(self, module: nn.Module) -> torch.optim.Optimizer:
        """Return the optimiser of the parameters of a module."""
        if self.optimiser == "sgd":
            return torch.optim.SGD(module.parameters(), lr=self.rate, momentum=self.momentum, weight_decay=self.decay)
        kind = torch.optim.AdamW if self.decay else torch.optim.Adam
        return kind(module.parameters(), lr=self.rate, weight_decay=self.decay, amsgrad=self.optimiser == "amsgrad")

    def rate_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        passed = [start for start in self.milestones if start <= epoch]
        rate = self.milestones[max(passed)] if passed else self.rate
        if self.fade is None or epoch <= self.fade[0]:
            return rate
        return rate * math.exp(-(epoch - self.fade[0]) / self.fade[1])
