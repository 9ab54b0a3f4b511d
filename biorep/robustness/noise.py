"""Gaussian pixel noise: what a classifier stands without an adversary."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from biorep import rng
from biorep.context import RunContext
from biorep.robustness.attack import Problem
from biorep.robustness.critical import least_norms
from biorep.robustness.perturbation import Bounds, per_image
from biorep.robustness.tables import noise_table


def noise_directions(shape: tuple[int, ...], seed: int, draw: int) -> Tensor:
    """Return standard normal noise, one direction per presentation, (presentation, ...)."""
    draws = rng.stream(seed, "gaussian-noise", draw).standard_normal(shape, dtype=np.float32)
    return torch.as_tensor(draws)


def add_noise(images: Tensor, directions: Tensor, *, epsilon: float | Tensor, bounds: Bounds) -> Tensor:
    """Return ``images + epsilon * directions``, clipped to `bounds`; epsilon is the SD."""
    return (images + per_image(epsilon, images) * directions).clamp(*bounds)


def noise_group(
    problem: Problem,
    clean: np.ndarray,
    *,
    epsilons: list[float],
    draws: int,
    clipped: bool,
    precision: float,
    seed: int,
    context: RunContext,
) -> xr.Dataset:
    """Return the group of Gaussian noise.

    Parameters
    ----------
    problem : Problem
        Of norm ``l2``.
    clean : array of bool, (presentation,)
        Images that are classified correctly.
    epsilons : list of float
        Standard deviations, ascending, the first one 0.
    draws : int
        Independent draws behind the accuracy; the critical distance is along the first one.
    clipped : bool
        Whether noisy images are clipped to the bounds of the problem.
    precision : float
        See `least_norms`.
    seed : int
    context : RunContext
    """
    if not clipped:
        problem = replace(problem, bounds=(-np.inf, np.inf))
    share = np.zeros((len(epsilons), len(clean)))
    for draw in context.track(range(draws), "robustness: noise"):
        share += _correct(problem, noise_directions(tuple(problem.images.shape), seed, draw), epsilons)
    along = noise_directions(tuple(problem.images.shape), seed, 0)

    def move(index: Tensor, epsilon: Tensor | None) -> Tensor:
        assert epsilon is not None
        images = problem.images[index]
        return add_noise(images, along[index].to(images), epsilon=epsilon, bounds=problem.bounds)

    found = least_norms(problem, move, clean, epsilons=epsilons, precision=precision)
    return noise_table(found, share / draws, epsilons, clean)


def _correct(problem: Problem, directions: Tensor, epsilons: list[float]) -> np.ndarray:
    """Return 1 where images with one draw of the noise are classified correctly, (epsilon, presentation)."""
    correct = np.zeros((len(epsilons), len(directions)))
    for row, epsilon in enumerate(epsilons):
        for index in problem.batches():
            images = problem.images[index]
            noisy = add_noise(images, directions[index].to(images), epsilon=epsilon, bounds=problem.bounds)
            correct[row, index.numpy()] = ~problem.fooled(index, noisy).numpy()
    return correct
