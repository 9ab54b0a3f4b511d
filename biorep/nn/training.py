"""The one training loop of torch modules: readouts and backprop networks.

Shuffles are keyed by (seed, epoch), so a killed training resumes from the last epoch it saved and ends with the
same weights as one that was not killed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from biorep import rng
from biorep.checkpoint import Checkpoint, identity
from biorep.context import RunContext, undisturbed
from biorep.errors import NumericalError
from biorep.nn.loss import CrossEntropy, Forward, Objective, Part, Penalty, Problem, trace
from biorep.nn.schedule import Schedule

#: Called after every epoch, with how many are done and the module in eval mode: further values of the history, and
#: whether to stop.
Watch = Callable[[int], tuple[Mapping[str, float], bool]]


class Diverged(NumericalError):
    """A training that has left the numbers, with the epoch and what to do."""


@dataclass
class Training:
    """Minimise an objective plus penalties, in place; `run` does it.

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
    objective : Objective
        The cross-entropy by default.
    parts : sequence of Part
        Classifiers that step in turn at every mini-batch; by default the module alone.
    preprocess : callable, optional
        Inputs to what the module takes; the identity by default.
    bounds : (float, float)
        Smallest and largest value of an input, for objectives that move inputs.
    watch : callable, optional
        See `Watch`.
    settings : mapping
        What else steers the training, such as the settings of the module: a checkpoint made with others is not used.
    """

    module: nn.Module
    inputs: Tensor
    labels: Tensor
    _: KW_ONLY
    schedule: Schedule
    seed: int
    name: str
    penalties: Sequence[Penalty] = ()
    objective: Objective = field(default_factory=CrossEntropy)
    parts: Sequence[Part] = ()
    preprocess: Callable[[Tensor], Tensor] | None = None
    bounds: tuple[float, float] = (0.0, 1.0)
    watch: Watch | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.parts = list(self.parts) or [Part("", self.module)]
        self.optimiser = self.schedule.optimise(self.module)
        self.needs_gradient = any(penalty.needs_input_gradient and penalty.strength for penalty in self.penalties)
        #: What a step returns, in this order.
        self.names = ["accuracy", *self.objective.names, *(f"penalty_{penalty.word}" for penalty in self.penalties)]
        #: The whole training set as the module takes it, in which batches are found unless the objective moves images.
        self.rows = self.inputs if self.preprocess is None else self.preprocess(self.inputs)
        self.images: Tensor = self.rows
        self.ready: Callable[[Tensor], Tensor] = _same
        if self.objective.moves_images:
            self.images, self.ready = self.inputs, self.preprocess or _same

    @undisturbed()
    def run(self, context: RunContext | None = None) -> dict[str, list[float]]:
        """Train, from the last checkpoint on if there is one.

        Returns
        -------
        dict
            Per epoch: the mean ``loss`` and further terms of the objective, ``accuracy`` on the training batches, the
            mean of each penalty times its strength, all with the name of the part added, and what `watch` returned.

        Raises
        ------
        NumericalError
            If a term of the loss becomes NaN or infinite.
        """
        context = RunContext.of(context)
        checkpoint = Checkpoint(context, self.name, self.key())
        history, start, stop = self._resume(checkpoint.load())
        left = [] if stop else range(start, self.schedule.epochs)
        for epoch in context.track(left, f"{self.name}: epochs"):
            row, stop = self._row(epoch)
            for term, value in row.items():
                history.setdefault(term, []).append(value)
            if checkpoint.due():
                checkpoint.save(self._progress(history, epoch + 1, stop))
            if stop:
                break
        checkpoint.remove()
        self.module.eval()
        return history

    def key(self) -> str:
        """Return what a checkpoint belongs to: a hash of the data and of everything that steers the training."""
        return identity(
            self.inputs.cpu().numpy(),
            {
                "schedule": repr(self.schedule),
                "seed": self.seed,
                "name": self.name,
                "penalties": [repr(penalty) for penalty in self.penalties],
                "objective": repr(self.objective),
                "shapes": [list(parameter.shape) for parameter in self.module.parameters()],
                "labels": identity(self.labels.cpu().numpy(), {}),
                "parts": [(part.name, None if part.groups is None else part.groups.tolist()) for part in self.parts],
                "settings": dict(self.settings),
            },
        )

    def _progress(self, history: dict[str, list[float]], epoch: int, stopped: bool) -> dict[str, Any]:
        module, optimiser = self.module.state_dict(), self.optimiser.state_dict()
        return {"module": module, "optimiser": optimiser, "history": history, "epoch": epoch, "stopped": stopped}

    def _resume(self, saved: Mapping[str, Any] | None) -> tuple[dict[str, list[float]], int, bool]:
        """Take over a checkpoint; return the history, the next epoch, and whether the training had stopped early."""
        if saved is None:
            return {}, 0, False
        self.module.load_state_dict(saved["module"])
        self.optimiser.load_state_dict(saved["optimiser"])
        return saved["history"], saved["epoch"], saved["stopped"]

    def _row(self, epoch: int) -> tuple[dict[str, float], bool]:
        """Return the history of an epoch, counted from 0, and whether to stop after it."""
        try:
            row, stop = self.epoch(epoch), False
            if self.watch is not None:
                self.module.eval()
                watched, stop = self.watch(epoch + 1)
                row |= watched
        except Diverged:
            raise
        except (torch.linalg.LinAlgError, NumericalError) as error:
            raise self._diverged(str(error).splitlines()[0], epoch) from None
        return row, stop

    def epoch(self, number: int) -> dict[str, float]:
        """Go through the training set once and return the means of all terms."""
        self.module.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.rate_at(number)
        device = self.inputs.device
        shuffled = rng.stream(self.seed, self.name, "shuffle", number).permutation(len(self.images))
        order = torch.as_tensor(shuffled).to(device)
        seed = rng.stream_seed(self.seed, self.name, "penalties", number) % 2**63
        generator = torch.Generator(device).manual_seed(seed)
        prepared = [self._prepare(part) for part in self.parts]
        sums = torch.zeros(len(self.parts), len(self.names), dtype=torch.float64, device=device)
        lost = torch.zeros(len(self.parts), len(self.names), dtype=torch.bool, device=device)
        batches = torch.split(order, self.schedule.batch_size)
        for step, chosen in enumerate(batches, number * len(batches) + 1):
            for index, part in enumerate(self.parts):
                row = self._step(part, prepared[index], self.images[chosen], self.labels[chosen], generator)
                sums[index] += row * len(chosen)
                lost[index] |= ~row.isfinite() & ~lost.any()  # the first ones; the others are their consequences
                for penalty in self.penalties:
                    penalty.after_step(part.module, step, ends_epoch=step % len(batches) == 0)
        self._check(lost, number)
        return {
            part.called(name): value
            for part, values in zip(self.parts, (sums / len(order)).tolist(), strict=True)
            for name, value in zip(self.names, values, strict=True)
        }

    def _prepare(self, part: Part) -> list[Any]:
        labels = part.relabel(self.labels)
        return [p.prepare(part.module, self.rows, labels) if p.strength else None for p in self.penalties]

    def _step(
        self, part: Part, prepared: Sequence[Any], images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Take one step of one part; return the values of `names`."""
        labels = part.relabel(labels)
        problem = Problem(lambda rows: part.module(self.ready(rows)), part.module, self.bounds, generator)
        images = self.objective.batch(images, labels, problem)
        rows = self.ready(images)
        if self.needs_gradient:
            rows = rows.detach().requires_grad_()
        for parameter in part.frozen:
            parameter.requires_grad_(False)
        hidden, preactivation, logits = trace(part.module, rows)
        forward = Forward(part.module, rows, labels, logits, hidden, preactivation, generator)
        loss = list(self.objective.terms(forward, images, problem).values())
        none = torch.zeros_like(loss[0])
        terms = [
            p.strength * p(forward, given) if p.strength else none
            for p, given in zip(self.penalties, prepared, strict=True)
        ]
        self.optimiser.zero_grad(set_to_none=True)
        torch.stack([*loss, *terms]).sum().backward()
        self.optimiser.step()
        for parameter in part.frozen:
            parameter.requires_grad_(True)
        hits = (logits.argmax(1) == labels).double().mean()
        return torch.stack([hits, *(term.detach().double() for term in (*loss, *terms))])

    def _check(self, lost: Tensor, number: int) -> None:
        if lost.any():
            terms = [
                part.called(name).replace("_", " ")
                for part, flags in zip(self.parts, lost.tolist(), strict=True)
                for name, flag in zip(self.names, flags, strict=True)
                if flag
            ]
            raise self._diverged(f"the {' and the '.join(terms)} became infinite or NaN", number)
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.module.parameters()):
            raise self._diverged("a weight became infinite or NaN", number)  # by the last step, after the last loss

    def _diverged(self, what: str, number: int) -> Diverged:
        """Return the error that says what went wrong in which epoch, counted from 0."""
        return Diverged(
            f"{self.name}: {what} in epoch {number + 1} at learning rate {self.schedule.rate_at(number):g}. Lower the "
            "rate, the strength of the penalties, or the ReLU power."
        )


def _same(rows: Tensor) -> Tensor:
    return rows
