"""Penalty on the distance of the weights from orthonormal rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from biorep.config import setting
from biorep.context import as_usual
from biorep.nn import gate
from biorep.nn.loss import Forward
from biorep.penalties.base import BasePenalty, matrices, smaller_gram


@as_usual()
def parseval_penalty(weights: Sequence[Tensor]) -> Tensor:
    """Return the sum of ``||W W^T - I||_F^2``, on the smaller side of each matrix.

    Parameters
    ----------
    weights : sequence of Tensor, (output, input)

    Raises
    ------
    ConfigError
        If there is no matrix.

    References
    ----------
    Cissé, M. et al. (2017). Parseval networks: improving robustness to adversarial examples. ICML 34.
    """
    weights = gate.matrices(weights)
    total = weights[0].new_zeros(())
    for matrix in weights:
        gram = smaller_gram(matrix)
        total = total + (gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)).square().sum()
    return total


class ParsevalPenalty(BasePenalty):
    """See `parseval_penalty`; hidden layers alone, because orthonormal logits would bound the confidence."""

    versions: ClassVar[Mapping[str, int]] = {"parseval": 1}

    kind: Literal["parseval"] = "parseval"
    strength: float = setting(1e-3, ge=0, description="multiplies the squared distance from orthonormal rows")

    def __call__(self, forward: Forward, prepared: Any = None) -> Tensor:
        """Return the penalty; the mini-batch does not matter."""
        return parseval_penalty(matrices(forward.module, head=False))
