"""The one training loop of torch modules: readouts and backprop networks.

Shuffles are keyed by (seed, epoch), so a killed training resumes from the last epoch it saved and ends with the
same weights as one that was not killed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from biorep import rng
from biorep.atomic import write_with
from biorep.context import RunContext, identity
from biorep.errors import NumericalError


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


class Penalty(Protocol):
    """A term of the loss; `strength` multiplies it."""

    @property
    def kind(self) -> str:
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


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Parameters
    ----------
    epochs, batch_size : int
    rate : float
        Learning rate in the first epoch.
    milestones : mapping of int to float
        Epoch (counted from 0) from which another learning rate holds.
    optimiser : str
        ``adam``, ``amsgrad`` or ``sgd``.
    momentum : float
        Of sgd.
    """

    epochs: int
    batch_size: int
    rate: float
    milestones: Mapping[int, float]
    optimiser: str = "adam"
    momentum: float = 0.9

    def optimise(self, module: nn.Module) -> torch.optim.Optimizer:
        """Return the optimiser of the parameters of a module."""
        if self.optimiser == "sgd":
            return torch.optim.SGD(module.parameters(), lr=self.rate, momentum=self.momentum)
        return torch.optim.Adam(module.parameters(), lr=self.rate, amsgrad=self.optimiser == "amsgrad")

    def rate_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        passed = [start for start in self.milestones if start <= epoch]
        return self.milestones[max(passed)] if passed else self.rate


def train(
    module: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    schedule: Schedule,
    seed: int,
    name: str,
    penalties: Sequence[Penalty] = (),
    run: RunContext | None = None,
) -> dict[str, list[float]]:
    """Minimise cross-entropy plus penalties, in place.

    Parameters
    ----------
    module : nn.Module
        Inputs to logits; on the device of the inputs.
    inputs : Tensor, (presentation, ...)
    labels : Tensor of int64, (presentation,)
    schedule : Schedule
    seed : int
        Seed of the shuffles.
    name : str
        For progress, checkpoints and the random stream.
    penalties : sequence of Penalty
    run : RunContext, optional

    Returns
    -------
    dict
        Per epoch: the mean ``loss`` (cross-entropy alone), ``accuracy`` on the training batches, and the mean
        of each penalty times its strength.

    Raises
    ------
    NumericalError
        If the loss becomes NaN or infinite.
    """
    run = run or RunContext()
    optimiser = schedule.optimise(module)
    settings = {"schedule": repr(schedule), "seed": seed, "penalties": [repr(penalty) for penalty in penalties]}
    key = identity(inputs, {**settings, "name": name, "shapes": [list(p.shape) for p in module.parameters()]})
    checkpoint = _Checkpoint(run, name, module, optimiser, key)
    history, start = checkpoint.load()
    module.train()
    for epoch in run.track(range(start, schedule.epochs), f"{name}: epochs", schedule.epochs - start):
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate_at(epoch)
        order = torch.as_tensor(rng.stream(seed, name, "shuffle", epoch).permutation(len(inputs))).to(inputs.device)
        generator = torch.Generator(inputs.device).manual_seed(rng.stream_seed(seed, name, "penalties", epoch) % 2**63)
        row = _epoch(module, inputs, labels, order, schedule.batch_size, optimiser, penalties, generator)
        if lost := [key for key, value in row.items() if not np.isfinite(value)]:
            term = "loss" if "loss" in lost else lost[-1].replace("_", " ", 1)
            raise NumericalError(
                f"{name}: the {term} became {row[lost[0]]} in epoch {epoch + 1} at learning rate "
                f"{schedule.rate_at(epoch):g}. Lower the rate, the strength of the penalties, or the ReLU power."
            )
        for key, value in row.items():
            history.setdefault(key, []).append(value)
        checkpoint.save(history, epoch + 1)
    checkpoint.remove()
    module.eval()
    return history


def _epoch(
    module: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    order: Tensor,
    batch_size: int,
    optimiser: torch.optim.Optimizer,
    penalties: Sequence[Penalty],
    generator: torch.Generator,
) -> dict[str, float]:
    prepared = [penalty.prepare(module, inputs, labels) for penalty in penalties]
    differentiate = any(penalty.needs_input_gradient for penalty in penalties)
    sums = torch.zeros(2 + len(penalties), dtype=torch.float64, device=inputs.device)
    for chosen in torch.split(order, batch_size):
        batch, target = inputs[chosen], labels[chosen]
        if differentiate:
            batch = batch.detach().requires_grad_()
        hidden, preactivation, logits = trace(module, batch)
        forward = Forward(module, batch, target, logits, hidden, preactivation, generator)
        loss = nn.functional.cross_entropy(logits, target)
        terms = [p.strength * p(forward, ready) for p, ready in zip(penalties, prepared, strict=True)]
        optimiser.zero_grad(set_to_none=True)
        torch.stack([loss, *terms]).sum().backward()
        optimiser.step()
        hits = (logits.argmax(1) == target).double().mean()
        row = torch.stack([loss.detach().double(), hits, *(term.detach().double() for term in terms)])
        sums += row * len(chosen)
    means = (sums / len(order)).tolist()
    names = ["loss", "accuracy", *(f"penalty_{penalty.kind}" for penalty in penalties)]
    return dict(zip(names, means, strict=True))


class _Checkpoint:
    """Weights, optimiser and history at the end of an epoch, in the run's folder; without one nothing happens."""

    def __init__(self, run: RunContext, name: str, module: nn.Module, optimiser: torch.optim.Optimizer, key: str):
        self.key = key
        self.path: Path | None = run.checkpoint / f"{name}.pt" if run.checkpoint else None
        self.module, self.optimiser = module, optimiser
        self.every, self.last = run.checkpoint_every, time.monotonic()

    def load(self) -> tuple[dict[str, list[float]], int]:
        if self.path is None or not self.path.is_file():
            return {}, 0
        try:
            saved = torch.load(self.path, weights_only=True)
        except Exception:  # damaged: torch raises whatever its unpickler meets; the training starts anew
            return {}, 0
        if saved.get("key") != self.key:
            return {}, 0  # of another training
        self.module.load_state_dict(saved["module"])
        self.optimiser.load_state_dict(saved["optimiser"])
        return saved["history"], saved["epoch"]

    def save(self, history: dict[str, list[float]], epoch: int) -> None:
        if self.path is None or time.monotonic() - self.last < self.every:
            return
        saved = {
            "module": self.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "history": history,
            "epoch": epoch,
            "key": self.key,
        }
        write_with(self.path, lambda path: torch.save(saved, path))
        self.last = time.monotonic()

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)
