"""Penalty on the sensitivity of outputs to the inputs: the squared Frobenius norm of their Jacobian.

Hoffman, J., Roberts, D. A. & Yaida, S. (2019). Robust learning with Jacobian regularization. arXiv:1908.02729.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import field_validator, model_validator
from torch import Tensor

from biorep.config import setting
from biorep.context import as_usual
from biorep.errors import ConfigError
from biorep.nn import gate
from biorep.nn.loss import Forward, trace
from biorep.penalties.base import BasePenalty, hidden_layers, matrices


@as_usual()
def jacobian_penalty(
    outputs: Tensor, inputs: Tensor, *, n_proj: int = 1, generator: torch.Generator | None = None
) -> Tensor:
    """Return half of the mean squared Frobenius norm of the Jacobian, ``1 / (2 B) sum_b ||d output_b / d input_b||^2``.

    Parameters
    ----------
    outputs : Tensor, (presentation, output)
        Computed from `inputs`, sample by sample.
    inputs : Tensor, (presentation, ...)
        Must require a gradient.
    n_proj : int
        How many random directions per sample estimate it without bias, each on the unit sphere and independent of the
        others. -1: exactly, at the price of one backward pass per output.
    generator : torch.Generator, optional
        Of the directions.

    Returns
    -------
    Tensor
        A number that can be differentiated with respect to the parameters.

    Raises
    ------
    ConfigError
        If `n_proj` is neither -1 nor positive, the inputs do not require a gradient, or the outputs do not follow from
        them.
    """
    if not gate.is_whole(n_proj) or (n_proj != -1 and n_proj < 1):
        raise ConfigError(f"n_proj must be -1 (exact) or at least 1, got {n_proj!r}")
    outputs = gate.numbers(outputs, "outputs")
    samples, size = outputs.shape
    if n_proj == -1:
        directions = torch.eye(size, dtype=outputs.dtype, device=outputs.device)[:, None, :].expand(-1, samples, -1)
        scale = 1.0
    else:
        directions = sphere(n_proj, samples, size, like=outputs, generator=generator)
        scale = size / n_proj
    total = outputs.new_zeros(())
    for direction in directions:
        total = total + gate.gradient(outputs, inputs, direction).square().sum()
    return scale * total / (2 * samples)


@as_usual()
def holzhausen_jacobian_penalty(
    outputs: Tensor, inputs: Tensor, *, n_proj: int = 3, generator: torch.Generator | None = None
) -> Tensor:
    """Return the penalty that the released program of Holzhausen et al. (2024) computes, its defect included.

    Without the factor 1/2, and only the first direction is on the unit sphere of each sample: the others are on the
    one unit sphere of the whole batch, so that the mean is ``(1 + (n_proj - 1) / B) / n_proj`` of the mean squared
    norm of the Jacobian: with their 3 directions and 1000 samples a third.

    Parameters
    ----------
    outputs : Tensor, (presentation, output)
        There the currents of the hidden layer: for a linear first layer this is weight decay.
    inputs, n_proj, generator
        See `jacobian_penalty`.
    """
    if not gate.is_whole(n_proj) or n_proj < 1:
        raise ConfigError(f"n_proj must be at least 1 for the variant of Holzhausen et al., got {n_proj!r}")
    outputs = gate.numbers(outputs, "outputs")
    samples, size = outputs.shape
    first = sphere(1, samples, size, like=outputs, generator=generator)
    others = sphere(n_proj - 1, 1, samples * size, like=outputs, generator=generator).view(-1, samples, size)
    total = outputs.new_zeros(())
    for direction in torch.cat([first, others]):
        total = total + gate.gradient(outputs, inputs, direction).square().sum()
    return size * total / (n_proj * samples)


def one_layer_norm(outputs: Tensor, currents: Tensor, weights: Tensor) -> Tensor:
    """Return half of the mean squared norm of the Jacobian of the only hidden layer, ``J = diag(f'(u)) W``, exactly."""
    if outputs is currents:
        return weights.square().sum() / 2
    (slopes,) = torch.autograd.grad(outputs.sum(), currents, retain_graph=True)
    return (slopes.square() @ weights.square().sum(1)).mean() / 2


def sphere(count: int, samples: int, size: int, *, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return directions that are uniform on the unit sphere, (count, samples, size), independent of each other."""
    draws = torch.randn(count, samples, size, generator=generator, dtype=like.dtype, device=like.device)
    return draws / draws.norm(dim=-1, keepdim=True)


#: Samples of which the history takes the exact Jacobian of a wide layer.
FEW = 16


class JacobianPenalty(BasePenalty):
    """See `jacobian_penalty`. With BatchNorm the samples of a batch are not independent, and cross terms enter."""

    needs_input_gradient: ClassVar[bool] = True
    versions: ClassVar[Mapping[str, int]] = {"jacobian": 1}

    kind: Literal["jacobian"] = "jacobian"
    strength: float = setting(0.01, ge=0, description="multiplies half of the mean squared norm of the Jacobian")
    target: Literal["logits", "features", "preactivation"] = setting(
        "logits",
        description="outputs of the Jacobian; features: the last hidden layer, preactivation: before its nonlinearity",
    )
    n_proj: int = setting(1, description="random directions per sample; -1: exact")
    variant: Literal["hoffman", "holzhausen"] = setting(
        "hoffman",
        neutral="hoffman",
        description="holzhausen: as their program has it, of the preactivation, without the 1/2, with its defect",
    )

    @field_validator("n_proj")
    @classmethod
    def _some(cls, value: int) -> int:
        if value != -1 and value < 1:
            raise ValueError(f"n_proj must be -1 (exact) or at least 1, got {value}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> JacobianPenalty:
        if self.variant == "holzhausen" and (self.target != "preactivation" or self.n_proj < 1):
            raise ValueError("variant 'holzhausen' goes with target 'preactivation' and n_proj of at least 1")
        return self

    def examine(self, forward: Forward, smallest: int) -> list[str]:
        """Say if the penalty is another one than its name says."""
        self._outputs(forward)
        if self.target != "preactivation" or len(forward.hidden) != 1 or self.variant == "holzhausen":
            return []  # the published variant is asked for as it is
        return [
            "the Jacobian of the currents of a linear first layer is its weight matrix: this penalty is weight decay. "
            "Set target to 'logits' or 'features' for another."
        ]

    def __call__(self, forward: Forward, prepared: Any = None) -> Tensor:
        """Return the penalty of a mini-batch."""
        function = jacobian_penalty if self.variant == "hoffman" else holzhausen_jacobian_penalty
        return function(self._outputs(forward), forward.inputs, n_proj=self.n_proj, generator=forward.generator)

    def exact(self, forward: Forward) -> Tensor:
        """Return it without random directions, in the convention of Hoffman.

        Of hidden layers behind others, which have as many rows as neuroids, only for the first few samples.
        """
        outputs = self._outputs(forward)
        layers = matrices(forward.module, head=False)
        if self.target != "logits" and len(layers) == 1 and forward.preactivation is not None:
            return one_layer_norm(outputs, forward.preactivation, layers[0])
        if self.target == "logits":
            return jacobian_penalty(outputs, forward.inputs, n_proj=-1)
        hidden, currents, _ = trace(forward.module, inputs := forward.inputs[:FEW].detach().requires_grad_())
        return jacobian_penalty(hidden[-1] if self.target == "features" else _given(currents), inputs, n_proj=-1)

    def _outputs(self, forward: Forward) -> Tensor:
        if self.target == "logits":
            return forward.logits
        return hidden_layers(forward.hidden)[0] if self.target == "features" else _given(forward.preactivation)


def _given(currents: Tensor | None) -> Tensor:
    if currents is None:
        raise ConfigError("the Jacobian penalty on 'preactivation' needs a network with a hidden layer")
    return currents
