"""The one training loop of torch modules: readouts and backprop networks.

Shuffles are keyed by (seed, epoch), so a killed training resumes from the last epoch it saved and ends with the
same weights as one that was not killed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from biorep import rng
from biorep.atomic import write_with
from biorep.bridge.loss import CrossEntropy, Forward, Objective, Part, Penalty, Problem, trace
from biorep.context import RunContext, identity
from biorep.errors import NumericalError


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
    decay : float
        Weight decay: decoupled for adam and amsgrad (every step takes ``rate * decay`` of a weight), a term of the
        gradient for sgd.
    fade : (int, float), optional
        Start and time: from that epoch on the rate falls as ``exp(-(epoch - start) / time)``.
    """

    epochs: int
    batch_size: int
    rate: float
    milestones: Mapping[int, float]
    optimiser: str = "adam"
    momentum: float = 0.9
    decay: float = 0.0
    fade: tuple[int, float] | None = None

    def optimise(self, module: nn.Module) -> torch.optim.Optimizer:
        """Return the optimiser of the parameters of a module."""
        if self.optimiser == "sgd":
            return torch.optim.SGD(module.parameters(), lr=self.rate, momentum=self.momentum, weight_decay=self.decay)
        kind = torch.optim.AdamW if self.decay else torch.optim.Adam
        return kind(module.parameters(), lr=self.rate, weight_decay=self.decay, amsgrad=self.optimiser == "amsgrad")

    def rate_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        passed = [start for start in self.milestones if start <= epoch]
        rate = self.milestones[max(passed)] if passed else self.rate
        if self.fade is None or epoch <= self.fade[0]:
            return rate
        return rate * math.exp(-(epoch - self.fade[0]) / self.fade[1])


#: Called after every epoch, with how many are done and the module in eval mode: further values of the history, and
#: whether to stop.
Watch = Callable[[int], tuple[Mapping[str, float], bool]]


def train(
    module: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    schedule: Schedule,
    seed: int,
    name: str,
    penalties: Sequence[Penalty] = (),
    objective: Objective | None = None,
    parts: Sequence[Part] = (),
    preprocess: Callable[[Tensor], Tensor] | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    watch: Watch | None = None,
    run: RunContext | None = None,
) -> dict[str, list[float]]:
    """Minimise an objective plus penalties, in place.

    Parameters
    ----------
    module : nn.Module
        Preprocessed inputs to logits; on the device of the inputs.
    inputs : Tensor, (presentation, ...)
    labels : Tensor of int64, (presentation,)
    schedule : Schedule
    seed : int
        Seed of the shuffles and of the penalties' draws.
    name : str
        For progress, checkpoints and the random stream.
    penalties : sequence of Penalty
    objective : Objective, optional
        The cross-entropy by default.
    parts : sequence of Part, optional
        Classifiers that step in turn at every mini-batch; by default the module alone.
    preprocess : callable, optional
        Inputs to what the module takes; the identity by default.
    bounds : (float, float)
        Smallest and largest value of an input, for objectives that move inputs.
    watch : callable, optional
        See `Watch`.
    run : RunContext, optional

    Returns
    -------
    dict
        Per epoch: the mean ``loss`` (the objective alone), ``accuracy`` on the training batches, the mean of each
        penalty times its strength, all with the name of the part added, and what `watch` returned.

    Raises
    ------
    NumericalError
        If a term of the loss becomes NaN or infinite.
    """
    run = run or RunContext()
    training = _Training(
        module, inputs, labels, schedule, seed, name, penalties, objective or CrossEntropy(), parts, preprocess, bounds
    )
    settings = {"schedule": repr(schedule), "seed": seed, "penalties": [repr(penalty) for penalty in penalties]}
    settings |= {"objective": repr(training.objective), "parts": [part.name for part in training.parts]}
    key = identity(inputs, {**settings, "name": name, "shapes": [list(p.shape) for p in module.parameters()]})
    checkpoint = _Checkpoint(run, name, module, training.optimiser, key)
    history, start, stop = checkpoint.load()
    left = [] if stop else range(start, schedule.epochs)
    for epoch in run.track(left, f"{name}: epochs", len(left)):
        row = training.epoch(epoch)
        if watch is not None:
            module.eval()
            watched, stop = watch(epoch + 1)
            row |= watched
        for term, value in row.items():
            history.setdefault(term, []).append(value)
        checkpoint.save(history, epoch + 1, stop)
        if stop:
            break
    checkpoint.remove()
    module.eval()
    return history


