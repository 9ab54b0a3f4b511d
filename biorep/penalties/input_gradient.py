"""Penalty on the gradient of the loss with respect to the inputs.

Ross, A. S. & Doshi-Velez, F. (2018). Improving the adversarial robustness and interpretability of deep neural networks
by regularizing their input gradients. AAAI 32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from biorep.config import setting
from biorep.context import as_usual
from biorep.nn import gate
from biorep.nn.loss import Forward
from biorep.penalties.base import BasePenalty


@as_usual()
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
        If the inputs do not require a gradient, the logits do not follow from them, or the labels are no classes.
    """
    logits = gate.numbers(logits, "logits")
    labels = gate.classes(labels, *logits.shape)
    loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
    return gate.gradient(loss, inputs).square().sum() / len(logits)


class InputGradientPenalty(BasePenalty):
    """See `input_gradient_penalty`."""

    needs_input_gradient: ClassVar[bool] = True
    versions: ClassVar[Mapping[str, int]] = {"input-gradient": 1}

    kind: Literal["input-gradient"] = "input-gradient"
    strength: float = setting(0.1, ge=0, description="multiplies the mean squared gradient")

    def __call__(self, forward: Forward, prepared: Any = None) -> Tensor:
        """Return the penalty of a mini-batch."""
        return input_gradient_penalty(forward.logits, forward.inputs, forward.labels)
