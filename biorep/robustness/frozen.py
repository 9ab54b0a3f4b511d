"""A user's module while it is attacked: it must not learn, nor answer otherwise than when it is used."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from biorep.errors import ConfigError
from biorep.robustness.perturbation import Model


def device_of(model: Model) -> str:
    """Return the device of a module's parameters and buffers; ``cpu`` for one without, and for any other callable."""
    places = _places(model)
    if len(places) > 1:
        raise ConfigError(
            f"the model lies on several devices ({', '.join(sorted(map(str, places)))}); move it to one of them"
        )
    return str(next(iter(places), "cpu"))


def dtype_of(model: Model) -> torch.dtype | None:
    """Return what numbers a module computes with, by its first parameter; None for any other callable."""
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    return next((parameter.dtype for parameter in parameters if parameter.is_floating_point()), None)


@contextmanager
def frozen(model: Model, device: str) -> Iterator[None]:
    """Freeze a module's parameters, keep it on a device and `in_use`; afterwards all is as it was."""
    if not isinstance(model, nn.Module):
        yield
        return
    home = device_of(model)
    required = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.requires_grad_(False).to(device)
        with in_use(model):
            yield
    finally:
        model.to(home)
        for parameter, was in required:
            parameter.requires_grad_(was)


@contextmanager
def in_use(model: Model) -> Iterator[None]:
    """Keep all parts of a module in evaluation mode while the block runs; afterwards each is in its own mode again.

    In training mode dropout and batch statistics would answer otherwise than the module does in use, and learn.
    """
    training = [part for part in model.modules() if part.training] if isinstance(model, nn.Module) else []
    try:
        for part in training:
            part.training = False
        yield
    finally:
        for part in training:
            part.training = True


def _places(model: Model) -> set[torch.device]:
    if not isinstance(model, nn.Module):
        return set()
    return {tensor.device for tensor in itertools.chain(model.parameters(), model.buffers())}