@dataclass
class _Training:
    """One epoch after the other."""

    module: nn.Module
    inputs: Tensor
    labels: Tensor
    schedule: Schedule
    seed: int
    name: str
    penalties: Sequence[Penalty]
    objective: Objective
    parts: Sequence[Part]
    preprocess: Callable[[Tensor], Tensor] | None
    bounds: tuple[float, float]

    def __post_init__(self) -> None:
        self.parts = list(self.parts) or [Part("", self.module)]
        self.optimiser = self.schedule.optimise(self.module)
        self.needs_gradient = any(penalty.needs_input_gradient for penalty in self.penalties)
        #: The whole training set as the module takes it, in which batches are found unless the objective moves images.
        self.rows = self.inputs if self.preprocess is None else self.preprocess(self.inputs)
        if not self.objective.moves_images:
            self.inputs, self.preprocess = self.rows, None

    def epoch(self, number: int) -> dict[str, float]:
        """Go through the training set once and return the means of all terms."""
        self.module.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.rate_at(number)
        device = self.inputs.device
        shuffled = rng.stream(self.seed, self.name, "shuffle", number).permutation(len(self.inputs))
        order = torch.as_tensor(shuffled).to(device)
        seed = rng.stream_seed(self.seed, self.name, "penalties", number) % 2**63
        generator = torch.Generator(device).manual_seed(seed)
        prepared = [self._prepare(part) for part in self.parts]
        sums = torch.zeros(len(self.parts), 2 + len(self.penalties), dtype=torch.float64, device=device)
        batches = torch.split(order, self.schedule.batch_size)
        for step, chosen in enumerate(batches, number * len(batches) + 1):
            for index, part in enumerate(self.parts):
                row = self._step(part, prepared[index], self.inputs[chosen], self.labels[chosen], generator)
                sums[index] += row * len(chosen)
                for penalty in self.penalties:
                    penalty.after_step(part.module, step)
        names = ["loss", "accuracy", *(f"penalty_{penalty.kind}" for penalty in self.penalties)]
        means = {
            part.called(name): value
            for part, values in zip(self.parts, (sums / len(order)).tolist(), strict=True)
            for name, value in zip(names, values, strict=True)
        }
        self._check(means, number)
        return means

    def _prepare(self, part: Part) -> list[Any]:
        return [penalty.prepare(part.module, self.rows, part.relabel(self.labels)) for penalty in self.penalties]

    def _step(
        self, part: Part, prepared: Sequence[Any], images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Take one step of one part; return its loss, the share of hits, and its terms."""
        ready, labels = self.preprocess or (lambda rows: rows), part.relabel(labels)
        problem = Problem(lambda rows: part.module(ready(rows)), part.module, self.bounds, generator)
        images = self.objective.batch(images, labels, problem)
        rows = ready(images)
        if self.needs_gradient:
            rows = rows.detach().requires_grad_()
        for parameter in part.frozen:
            parameter.requires_grad_(False)
        hidden, preactivation, logits = trace(part.module, rows)
        forward = Forward(part.module, rows, labels, logits, hidden, preactivation, generator)
        loss = self.objective.loss(forward, images, problem)
        terms = [p.strength * p(forward, given) for p, given in zip(self.penalties, prepared, strict=True)]
        self.optimiser.zero_grad(set_to_none=True)
        torch.stack([loss, *terms]).sum().backward()
        self.optimiser.step()
        for parameter in part.frozen:
            parameter.requires_grad_(True)
        hits = (logits.argmax(1) == labels).double().mean()
        return torch.stack([loss.detach().double(), hits, *(term.detach().double() for term in terms)])

    def _check(self, means: Mapping[str, float], number: int) -> None:
        lost = [name for name, value in means.items() if not np.isfinite(value)]
        if lost:
            term, value = "loss" if "loss" in lost else lost[-1].replace("_", " ", 1), str(means[lost[0]])
        elif not all(bool(torch.isfinite(parameter).all()) for parameter in self.module.parameters()):
            term, value = "largest weight", "infinite or NaN"  # by the last step, after the last loss
        else:
            return
        raise NumericalError(
            f"{self.name}: the {term} became {value} in epoch {number + 1} at learning rate "
            f"{self.schedule.rate_at(number):g}. Lower the rate, the strength of the penalties, or the ReLU power."
        )


class _Checkpoint:
    """Weights, optimiser and history at the end of an epoch, in the run's folder; without one nothing happens."""

    def __init__(self, run: RunContext, name: str, module: nn.Module, optimiser: torch.optim.Optimizer, key: str):
        self.key = key
        self.path: Path | None = run.checkpoint / f"{name}.pt" if run.checkpoint else None
        self.module, self.optimiser = module, optimiser
        self.every, self.last = run.checkpoint_every, time.monotonic()

    def load(self) -> tuple[dict[str, list[float]], int, bool]:
        """Return the history, the next epoch, and whether the training had stopped early."""
        if self.path is None or not self.path.is_file():
            return {}, 0, False
        try:
            saved = torch.load(self.path, weights_only=True)
        except Exception:  # damaged: torch raises whatever its unpickler meets; the training starts anew
            return {}, 0, False
        if saved.get("key") != self.key:
            return {}, 0, False  # of another training
        self.module.load_state_dict(saved["module"])
        self.optimiser.load_state_dict(saved["optimiser"])
        return saved["history"], saved["epoch"], saved["stopped"]

    def save(self, history: dict[str, list[float]], epoch: int, stopped: bool) -> None:
        if self.path is None or time.monotonic() - self.last < self.every:
            return
        saved = {
            "module": self.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "history": history,
            "epoch": epoch,
            "stopped": stopped,
            "key": self.key,
        }
        write_with(self.path, lambda path: torch.save(saved, path))
        self.last = time.monotonic()

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)
