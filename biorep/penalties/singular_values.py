"""Constraint on all singular values of the weights: they stay near 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from biorep.config import setting
from biorep.context import as_usual
from biorep.errors import ConfigError
from biorep.nn import gate
from biorep.nn.loss import Forward
from biorep.penalties.base import BasePenalty, matrices


@as_usual()
def bound_singular_values(weights: Sequence[Tensor], *, bound: float = 0.05) -> None:
    """Clamp all singular values into [1 / (1 + bound), 1 + bound], in place.

    Parameters
    ----------
    weights : sequence of Tensor, (output, input)
        Contiguous; views of parameters are changed with them.
    bound : float

    Raises
    ------
    ConfigError
        If the bound is negative or no number, or there is no matrix.
    NumericalError
        If a weight is NaN or infinite.

    References
    ----------
    Jia, K., Tao, D., Gao, S. & Xu, X. (2017). Improving training of deep neural networks via singular value bounding.
    CVPR.
    """
    if not (gate.is_number(bound) and bound >= 0):
        raise ConfigError(f"bound must be 0 or more, got {bound!r}")
    with torch.no_grad(), gate.solvable("singular values"):
        for matrix in gate.matrices(weights):
            left, values, right = torch.linalg.svd(gate.numbers(matrix, "weights"), full_matrices=False)
            matrix.copy_(left @ torch.diag(values.clamp(1 / (1 + bound), 1 + bound)) @ right)


class SingularValueBounds(BasePenalty):
    """See `bound_singular_values`: a constraint on the hidden layers, not a term of the loss.

    It holds every so many steps and at the end of each epoch.
    """

    versions: ClassVar[Mapping[str, int]] = {"singular-value-bounds": 1}

    kind: Literal["singular-value-bounds"] = "singular-value-bounds"
    strength: Literal[1] = 1
    bound: float = setting(0.05, gt=0, description="singular values stay within 1 / (1 + bound) and 1 + bound")
    every: int = setting(600, ge=1, description="steps from one clamping to the next")

    def __call__(self, forward: Forward, prepared: Any = None) -> Tensor:
        """Return 0."""
        return forward.logits.new_zeros(())

    def exact(self, forward: Forward) -> Tensor:
        """Return the largest distance of a singular value from the bounds."""
        low, high = 1 / (1 + self.bound), 1 + self.bound
        values = torch.cat([torch.linalg.svdvals(matrix) for matrix in matrices(forward.module, head=False)])
        return torch.maximum(low - values, values - high).amax().clamp_min(0)

    def after_step(self, module: nn.Module, step: int, *, ends_epoch: bool) -> None:
        """Clamp if it is time to."""
        if ends_epoch or step % self.every == 0:
            bound_singular_values(matrices(module, head=False), bound=self.bound)
