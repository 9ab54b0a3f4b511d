"""One step of the Krotov-Hopfield rank rule, in its fastest exact form and in its literal dense form.

Fast rank rule (Krotov & Hopfield 2019, equations 3 and 10), for a mini-batch of inputs ``v_b``::

    I_mu,b = sum_i sign(W_mu,i) |W_mu,i|^(p-1) v_b,i                     currents, the p-bracket
    g_mu,b = 1 for the largest current of b, -delta for the k-th largest, 0 otherwise
    dW_mu  = R^p sum_b g_mu,b v_b - (sum_b g_mu,b I_mu,b) W_mu
    W     += eps dW / max |dW|

Only the rows of winners and losers change, so `SparseUpdate` transforms the weights once and touches just those
rows. `dense_step` writes the rule down as two matrix products; it is the oracle of the tests and the peer of
`benchmarks/kh_update.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from biorep.words import checked

DeltaMode = Literal["kth", "all-losers"]
#: Smallest divisor of an update, so that a zero update stays zero.
TINY = 1e-30


def bracket(weights: Tensor, p: float) -> Tensor:
    """Return ``sign(W) |W|^(p-1)``, the matrix that turns inputs into p-bracket currents; the same shape."""
    if p == 2:
        return weights.clone()
    if p == 3:
        return weights * weights.abs()
    return weights.sign() * weights.abs().pow(p - 1)


@checked
@dataclass(frozen=True)
class Rule:
    """Parameters of the rank rule; see `biorep.networks.local.krotov_hopfield.KrotovHopfield` for their meaning."""

    p: float
    k: int
    delta: float
    radius: float = 1.0
    delta_mode: DeltaMode = "kth"

    def ranked(self, currents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the units that learn from each input, their `g` and their currents.

        Parameters
        ----------
        currents : Tensor, (presentation, neuroid)

        Returns
        -------
        units, strength, drive : Tensor, (presentation, learners)
            The winner stands first; `drive` is `g` times the current.
        """
        drive, units = currents.topk(self.k, dim=1)
        if self.delta_mode == "kth":
            drive, units = drive[:, :: self.k - 1], units[:, :: self.k - 1]
        strength = torch.full_like(drive, -self.delta)
        strength[:, 0] = 1.0
        return units, strength, drive * strength


class SparseUpdate:
    """The weights of a network under training, with their transform cached.

    Parameters
    ----------
    weights : Tensor, (neuroid, input)
        Initial weights; changed in place.
    rule : Rule
    """

    def __init__(self, weights: Tensor, rule: Rule):
        self.weights, self.rule = weights, rule
        self.transform = bracket(weights, rule.p)

    def step(self, inputs: Tensor, rate: float) -> Tensor:
        """Learn from one mini-batch.

        Parameters
        ----------
        inputs : Tensor, (presentation, input)
        rate : float
            Size of the largest change of a weight.

        Returns
        -------
        Tensor, (presentation,)
            The unit that won each presentation.
        """
        rule = self.rule
        currents = inputs @ self.transform.T
        units, strength, drive = rule.ranked(currents)

        # Sum over the learners of each row: sort them by row, then sum segments (which embedding_bag is).
        learners, order = units.flatten().sort(stable=True)
        rows, counts = torch.unique_consecutive(learners, return_counts=True)
        change = torch.nn.functional.embedding_bag(
            order // units.shape[1],
            inputs,
            counts.cumsum(0) - counts,
            mode="sum",
            per_sample_weights=strength.flatten()[order],
        )
        if rule.radius != 1:
            change *= rule.radius**rule.p
        decay = torch.segment_reduce(drive.flatten()[order], "sum", lengths=counts, unsafe=True)

        weights = self.weights.index_select(0, rows)
        change.addcmul_(weights, decay[:, None], value=-1)
        low, high = change.aminmax()
        weights.addcmul_(change, rate / torch.maximum(high, -low).clamp_min(TINY))
        self.weights.index_copy_(0, rows, weights)
        self.transform.index_copy_(0, rows, bracket(weights, rule.p))
        return units[:, 0]


def dense_step(weights: Tensor, inputs: Tensor, rule: Rule, rate: float) -> Tensor:
    """Learn from one mini-batch with two full matrix products; see the module for the equations.

    Parameters
    ----------
    weights : Tensor, (neuroid, input)
        Changed in place.
    inputs : Tensor, (presentation, input)
    rule : Rule
    rate : float

    Returns
    -------
    Tensor, (presentation,)
        The unit that won each presentation.
    """
    currents = inputs @ bracket(weights, rule.p).T
    units, strength, _ = rule.ranked(currents)
    g = torch.zeros_like(currents).scatter_(1, units, strength)
    decay = (g * currents).sum(0)
    change = g.T @ inputs
    change.mul_(rule.radius**rule.p).sub_(decay[:, None] * weights)
    weights.add_(change, alpha=rate / max(float(change.abs().max()), TINY))
    return units[:, 0]
