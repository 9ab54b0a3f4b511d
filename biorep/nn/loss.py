"""What a training minimises: an objective on each mini-batch, plus penalties. `training` is the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Forward:
    """What a module has made of a mini-batch, for penalties to look at.

    Parameters
    ----------
    module : nn.Module
    inputs : Tensor, (presentation, ...)
        They require a gradient if a penalty needs it.
    labels : Tensor of int64, (presentation,)
    logits : Tensor, (presentation, class)
    hidden : tuple of Tensor, (presentation, neuroid)
        Responses of the hidden layers, if the module tells them, see `trace`.
    preactivation : Tensor, (presentation, neuroid), optional
        Currents of the last hidden layer.
    generator : torch.Generator, optional
        Of random draws.
    """

    module: nn.Module
    inputs: Tensor
    labels: Tensor
    logits: Tensor
    hidden: tuple[Tensor, ...] = ()
    preactivation: Tensor | None = None
    generator: torch.Generator | None = None


def trace(module: nn.Module, inputs: Tensor) -> tuple[tuple[Tensor, ...], Tensor | None, Tensor]:
    """Return responses of the hidden layers, currents of the last one, and logits.

    A module tells its hidden layers by a method `trace` of its own; one without has none.
    """
    tracer: Any = getattr(module, "trace", None)
    if tracer is None:
        return (), None, module(inputs)
    hidden, preactivation, logits = tracer(inputs)
    return tuple(hidden), preactivation, logits


@dataclass(frozen=True)
class Problem:
    """What an objective may look at besides a mini-batch.

    Parameters
    ----------
    model : callable
        Images (presentation, ...) to logits.
    module : nn.Module
        The trained module behind it.
    bounds : (float, float)
        Smallest and largest value of an image.
    generator : torch.Generator
        Of random draws.
    """

    model: Callable[[Tensor], Tensor]
    module: nn.Module
    bounds: tuple[float, float]
    generator: torch.Generator


class Objective(Protocol):
    """What is minimised besides the penalties: which images a mini-batch becomes, and their loss."""

    @property
    def moves_images(self) -> bool:
        """Whether it must see images as they are, before the module's preprocessing."""
        ...

    def batch(self, images: Tensor, labels: Tensor, problem: Problem) -> Tensor:
        """Return the images to learn from."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the terms in the history; the first is ``loss``."""
        ...

    def terms(self, forward: Forward, images: Tensor, problem: Problem) -> Mapping[str, Tensor]:
        """Return the terms of the loss of a mini-batch by name; `images` are those that `batch` returned."""
        ...


class CrossEntropy:
    """The mean cross-entropy of the images as they are."""

    moves_images: ClassVar[bool] = False
    names: ClassVar[tuple[str, ...]] = ("loss",)

    def batch(self, images: Tensor, labels: Tensor, problem: Problem) -> Tensor:
        """Return the images."""
        return images

    def terms(self, forward: Forward, images: Tensor, problem: Problem) -> dict[str, Tensor]:
        """Return the mean cross-entropy."""
        return {"loss": nn.functional.cross_entropy(forward.logits, forward.labels)}

    def __repr__(self) -> str:
        return "CrossEntropy()"


@dataclass(frozen=True)
class Part:
    """A classifier that takes a step of its own at every mini-batch; parts share parameters.

    Parameters
    ----------
    name : str
        Added to the names of its history; empty for the whole module.
    module : nn.Module
    groups : Tensor of int64, (class,), optional
        The label that each class has for this part; the class itself by default.
    frozen : sequence of nn.Parameter
        Parameters that its steps leave alone.
    """

    name: str
    module: nn.Module
    groups: Tensor | None = None
    frozen: Sequence[nn.Parameter] = ()

    def relabel(self, labels: Tensor) -> Tensor:
        """Return labels as this part knows them."""
        return labels if self.groups is None else self.groups[labels]

    def called(self, name: str) -> str:
        """Return the name of a variable of the history."""
        return f"{name}_{self.name}" if self.name else name


class Penalty(Protocol):
    """A term of the loss; `strength` multiplies it."""

    @property
    def word(self) -> str:
        """Name of the penalty in the history."""
        ...

    @property
    def strength(self) -> float:
        """What the penalty is multiplied by."""
        ...

    @property
    def needs_input_gradient(self) -> bool:
        """Whether the inputs of a mini-batch must require a gradient."""
        ...

    def prepare(self, module: nn.Module, inputs: Tensor, labels: Tensor) -> Any:
        """Return what the penalty needs for an epoch, given the whole training set."""
        ...

    def __call__(self, forward: Forward, prepared: Any = None) -> Tensor:
        """Return the penalty at a mini-batch, before it is multiplied by its strength."""
        ...

    def after_step(self, module: nn.Module, step: int, *, ends_epoch: bool) -> None:
        """Do what a constraint does to the parameters after a step; steps are counted from 1."""
        ...
