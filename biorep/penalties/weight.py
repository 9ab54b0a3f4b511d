"""L2 penalty on the weights, as a term of the loss (decoupled decay would be the optimiser's business)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from biorep.config import setting
from biorep.context import as_usual
from biorep.errors import ConfigError
from biorep.nn.loss import Forward
from biorep.penalties.base import BasePenalty


@as_usual()
def weight_penalty(module: nn.Module) -> Tensor:
    """Return the sum of squares of all parameters, biases and output layer included (Holzhausen et al. 2024)."""
    found = [parameter.square().sum() for parameter in module.parameters()] if isinstance(module, nn.Module) else []
    if not found:
        raise ConfigError(f"needs a module with parameters, got {type(module).__name__}")
    return torch.stack(found).sum()


class WeightPenalty(BasePenalty):
    """See `weight_penalty`."""

    versions: ClassVar[Mapping[str, int]] = {"l2": 1}

    kind: Literal["l2"] = "l2"
    strength: float = setting(5e-4, ge=0, description="multiplies the sum of squares")

    def __call__(self, forward: Forward, prepared: Any = None) -> Tensor:
        """Return the penalty; the mini-batch does not matter."""
        return weight_penalty(forward.module)
