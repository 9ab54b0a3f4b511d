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


@contextmanager
def frozen(model: Model, device: str) -> Iterator[None]:
    """Freeze a module's parameters and keep it on a device; afterwards all is as it was.

    Raises
    ------
    ConfigError
        If a part of it is in training mode: dropout and batch statistics would change its answers.
    """
    if not isinstance(model, nn.Module):
        yield
        return
    training = next((name or "the whole model" for name, part in model.named_modules() if part.training), None)
    if training is not None:
        raise ConfigError(
            f"the model is in training mode ({training}), where dropout and batch norm answer otherwise than in use. "
            "Call model.eval() first."
        )
    home = device_of(model)
    required = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.requires_grad_(False).to(device)
        yield
    finally:
        model.to(home)
        for parameter, was in required:
            parameter.requires_grad_(was)


def _places(model: Model) -> set[torch.device]:
    if not isinstance(model, nn.Module):
        return set()
    return {tensor.device for tensor in itertools.chain(model.parameters(), model.buffers())}
