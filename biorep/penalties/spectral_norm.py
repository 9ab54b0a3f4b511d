"""Penalty on the largest singular values of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from scipy.sparse.linalg import svds
from torch import Tensor, nn

from biorep import rng
from biorep.config import setting
from biorep.context import as_usual
from biorep.errors import ConfigError
from biorep.nn import gate
from biorep.nn.loss import Forward
from biorep.penalties.base import BasePenalty, matrices

#: Sides of matrices of which all singular values are quicker than the largest alone.
SMALL = 64


@as_usual()
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
        Where the iterations start, for example at the vectors of the last step; overwritten with where they end. Drawn
        by default, the same for all matrices of a width: a fixed direction can be one in which a matrix does nothing.

    Raises
    ------
    ConfigError
        If there is no matrix, or no iteration.

    References
    ----------
    Yoshida, Y. & Miyato, T. (2017). Spectral norm regularization for improving the generalizability of deep learning.
    arXiv:1705.10941. With the layers up to the representation, the head left out, it is the regularizer of Yang, Y.,
    Zavatone-Veth, J. & Pehlevan, C. (2024). Spectral regularization for adversarially-robust representation learning.
    arXiv:2405.17181.
    """
    weights = gate.matrices(weights)
    if not gate.is_whole(iterations) or iterations < 1:
        raise ConfigError(f"iterations must be at least 1, and whole, got {iterations!r}")
    if starts is not None and [start.shape for start in starts] != [matrix.shape[1:] for matrix in weights]:
        raise ConfigError("starts must be a vector (input,) for each matrix (output, input)")
    total = weights[0].new_zeros(())
    for index, matrix in enumerate(weights):
        start = drawn_start(matrix) if starts is None else starts[index]
        left, right = singular_vectors(matrix.detach(), start, iterations)
        if starts is not None:
            starts[index].copy_(right)
        total = total + (left @ matrix @ right).square() / 2
    return total


def drawn_start(matrix: Tensor) -> Tensor:
    """Return a random vector (input,) to start from, the same for all matrices of a width."""
    drawn = rng.stream(0, "spectral-norm", matrix.shape[1]).standard_normal(matrix.shape[1])
    return torch.as_tensor(drawn).to(matrix)


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


def largest_singular_value(matrix: Tensor) -> float:
    """Return the largest singular value to machine precision: by Lanczos iteration, of small matrices directly."""
    values = matrix.detach().double().cpu()
    if min(values.shape) < SMALL:
        return float(torch.linalg.svdvals(values)[0])
    array = values.numpy()
    start = rng.stream(0, "spectral-norm", min(array.shape)).standard_normal(min(array.shape))
    return float(svds(array, k=1, v0=start, return_singular_vectors=False)[0])


class SpectralNormPenalty(BasePenalty):
    """See `spectral_norm_penalty`; one power iteration per step, from the vectors of the last one."""

    versions: ClassVar[Mapping[str, int]] = {"spectral-norm": 2}

    kind: Literal["spectral-norm"] = "spectral-norm"
    strength: float = setting(0.01, ge=0, description="multiplies half of the sum of squared singular values")
    layers: Literal["all", "representation"] = setting(
        "all", description="representation: without the output layer (Yang et al. 2024)"
    )

    def prepare(self, module: nn.Module, inputs: Tensor, labels: Tensor) -> list[Tensor]:
        """Return vectors to start from, close to the singular vectors."""
        weights = [matrix.detach() for matrix in self._weights(module)]
        return [singular_vectors(matrix, drawn_start(matrix), 30)[1] for matrix in weights]

    def __call__(self, forward: Forward, prepared: list[Tensor] | None = None) -> Tensor:
        """Return the penalty; the mini-batch does not matter."""
        iterations = 30 if prepared is None else 1
        return spectral_norm_penalty(self._weights(forward.module), iterations=iterations, starts=prepared)

    def exact(self, forward: Forward) -> Tensor:
        """Return the penalty with converged singular values."""
        weights = self._weights(forward.module)
        return weights[0].new_tensor(sum(largest_singular_value(matrix) ** 2 for matrix in weights) / 2)

    def _weights(self, module: nn.Module) -> list[Tensor]:
        return matrices(module, head=self.layers == "all")
