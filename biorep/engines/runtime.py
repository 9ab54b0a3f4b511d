"""Brian2's runtime mode, with numpy or cython: slow, for debugging, and the oracle of the compiled engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from biorep.engines.programs import Arrays, Blueprint, Report, brian_device
from biorep.engines.subnormals import flushed


class RuntimeProgram:
    """A simulation in this process; see `biorep.engines.programs.Program`."""

    def __init__(self, blueprint: Blueprint, engine: str = "runtime-numpy"):
        self.engine, self.layout, self.blueprint = engine, blueprint.layout, blueprint
        with self._device():
            circuit = blueprint.circuit()
            self.state = tuple(circuit.kept)
            self.rest: Mapping[str, float] = circuit.at_rest()
            self.layers: Mapping[str, str] = {layer: tally.name for layer, tally in circuit.tallies.items()}
            self.sizes = {group.name: len(group) for group in circuit.objects if type(group).__name__ == "NeuronGroup"}
            del circuit  # here, where Brian2 does not complain that it was never simulated

    def _device(self) -> Any:
        return brian_device("runtime", codegen__target=self.engine.removeprefix("runtime-"))

    def run(self, values: Mapping[str, np.ndarray], read: Sequence[str], report: Report | None = None) -> Arrays:
        """Simulate one chunk; see `biorep.engines.programs.Program.run`."""
        values = dict(values)
        layout = self.layout
        tables = {name: values.pop(f"{name}.values", None) for name in ("images", "keys")}
        shapes = {"images": (layout.rows, layout.inputs), "keys": (layout.rows, 2)}
        tables = {name: None if t is None else np.reshape(t, shapes[name]) for name, t in tables.items()}
        with self._device(), flushed():
            circuit = self.blueprint.circuit(**tables)
            network = circuit.network()
            for name, value in values.items():
                _variable(network, name).set_value(np.asarray(value))
            network.run(circuit.duration, namespace={}, report=_reporter(report))
            return {name: np.array(_variable(network, name).get_value()) for name in read}

    def size(self, name: str) -> int:
        """Return how many neurons the group of a variable has; 1 for synapses."""
        return self.sizes.get(name.partition(".")[0], 1)

    def close(self) -> None:
        """Nothing to remove."""


def _variable(network: Any, name: str) -> Any:
    group, _, variable = name.partition(".")
    # A delay belongs to the way of the spikes through the synapses, see `Circuit.delay`.
    owner = network[group].pre if variable == "delay" else network[group]
    return owner.variables[variable]


def _reporter(report: Report | None) -> Any:
    if report is None:
        return None
    return lambda elapsed, completed, start, duration: report(completed)
