"""What the public functions refuse: unknown words, values that are no numbers, images outside their box.

A NaN compares as false with everything: without these checks it would pass for an image that withstands.
"""

from __future__ import annotations

import math
from typing import get_args

import torch
from torch import Tensor

from biorep.errors import ConfigError, DataError, NumericalError, choose
from biorep.robustness.perturbation import Bounds, Loss, Model, Norm


def check_call(
    images: Tensor, labels: Tensor, *, epsilon: float | Tensor, norm: str, bounds: Bounds, loss: str | None = None
) -> None:
    """Check what a plain attack is called with.

    Raises
    ------
    ConfigError
        If a word is unknown, an epsilon is negative or no number, or the bounds are no interval.
    DataError
        If images lie outside the bounds, or labels do not belong to them.
    NumericalError
        If images are NaN or infinite.
    """
    check_problem(images, labels, norm=norm, bounds=bounds)
    if loss is not None:
        choose(loss, get_args(Loss), "loss")
    radii = torch.as_tensor(epsilon)
    if not bool(((radii >= 0) & torch.isfinite(radii)).all()):
        raise ConfigError(f"epsilon must be finite and not negative, got {epsilon}")
    if radii.ndim and radii.shape != (len(images),):
        raise ConfigError(f"epsilon must be one number, or one for each of {len(images)} images: {tuple(radii.shape)}")


def check_problem(images: Tensor, labels: Tensor, *, norm: str, bounds: Bounds) -> None:
    """Check images, (presentation, ...), and labels, (presentation,); see `check_call`."""
    choose(norm, get_args(Norm), "norm")
    low, high = bounds
    if not low < high:  # false for NaN as well
        raise ConfigError(f"bounds must be the smallest and the largest allowed value, got ({low:g}, {high:g})")
    if labels.shape != (len(images),) or labels.is_floating_point():
        raise DataError(
            f"labels must be integers, one for each of {len(images)} images; got {labels.dtype} {tuple(labels.shape)}"
        )
    check_images(images, bounds, "images")


def check_images(images: Tensor, bounds: Bounds, what: str) -> None:
    """Check that images, (presentation, ...), are finite and inside the bounds, up to rounding."""
    if not images.numel():
        return
    smallest, largest = (float(value) for value in torch.aminmax(images.detach()))
    if not math.isfinite(smallest) or not math.isfinite(largest):  # aminmax passes NaN on
        bad = int((~torch.isfinite(images)).sum())
        raise NumericalError(f"{what}: {bad} values are NaN or infinite")
    # Bounds are Python floats, images are rounded, and so is what a normalisation returns.
    slack = 8 * torch.finfo(images.dtype).eps * max(abs(smallest), abs(largest))
    if smallest < bounds[0] - slack or largest > bounds[1] + slack:
        raise DataError(
            f"{what}: values from {smallest:g} to {largest:g} lie outside the bounds [{bounds[0]:g}, {bounds[1]:g}]. "
            "Rescale the images, or state the right bounds (the attribute `value_range` of a dataset)."
        )


def logits_of(model: Model, images: Tensor, labels: Tensor) -> Tensor:
    """Return the logits (presentation, class) of images (presentation, ...); refuse what are none.

    Raises
    ------
    DataError
        If the model returns anything but one row of logits per image, or a label has no logit.
    NumericalError
        If a logit is NaN. Infinite ones are allowed: some models mask classes with them.
    """
    logits = model(images)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise DataError(f"the model must return logits (presentation, class) for {len(images)} images, got {found}")
    if len(labels) and (int(labels.max()) >= logits.shape[1] or int(labels.min()) < 0):
        raise DataError(
            f"labels from {int(labels.min())} to {int(labels.max())}, but the model has {logits.shape[1]} classes"
        )
    if bool(torch.isnan(logits).any()):
        count = int(torch.isnan(logits).any(1).sum())
        raise NumericalError(f"the model returns NaN for {count} of {len(images)} images; nothing can be said about it")
    return logits
