"""Make what is missing of a graph: the one place that locks, times, checkpoints and saves.

A stage whose key is in the store is not made again, whichever run made it. What is not stored is made when a stage that
is missing asks for it, and kept as long as the run lasts.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from biorep.config import plain
from biorep.context import RunContext
from biorep.errors import ConfigError
from biorep.lab.graph import Node
from biorep.lab.store.stages import Stages

Say = Callable[[str], None]


class Given:
    """What a node is given: its parents' results, made when they are asked for; see `biorep.contracts.Given`."""

    def __init__(self, node: Node, performer: Performer, context: RunContext):
        self._node, self._performer = node, performer
        self.context = context if node.engine is not None else _Anywhere(**vars(context))

    def __getitem__(self, name: str) -> Any:
        return self._own(self._performer.value(self._parent(name)))

    def batches(self, name: str, size: int = 1000) -> Iterator[Any]:
        """Yield responses in parts of so many presentations."""
        if size < 1:
            raise ConfigError(f"a batch must hold at least 1 presentation, got {size}")
        return map(self._own, self._performer.batches(self._parent(name), size))

    def _parent(self, name: str) -> Node:
        if name not in self._node.parents:
            declared = ", ".join(self._node.parents) or "nothing"
            raise KeyError(
                f"'{self._node.name}' asked for '{name}', which its `needs` do not name (they name {declared})"
            )
        return self._node.parents[name]

    def _own(self, value: Any) -> Any:
        return value.copy(deep=True) if self._node.guarded and hasattr(value, "copy") else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._node.parents)

    def has(self, name: str) -> bool:
        """Return whether something was asked for under this name."""
        return name in self._node.parents

    @property
    def seed(self) -> int:
        """Seed of the run."""
        if self._node.seed is None:
            raise AttributeError(f"'{self._node.name}' asked for the seed, but its class says `seeded = False`")
        return self._node.seed


@dataclass(frozen=True)
class _Anywhere(RunContext):
    """What a node gets whose key does not say where it is computed: no device to be had."""

    def torch_device(self) -> str:
        raise AttributeError("the device was asked for by a measure whose class does not say `on_device = True`")


class Performer:
    """Makes nodes, says a line about each, and remembers their results as long as it lives."""

    def __init__(self, stages: Stages, context: RunContext, say: Say):
        self.stages, self.context, self.say = stages, context, say
        self._memory: dict[str, Any] = {}

    def finish(self, nodes: Mapping[str, Node]) -> None:
        """Make every stage that is missing, in the order of the graph."""
        for node in nodes.values():
            if node.stored:
                self._finish(node, told=True)

    def value(self, node: Node) -> Any:
        """Return the result of a node, made or read."""
        if node.key not in self._memory:
            if node.stored:
                self._finish(node)
            if node.key not in self._memory:  # it was there already
                stored = node.stored
                self._memory[node.key] = self.stages.load(node.kind, node.key) if stored else self._made(node)
        return self._memory[node.key]

    def batches(self, node: Node, size: int) -> Iterator[Any]:
        """Yield the result of a node in parts of so many presentations; made as a whole only where it must be."""
        if node.batches is not None and node.key not in self._memory:
            yield from node.batches(Given(node, self, self.context), size)
            return
        import xarray as xr

        whole = self.value(node)
        first = next(iter(whole.children.values())) if isinstance(whole, xr.DataTree) else whole
        for start in range(0, first.sizes["presentation"], size):
            yield whole.isel(presentation=slice(start, start + size))

    def _finish(self, node: Node, *, told: bool = False) -> None:
        if self.stages.done(node.kind, node.key):
            if told:
                self.say(f"{node.name} {node.key}: done before")
            return
        with self.stages.making(node.kind, node.key):
            if self.stages.done(node.kind, node.key):
                self.say(f"{node.name} {node.key}: done by another run")
                return
            self._prepare(node)
            checkpoint = self.stages.folder(node.kind, node.key) / "checkpoint"
            start = time.perf_counter()
            result = self._made(node, replace(self.context, checkpoint=checkpoint))
            seconds = time.perf_counter() - start
            self._memory[node.key] = self._saved(node, result, seconds)
            shutil.rmtree(checkpoint, ignore_errors=True)
            self.say(f"{node.name} {node.key}: {seconds:.1f} s")

    def _prepare(self, node: Node) -> None:
        """Make the stages that a node is made of, so that its own time is its own."""
        for parent in node.parents.values():
            if parent.key in self._memory:
                continue
            if parent.stored:
                self._finish(parent)
            else:
                self._prepare(parent)

    def _made(self, node: Node, context: RunContext | None = None) -> Any:
        return node.make(Given(node, self, context or self.context))

    def _saved(self, node: Node, result: Any, seconds: float) -> Any:
        import xarray as xr

        if not isinstance(result, xr.Dataset | xr.DataTree):
            raise ConfigError(
                f"'{node.name}' made {type(result).__name__}; what is stored must be an xarray.Dataset or DataTree"
            )
        found = {} if node.numbers is None else node.numbers(result)
        if not isinstance(found, Mapping):
            raise ConfigError(f"the numbers of '{node.name}' are {found!r}; they must be {{column: number}}")
        numbers = {name: float(v) if isfinite(v) else str(float(v)) for name, v in found.items()}  # JSON has no inf
        facts = {"numbers": numbers, "warnings": list(json.loads(result.attrs.get("warnings", "[]")))}
        config = {**plain(node.payload), "reference": node.reference}
        if node.apart:
            result = result.assign_attrs(apart=" ".join(node.apart))
        return self.stages.save(node.kind, node.key, result, config=config, seconds=seconds, facts=facts)
