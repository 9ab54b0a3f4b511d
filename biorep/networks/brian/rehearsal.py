"""A look at a network of a user's own before it is simulated: whether it is the same each time, with all values.

The network is built twice in Python, for one slot: this costs a fraction of a second, whatever engine runs it later.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from biorep.engines.layout import Layout
from biorep.engines.presentation import REFRACTORY
from biorep.engines.programs import brian_device
from biorep.errors import ConfigError, did_you_mean
from biorep.networks.brian.contract import BrianNetwork
from biorep.networks.brian.repeatable import DRAW, codes, made_at, texts

#: Objects of the presentation; what lasts of them is no business of a network.
PROTOCOL = ("presenter.", "input.X")


@dataclass(frozen=True)
class Variable:
    """What is known of a variable of one copy."""

    size: int
    dim: Any
    made_at: str  #: file and line of its group
    declared: bool  #: whether the equations of a network name it
    given: bool  #: whether `build` has given it a value
    parameter: bool  #: whether it is a constant that the code reads


@dataclass(frozen=True)
class Score:
    """What is known of a network: its variables by name, and those that are learnt."""

    word: str
    variables: Mapping[str, Variable]
    kept: frozenset[str]  #: variables that last
    learnt: tuple[str, ...]  #: those of them that are never reset

    def check_parameters(self, values: Mapping[str, Any]) -> None:
        """Check the values of parameters: known names, plain numbers, none left out.

        Raises
        ------
        ConfigError
            The first mistake.
        """
        for name, value in values.items():
            found = self._plain("parameters", name, value)
            if found.size != 1:
                raise ConfigError(f"'{self.word}': parameters gives {found.size} values for '{name}'; it takes one")
        for name, variable in self.variables.items():
            if variable.parameter and not variable.given and name not in values and name not in self.kept:
                raise ConfigError(
                    f"{variable.made_at}'{self.word}': nobody gives the parameter '{name}' a value, so it would be 0. "
                    f"Let `parameters` return {{'{name}': value}}, or set it in `build`."
                )

    def check_start(self, hook: str, values: Mapping[str, Any]) -> None:
        """Check the values of learnt variables of one copy, which `hook` has returned.

        Raises
        ------
        ConfigError
            If one is unknown, left out, of another length or unit, or not finite.
        """
        for name, value in values.items():
            found = self._plain(hook, name, value)
            if name not in self.kept:
                raise ConfigError(
                    f"'{self.word}': {hook} returns '{name}', which would be gone after the first chunk of images: let "
                    f"`build` say circuit.keep('{name}', learnt=True)"
                )
            size = self.variables[name].size
            if found.shape != (size,):
                raise ConfigError(
                    f"'{self.word}': {hook} gives '{name}' the shape {found.shape}; it must be one array of "
                    f"{size} values, in the order in which Brian2 numbers them"
                )
            if not np.isfinite(found).all():
                raise ConfigError(f"'{self.word}': {hook} gives '{name}' NaN or infinite values")
        for name in self.learnt:
            if name not in values and not (hook == "initial" and self.variables[name].given):
                raise ConfigError(
                    f"'{self.word}': circuit.keep('{name}', learnt=True), but {hook} does not return '{name}', so it "
                    f"would be 0. Return {{'{name}': array of {self.variables[name].size} values}}."
                )

    def _plain(self, hook: str, name: str, value: Any) -> np.ndarray:
        """Return a value as a plain array, SI units; a unit that it has must be the variable's."""
        from brian2.units.fundamentalunits import Quantity, get_unit_for_display

        if name not in self.variables:
            raise ConfigError(
                f"'{self.word}': {hook} returns '{name}', which is no variable of the network"
                f"{did_you_mean(name, self.variables) or '.'} Write 'group.variable'; there are: "
                f"{', '.join(n for n, variable in self.variables.items() if variable.declared)}."
            )
        dim = self.variables[name].dim
        if isinstance(value, Quantity) and value.dim is not dim:
            raise ConfigError(
                f"'{self.word}': {hook} gives '{name}' the value {value}; its unit is {get_unit_for_display(dim)}"
            )
        with contextlib.suppress(ValueError):  # lists of unequal lengths
            found = np.atleast_1d(np.asarray(value))
            if found.dtype.kind in "biuf":
                return found.astype(float)
        raise ConfigError(f"'{self.word}': {hook} gives '{name}' the value {value!r}; write numbers in SI units")


