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
    """Freeze a module's parameters and keep it on a device; afterwards all is as it was.

    Raises
    ------
    ConfigError
        If a part of it is in training mode: dropout and batch statistics would change its answers.
    """
    refuse_training(model)
    if not isinstance(model, nn.Module):
        yield
        return
    home = device_of(model)
    required = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.requires_grad_(False).to(device)
        yield
    finally:
        model.to(home)
        for parameter, was in required:
            parameter.requires_grad_(was)


def refuse_training(model: Model) -> None:
    """Raise `ConfigError` if a part of a module is in training mode."""
    parts = model.named_modules() if isinstance(model, nn.Module) else ()
    if names := [name or "the whole model" for name, part in parts if part.training]:
        raise ConfigError(
            f"the model is in training mode ({names[0]}), where dropout and batch norm answer otherwise than in use. "
            "Call model.eval() first."
        )


def _places(model: Model) -> set[torch.device]:
    if not isinstance(model, nn.Module):
        return set()
    return {tensor.device for tensor in itertools.chain(model.parameters(), model.buffers())}
