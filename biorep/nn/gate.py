"""What plain functions of tensors refuse: what are no numbers, other shapes, labels that are no classes, no graph."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from biorep.errors import ConfigError, NumericalError

HALF = (torch.float16, torch.bfloat16)


def numbers(values: Tensor, what: str, ndim: int | None = 2) -> Tensor:
    """Return a tensor of `ndim` dims (None: 2 or more), not empty; 16-bit numbers, of `autocast`, as 32-bit ones.

    Raises
    ------
    ConfigError
        If it is no tensor of floating-point numbers, or has another form.
    """
    if (
        not isinstance(values, Tensor)
        or not values.is_floating_point()
        or not values.numel()
        or (values.ndim < 2 if ndim is None else values.ndim != ndim)
    ):
        found = f"{values.dtype} {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        form = "of 2 dims or more" if ndim is None else f"of {ndim} dims"
        raise ConfigError(f"{what} must be a tensor of floating-point numbers {form}, not empty; got {found}")
    return values.float() if values.dtype in HALF else values


def matrices(weights: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """Return matrices (output, input) of floating-point numbers, one or several, as they are.

    Raises
    ------
    ConfigError
        If there is none, or one is no matrix.
    """
    found = [weights] if isinstance(weights, Tensor) else list(weights or ())
    if not found:
        raise ConfigError("there are no matrices: give weights (output, input), one or several")
    for matrix in found:
        numbers(matrix, "weights")
    return found


def classes(labels: Tensor, count: int, classes: int | None = None) -> Tensor:
    """Return labels as int64: whole numbers, one for each presentation, below the number of classes if it is given.

    Raises
    ------
    ConfigError
        If they are something else.
    """
    if (
        not isinstance(labels, Tensor)
        or labels.is_floating_point()
        or labels.dtype == torch.bool
        or labels.shape != (count,)
    ):
        found = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        raise ConfigError(f"labels must be classes, one for each of {count} presentations: integers, got {found}")
    if classes is not None and count and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        found = f"{int(labels.min())} to {int(labels.max())}"
        raise ConfigError(
            f"labels must be classes, one for each of {count} presentations: below {classes}, got {found}"
        )
    return labels.long()


def gradient(outputs: Tensor, inputs: Tensor, directions: Tensor | None = None) -> Tensor:
    """Return the gradient of outputs in the inputs, with a graph of its own.

    Raises
    ------
    ConfigError
        If inputs require no gradient, or outputs do not follow from them.
    """
    if not isinstance(inputs, Tensor) or not inputs.requires_grad:
        raise ConfigError("this penalty needs inputs that require a gradient: inputs.requires_grad_(True)")
    found = None
    if outputs.requires_grad:
        (found,) = torch.autograd.grad(outputs, inputs, directions, create_graph=True, allow_unused=True)
    if found is None:
        raise ConfigError("the outputs were not computed from these inputs, or without a graph (no_grad, detach)")
    return found


@contextmanager
def solvable(what: str) -> Iterator[None]:
    """Let what linear algebra cannot do be a `NumericalError`."""
    try:
        yield
    except torch.linalg.LinAlgError as error:
        raise NumericalError(f"{what}: {str(error).splitlines()[0]}") from None


def is_whole(value: object) -> bool:
    """Return whether a value is a whole number, and no truth value."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Return whether a value is a finite number, and no truth value."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)