def rehearse(network: BrianNetwork, layout: Layout, learn: bool) -> Score:
    """Return what is known of a network that is built twice.

    Raises
    ------
    ConfigError
        If it is another one the second time.
    """
    copies, layout = layout.copies, replace(layout, copies=1, slots=1)
    with brian_device("runtime", codegen__target="numpy"):
        if copies > 1:
            _check_copies(network, replace(layout, copies=2), learn)
            gc.collect()
        score, first = _look(network, layout, learn)
        gc.collect()  # or Brian2 numbers the names that it makes up
        _, second = _look(network, layout, learn)
    for name, value in first.items():
        if name not in second or not _same(value, second[name]):
            raise ConfigError(f"'{network.word}': {name} is another one each time `build` is called. {DRAW}.")
    return score


def _check_copies(network: BrianNetwork, layout: Layout, learn: bool) -> None:
    """Refuse synapses between copies of a network: they are networks of their own."""
    from brian2 import Synapses

    circuit = network.blueprint(layout, learn).circuit()
    sized = len(next(iter(circuit.tallies.values())).group) == network.units * layout.copies  # or `feeder` refuses it
    for part in circuit.objects if sized else ():
        if isinstance(part, Synapses):
            ends = ((part.source, part.i[:]), (part.target, part.j[:]))
            copy = [(n + group.start) * layout.copies // len(getattr(group, "source", group)) for group, n in ends]
            if not np.array_equal(*copy):
                raise ConfigError(
                    f"{made_at(part)}'{network.word}': '{part.name}' connects neurons of different copies of the "
                    "network. Take circuit.connect_all, connect_others or connect_pairs, or ask for copies=1."
                )


def _same(one: Any, other: Any) -> bool:
    return one == other if isinstance(one, str) else np.array_equal(one, other, equal_nan=True)


def _look(network: BrianNetwork, layout: Layout, learn: bool) -> tuple[Score, dict[str, Any]]:
    """Return what is known of a network, and everything that must be the same each time it is built."""
    from brian2.equations.equations import PARAMETER

    circuit = network.blueprint(layout, learn).circuit()
    variables: dict[str, Variable] = {}
    facts: dict[str, Any] = {}
    used = {name.removesuffix("_pre").removesuffix("_post") for part in circuit.objects for name in _read(part)}
    for part in circuit.objects:
        if not hasattr(part, "equations"):
            continue
        facts[f"the code of '{part.name}'"] = " ".join(texts(part))
        facts |= {f"'{name}', a constant of '{part.name}',": value for name, value in _constants(part)}
        constant = {e.varname for e in part.equations.values() if e.type == PARAMETER and "constant" in e.flags}
        for name, variable in _arrays(part):
            value = np.array(variable.get_value())
            whole = f"{part.name}.{name}"
            facts[f"the connections of '{part.name}'" if name.startswith("_syn") else f"'{whole}'"] = value
            given = whole in circuit.assigned or bool(np.any(value))
            parameter = name in constant & used and part is not circuit.presenter
            declared = name in part.equations and part is not circuit.presenter and name not in REFRACTORY
            variables[whole] = Variable(value.size, variable.dim, made_at(part), declared, given, parameter)
    cleared = {tally.name for tally in circuit.tallies.values()}
    kept = frozenset(name for name in circuit.kept if not name.startswith(PROTOCOL) and name not in cleared)
    learnt = tuple(name for name in circuit.kept if name in kept and circuit.kept[name] is None)
    return Score(network.word, variables, kept, learnt), facts


def _read(part: Any) -> Iterator[str]:
    """Yield the names that the code of an object reads."""
    from brian2.utils.stringtools import get_identifiers

    for equation in getattr(part, "equations", {}).values():
        yield from equation.identifiers if equation.expr is not None else ()
    for code in codes(part):
        yield from get_identifiers(code)


def _arrays(part: Any) -> Iterator[tuple[str, Any]]:
    """Yield the arrays of a group, and the delays of the spikes that its synapses get."""
    from brian2.core.variables import ArrayVariable

    for name, variable in part.variables.items():
        if isinstance(variable, ArrayVariable) and getattr(variable.owner, "name", "") == part.name:
            yield name, variable
    yield from (("delay", way.variables["delay"]) for way in getattr(part, "_pathways", ()) if way.objname == "pre")


def _constants(part: Any) -> Iterator[tuple[str, Any]]:
    """Yield what the names in the namespace of a group stand for: numbers, and tables of numbers."""
    for name, value in part.namespace.items():
        found = np.asarray(getattr(value, "values", value))
        if found.dtype.kind in "biufc":
            yield name, found
