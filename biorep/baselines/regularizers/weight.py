"""L2 penalty on the weights, as a term of the loss (decoupled decay would be the optimiser's business)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from biorep.config import Config, setting


class WeightPenalty(Config):
    """Sum of squares of all parameters, biases and output layer included (Holzhausen et al. 2024).

    The loss gains ``strength * sum_P ||P||_2^2``.
    """

    kind: Literal["l2"] = "l2"
    strength: float = setting(5e-4, ge=0, description="multiplies the sum of squares")

    def __call__(self, module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the sum of squares of the parameters; inputs and labels do not matter."""
        return torch.stack([parameter.square().sum() for parameter in module.parameters()]).sum()
