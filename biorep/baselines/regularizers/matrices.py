"""Penalties and constraints on weight matrices alone: singular values, and distance from orthonormal rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from biorep.baselines.regularizers.base import BasePenalty, matrices
from biorep.bridge.loss import Forward
from biorep.config import setting
from biorep.errors import ConfigError


def spectral_norm_penalty(
    weights: Sequence[Tensor], *, iterations: int = 30, starts: Sequence[Tensor] | None = None
) -> Tensor:
    """Return half of the sum of the squares of the largest singular values.

    The singular vectors come from power iterations without a gradient; the gradient is then ``sigma u v^T``, exactly
    that of the largest singular value.

    Parameters
    ----------
    weights : sequence of Tensor, (output, input)
    iterations : int
        Power iterations for each matrix.
    starts : sequence of Tensor, (input,), optional
        Where the iterations start, for example at the vectors of the last step; overwritten with where they end. Ones
        by default.

    Raises
    ------
    ConfigError
        If there is no iteration.

    References
    ----------
    Yoshida, Y. & Miyato, T. (2017). Spectral norm regularization for improving the generalizability of deep learning.
    arXiv:1705.10941. With the layers up to the representation, the head left out, it is the regularizer of Yang, Y.,
    Zavatone-Veth, J. & Pehlevan, C. (2024). Spectral regularization for adversarially-robust representation learning.
    arXiv:2405.17181.
    """
    if iterations < 1:
        raise ConfigError(f"iterations must be at least 1, got {iterations}")
    total = weights[0].new_zeros(())
    for index, matrix in enumerate(weights):
        start = torch.ones_like(matrix[0]) if starts is None else starts[index]
        left, right = singular_vectors(matrix.detach(), start, iterations)
        if starts is not None:
            starts[index].copy_(right)
        total = total + (left @ matrix @ right).square() / 2
    return total


def singular_vectors(matrix: Tensor, start: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Return the singular vectors (output,) and (input,) of the largest singular value, by power iteration."""
    right = start / start.norm().clamp_min(torch.finfo(start.dtype).tiny)
    left = matrix @ right
    for _ in range(iterations):
        left = matrix @ right
        left = left / left.norm().clamp_min(torch.finfo(left.dtype).tiny)
        right = matrix.T @ left
        right = right / right.norm().clamp_min(torch.finfo(right.dtype).tiny)
    return left, right


def parseval_penalty(weights: Sequence[Tensor]) -> Tensor:
    """Return the sum of ``||W W^T - I||_F^2``, on the smaller side of each matrix.

    Parameters
    ----------
    weights : sequence of Tensor, (output, input)

    References
    ----------
    Cissé, M. et al. (2017). Parseval networks: improving robustness to adversarial examples. ICML 34.
    """
    total = weights[0].new_zeros(())
    for matrix in weights:
        gram = smaller_gram(matrix)
        total = total + (gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)).square().sum()
    return total


def smaller_gram(matrix: Tensor) -> Tensor:
    """Return ``W W^T`` or ``W^T W``, whichever is smaller."""
    return matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix


def bound_singular_values(weights: Sequence[Tensor], *, bound: float = 0.05) -> None:
    """Clamp all singular values into [1 / (1 + bound), 1 + bound], in place.

    Parameters
    ----------
    weights : sequence of Tensor, (output, input)
        Contiguous; views of parameters are changed with them.
    bound : float

    References
    ----------
    Jia, K., Tao, D., Gao, S. & Xu, X. (2017). Improving training of deep neural networks via singular value bounding.
    CVPR.
    """
    with torch.no_grad():
        for matrix in weights:
            left, values, right = torch.linalg.svd(matrix, full_matrices=False)
            matrix.copy_(left @ torch.diag(values.clamp(1 / (1 + bound), 1 + bound)) @ right)


class SpectralNormPenalty(BasePenalty):
    """See `spectral_norm_penalty`; one power iteration per step, from the vectors of the last one."""

    kind: Literal["spectral-norm"] = "spectral-norm"
    strength: float = setting(0.01, ge=0, description="multiplies half of the sum of squared singular values")
    layers: Literal["all", "representation"] = setting(
        "all", description="representation: without the output layer (Yang et al. 2024)"
    )

    def prepare(self, module: nn.Module, inputs: Tensor, labels: Tensor) -> list[Tensor]:
        """Return vectors to start from, close to the singular vectors."""
        weights = [matrix.detach() for matrix in self._weights(module)]
        return [singular_vectors(matrix, torch.ones_like(matrix[0]), 30)[1] for matrix in weights]

    def __call__(self, forward: Forward, prepared: list[Tensor] | None = None) -> Tensor:
        """Return the penalty; the mini-batch does not matter."""
        iterations = 30 if prepared is None else 1
        return spectral_norm_penalty(self._weights(forward.module), iterations=iterations, starts=prepared)

    def exact(self, forward: Forward) -> Tensor:
        """Return the penalty with converged singular values."""
        largest = [torch.linalg.eigvalsh(smaller_gram(matrix))[-1] for matrix in self._weights(forward.module)]
        return torch.stack(largest).sum() / 2

    def _weights(self, module: nn.Module) -> list[Tensor]:
        return matrices(module, head=self.layers == "all")


class ParsevalPenalty(BasePenalty):
    """See `parseval_penalty`; hidden layers alone, because orthonormal logits would bound the confidence."""

    kind: Literal["parseval"] = "parseval"
    strength: float = setting(1e-3, ge=0, description="multiplies the squared distance from orthonormal rows")

    def __call__(self, forward: Forward, prepared: Any = None) -> Tensor:
        """Return the penalty; the mini-batch does not matter."""
        return parseval_penalty(matrices(forward.module, head=False))


class SingularValueBounds(BasePenalty):
    """See `bound_singular_values`: a constraint on the hidden layers every so many steps, not a term of the loss."""

    kind: Literal["singular-value-bounds"] = "singular-value-bounds"
    strength: Literal[1] = 1
    bound: float = setting(0.05, gt=0, description="singular values stay within 1 / (1 + bound) and 1 + bound")
    every: int = setting(600, ge=1, description="steps from one clamping to the next")

    def __call__(self, forward: Forward, prepared: Any = None) -> Tensor:
        """Return 0."""
        return forward.logits.new_zeros(())

    def after_step(self, module: nn.Module, step: int) -> None:
        """Clamp if it is time to."""
        if step % self.every == 0:
            bound_singular_values(matrices(module, head=False), bound=self.bound)
