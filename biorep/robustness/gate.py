"""What the public functions refuse: unknown words, values that are no numbers, images outside their box.

A NaN compares as false with everything: without these checks it would pass for an image that withstands.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from biorep.errors import ConfigError, DataError, NumericalError
from biorep.robustness.frozen import in_use
from biorep.robustness.perturbation import Bounds, Loss, Model, Norm
from biorep.words import checked


@checked
def check_call(
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
    norm: Norm,
    bounds: Bounds,
    loss: Loss,
) -> None:
    """Check what a plain attack is called with.

    Raises
    ------
    ConfigError
        If a word is unknown, an epsilon is negative or no number, or the bounds are no interval.
    DataError
        If images are no floating-point tensor or lie outside the bounds, or labels do not belong to them.
    NumericalError
        If images are NaN or infinite.
    """
    check_problem(images, labels, norm=norm, bounds=bounds)
    try:
        radii = torch.as_tensor(epsilon)
    except (TypeError, ValueError, RuntimeError):
        radii = torch.as_tensor(True)  # refused, as any truth value is
    if radii.dtype == torch.bool or radii.is_complex():
        raise ConfigError(f"epsilon must be a number, or one for each image, got {epsilon!r}")
    if not bool(((radii >= 0) & torch.isfinite(radii)).all()):
        raise ConfigError(f"epsilon must be finite and not negative, got {epsilon}")
    if radii.ndim and radii.shape != (len(images),):
        raise ConfigError(f"epsilon must be one number, or one for each of {len(images)} images: {tuple(radii.shape)}")


@checked
def check_problem(images: Tensor, labels: Tensor, *, norm: Norm, bounds: Bounds) -> None:
    """Check images, (presentation, ...), and labels, (presentation,); see `check_call`."""
    for name, value in {"images": images, "labels": labels}.items():
        if not isinstance(value, Tensor):
            raise DataError(f"{name} must be a torch tensor, got {type(value).__name__}; torch.as_tensor makes one")
    if not images.is_floating_point() or images.ndim == 0:
        found = f"{images.dtype} {tuple(images.shape)}"
        raise DataError(
            f"images must be floating-point numbers (presentation, ...), got {found}; convert and scale them"
        )
    try:
        low, high = (float(bound) for bound in bounds)
    except (TypeError, ValueError):
        raise ConfigError(f"bounds must be (smallest, largest allowed value), got {bounds!r}") from None
    if not low < high:  # false for NaN as well
        raise ConfigError(f"bounds must be the smallest and the largest allowed value, got ({low:g}, {high:g})")
    if labels.shape != (len(images),) or labels.is_floating_point() or labels.dtype == torch.bool:
        raise DataError(
            f"labels must be integers, one for each of {len(images)} images; got {labels.dtype} {tuple(labels.shape)}"
        )
    check_images(images, bounds, "images")


def is_positive(value: object) -> bool:
    """Return whether this is a number above 0."""
    return isinstance(value, int | float | np.floating) and not isinstance(value, bool) and bool(value > 0)


def check_start(start: Tensor, images: Tensor) -> None:
    """Check starting points in the unit ball: shaped like the images, and finite."""
    if not isinstance(start, Tensor) or not start.is_floating_point():
        raise DataError(f"start must be a tensor of floating-point numbers, got {type(start).__name__}")
    if start.shape != images.shape:
        raise DataError(f"start has the shape {tuple(start.shape)}, the images {tuple(images.shape)}")
    if not bool(torch.isfinite(start).all()):
        raise NumericalError("start: values are NaN or infinite")


def check_images(images: Tensor, bounds: Bounds, what: str) -> None:
    """Check that images, (presentation, ...), are finite and inside the bounds, up to rounding."""
    if not images.numel():
        return
    smallest, largest = (float(value) for value in torch.aminmax(images.detach()))
    if not math.isfinite(smallest) or not math.isfinite(largest):  # aminmax passes NaN on
        bad = torch.nonzero(~torch.isfinite(images)).tolist()
        raise NumericalError(f"{what}: {len(bad)} values are NaN or infinite, the first at index {tuple(bad[0])}")
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
    ConfigError
        If the model cannot take the images.
    DataError
        If the model returns anything but one row of logits per image, only one logit, or a label has no logit.
    NumericalError
        If a logit is NaN. Infinite ones are allowed: some models mask classes with them.
    """
    try:
        with in_use(model):
            logits = model(images.clone())  # a model may normalise in place
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        taken = f"{tuple(images.shape)} {images.dtype}"
        raise ConfigError(f"the model fails on images {taken}: {type(error).__name__}: {error}") from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise DataError(f"the model must return logits (presentation, class) for {len(images)} images, got {found}")
    if not logits.is_floating_point():
        raise DataError(f"logits must be floating-point numbers, got {logits.dtype}")
    if logits.shape[1] < 2:
        raise DataError(
            "the model has one output, and of one class no image can be told from others: a binary network needs two "
            "logits, torch.cat([torch.zeros_like(z), z], 1) for the logit z of class 1"
        )
    logits = logits.float() if logits.dtype.itemsize < 4 else logits  # losses in half precision round to nothing
    if len(labels) and (int(labels.max()) >= logits.shape[1] or int(labels.min()) < 0):
        raise DataError(
            f"labels from {int(labels.min())} to {int(labels.max())}, but the model has {logits.shape[1]} classes"
        )
    if bool(torch.isnan(logits).any()):
        bad = torch.nonzero(torch.isnan(logits).any(1)).flatten().tolist()
        raise NumericalError(
            f"the model returns NaN for {len(bad)} of {len(images)} images, the first is number {bad[0]}"
        )
    return logits
