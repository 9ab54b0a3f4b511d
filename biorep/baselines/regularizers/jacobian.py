"""Penalty on the sensitivity of outputs to the inputs: the squared Frobenius norm of their Jacobian.

Hoffman, J., Roberts, D. A. & Yaida, S. (2019). Robust learning with Jacobian regularization. arXiv:1908.02729.
"""

from __future__ import annotations

import torch
from torch import Tensor

from biorep.errors import ConfigError


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
        If `n_proj` is neither -1 nor positive, or the inputs do not require a gradient.
    """
    if n_proj != -1 and n_proj < 1:
        raise ConfigError(f"n_proj must be -1 (exact) or at least 1, got {n_proj}")
    if not inputs.requires_grad:
        raise ConfigError("the Jacobian penalty needs inputs that require a gradient: inputs.requires_grad_(True)")
    samples, size = outputs.shape
    if n_proj == -1:
        directions = torch.eye(size, dtype=outputs.dtype, device=outputs.device)[:, None, :].expand(-1, samples, -1)
        scale = 1.0
    else:
        directions = sphere(n_proj, samples, size, like=outputs, generator=generator)
        scale = size / n_proj
    total = outputs.new_zeros(())
    for direction in directions:
        (product,) = torch.autograd.grad(outputs, inputs, direction, create_graph=True)
        total = total + product.square().sum()
    return scale * total / (2 * samples)


def sphere(count: int, samples: int, size: int, *, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return directions that are uniform on the unit sphere, (count, samples, size), independent of each other."""
    draws = torch.randn(count, samples, size, generator=generator, dtype=like.dtype, device=like.device)
    return draws / draws.norm(dim=-1, keepdim=True)
