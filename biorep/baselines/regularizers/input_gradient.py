"""Penalty on the gradient of the loss with respect to the inputs.

Ross, A. S. & Doshi-Velez, F. (2018). Improving the adversarial robustness and interpretability of deep neural networks
by regularizing their input gradients. AAAI 32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from biorep.errors import ConfigError


def input_gradient_penalty(logits: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over samples of the squared norm of the gradient of each sample's cross-entropy.

    Parameters
    ----------
    logits : Tensor, (presentation, class)
        Computed from `inputs`, sample by sample.
    inputs : Tensor, (presentation, ...)
        Must require a gradient.
    labels : Tensor of int64, (presentation,)

    Raises
    ------
    ConfigError
        If the inputs do not require a gradient.
    """
    if not inputs.requires_grad:
        raise ConfigError("the input gradient penalty needs inputs that require a gradient")
    loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, inputs, create_graph=True)
    return gradient.square().sum() / len(logits)
