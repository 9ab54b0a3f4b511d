"""What happens while `build` runs: which objects it makes and where, its constants, and what is refused at once."""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from numbers import Number
from types import FrameType
from typing import Any
from unittest import mock

from biorep import usercode
from biorep.engines.presentation import Circuit
from biorep.errors import ConfigError, did_you_mean
from biorep.networks.brian.repeatable import DICE, DRAW, made_at, texts

#: Names of the presentation protocol's own objects.
TAKEN = ("presenter", "input", "shown", "images", "keys", "slot_clock", "watched", "watched_spikes", "to_presenter")


@dataclass
class Made:
    """An object that was made while `build` ran."""

    part: Any
    own: bool  #: whether the circuit has made it
    frame: FrameType | None  #: the step of a user's code that asked for it
    names: dict[str, Any]  #: the names that this code knew then
    place: str  #: file and line


@dataclass
class Building:
    """All of them, and the variables that were given values."""

    made: list[Made] = field(default_factory=list)
    assigned: set[str] = field(default_factory=set)


@contextlib.contextmanager
def building(word: str) -> Iterator[Building]:
    """Watch Brian2 while the block runs; refuse what is drawn at random: each simulation would have other draws.

    Raises
    ------
    ConfigError
        What to do instead.
    """
    import brian2 as b2
    from brian2.core.base import BrianObject
    from brian2.core.variables import VariableView

    seen = Building()
    connect, start, set_item = b2.Synapses.connect, BrianObject.__init__, VariableView.set_item

    def watched_connect(self: Any, *args: Any, level: int = 0, **settings: Any) -> None:
        asked = inspect.signature(connect).bind(self, *args, **settings).arguments
        found = [str(asked.get(name, "")) for name in ("condition", "i", "j")]
        if not (asked.get("p", 1) == 1) or any(DICE.search(text) for text in found):
            raise ConfigError(
                f"{made_at(self)}'{word}': connect() of '{self.name}' draws connections at random, others in each "
                f"simulation. Take circuit.connect_pairs({self.name}, i, j) with the numbers of the pairs. {DRAW}."
            )
        connect(self, *args, level=level + 1, **settings)  # one frame more between Brian2 and the caller's names

    def watched_start(self: Any, *args: Any, **settings: Any) -> None:
        start(self, *args, **settings)
        seen.made.append(_made(self))

    def watched_set(self: Any, item: Any, value: Any, level: int = 0, namespace: Any = None) -> None:
        name = f"{self.group_name}.{self.name}"
        if any(isinstance(text, str) and DICE.search(text) for text in (item, value)):
            raise ConfigError(
                f"'{word}': {name} = {value!r} draws Brian2's own random numbers, others in each simulation. {DRAW}."
            )
        seen.assigned.add(name)
        set_item(self, item, value, level=level + 1, namespace=namespace)

    with (
        mock.patch.object(b2.Synapses, "connect", watched_connect),
        mock.patch.object(BrianObject, "__init__", watched_start),
        mock.patch.object(VariableView, "set_item", watched_set),
    ):
        yield seen


def _made(part: Any) -> Made:
    """Return an object and who has asked for it: the nearest step outside Brian2, and the nearest in a user's code."""
    step: FrameType | None = sys._getframe(2)
    makers = []
    while step is not None and step.f_globals.get("__name__") != "biorep.networks.brian.contract":
        if step.f_globals.get("__name__", "").partition(".")[0] != "brian2":
            makers.append(step)
        step = step.f_back
    own = bool(makers) and makers[0].f_globals.get("__name__") == "biorep.engines.presentation"
    frame = next(filter(usercode.is_users, makers), None)
    if frame is None:
        return Made(part, own, None, {}, "")
    place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
    # Brian2's own messages shall name the user's line as well, not that of the circuit.
    part._creation_stack = f"  File '{frame.f_code.co_filename}', line {frame.f_lineno}, in {frame.f_code.co_name}"
    return Made(part, own, frame, dict(frame.f_locals), place)


def give_constants(circuit: Circuit, seen: Building) -> None:
    """Let equations find the names that the code around them knows, as they do in a script.

    What is given as ``namespace`` comes first; a name that has another value later keeps that which it had when the
    object was made.
    """
    rests = [(name.partition(".")[0], str(rest)) for name, rest in circuit.kept.items()]
    for made in seen.made:
        if made.frame is None or made.own:
            continue
        code = [*texts(made.part), *(rest for owner, rest in rests if owner == made.part.name)]
        known = {**made.frame.f_globals, **made.frame.f_locals, **made.names}
        target: Any
        for target in (made.part, getattr(made.part, "group", None)):
            if hasattr(target, "equations") or type(target).__name__ == "SynapticPathway":
                target.namespace = {**_constants(code, target, known), **target.namespace}


def _constants(code: Iterable[str], target: Any, known: dict[str, Any]) -> dict[str, Any]:
    """Return those of the known names that the code of an object needs."""
    from brian2 import Function
    from brian2.core.namespace import DEFAULT_CONSTANTS, DEFAULT_FUNCTIONS, DEFAULT_UNITS
    from brian2.utils.stringtools import get_identifiers

    defaults = {*DEFAULT_CONSTANTS, *DEFAULT_FUNCTIONS, *DEFAULT_UNITS}
    needed = {name for text in code for name in get_identifiers(text)} - defaults - set(target.variables)
    return {
        name: known[name]
        for name in needed
        if isinstance(known.get(name), Number | Function) or getattr(known.get(name), "shape", None) == ()
    }


def check_declared(circuit: Circuit, word: str) -> None:
    """Refuse what is kept, renewed or tallied and is no variable, rests without its unit, or is never counted.

    Raises
    ------
    ConfigError
        The first mistake.
    """
    from brian2.units.fundamentalunits import get_dimensions, get_unit_for_display

    groups = circuit.groups
    there = {f"{name}.{variable}": v.dim for name, g in groups.items() for variable, v in _variables(g)}
    there |= {f"{name}.delay": None for name in circuit.delayed}
    for name in (*circuit.kept, *circuit.renewed):
        if name not in there:
            raise ConfigError(
                f"'{word}': `build` declares '{name}', which is no variable of what was added to the circuit"
                f"{did_you_mean(name, there) or '.'} Write 'group.variable'."
            )
    for name, group in groups.items():
        for equation in getattr(group, "equations", {}).values():
            if "constant" in equation.flags and any(_writes(circuit, group, equation.varname)):
                raise ConfigError(
                    f"{made_at(group)}'{word}': '{name}.{equation.varname}' is flagged '(constant)', and code changes "
                    f"it. Remove the flag and say circuit.keep('{name}.{equation.varname}', rest=...)."
                )
    for name, rest in circuit.kept.items():
        if rest is None:
            continue
        try:
            unit = get_dimensions(circuit.rest_of(name))
        except Exception as error:
            raise ConfigError(f"'{word}': circuit.keep('{name}', rest={rest!r}): {error}") from error
        if unit is not there[name]:
            raise ConfigError(
                f"'{word}': circuit.keep('{name}', rest={rest!r}): the unit of '{name}' is "
                f"{get_unit_for_display(there[name])}; write rest='-65*mV', for one"
            )


def check_counted(circuit: Circuit, word: str) -> None:
    """Refuse a layer whose recorded variable no code changes.

    Raises
    ------
    ConfigError
        What the reset has to say.
    """
    for layer, tally in circuit.tallies.items():
        differs = f"d{tally.variable}/dt" in str(tally.group.equations)
        clears = f"{tally.variable} = 0"  # the circuit's own
        if not differs and all(code == clears for code in _writes(circuit, tally.group, tally.variable)):
            raise ConfigError(
                f"{made_at(tally.group)}'{word}': nothing increases '{tally.name}', which is what layer '{layer}' "
                f"answers. Let the reset of '{tally.group.name}' say {tally.variable} += 1."
            )


def _writes(circuit: Circuit, group: Any, variable: str) -> Iterator[str]:
    """Yield the pieces of code that change a variable of a group: its own, and that of synapses to and from it."""
    for part in circuit.objects:
        names = [variable] if part is group else []
        for end, suffix in (("source", "_pre"), ("target", "_post")):
            neurons = getattr(part, end, None)
            if group in (neurons, getattr(neurons, "source", None)):  # of which it may be a part
                names += (
                    [variable + suffix] if end == "source" or variable in part.equations else [f"{variable}(_post)?"]
                )
        if names:
            assigns = re.compile(rf"\b({'|'.join(names)})\s*[-+*/]?=(?!=)")
            yield from filter(assigns.search, texts(part))


def _variables(group: Any) -> Iterator[tuple[str, Any]]:
    variables = getattr(group, "variables", {}) if hasattr(group, "equations") else {}
    return ((name, variables[name]) for name in variables)


def check_objects(circuit: Circuit, seen: Building) -> None:
    """Refuse objects that are not added, and names that are taken.

    Raises
    ------
    ConfigError
        With file and line of the object.
    """
    there = [inner for part in circuit.objects for inner in (part, *getattr(part, "contained_objects", ()))]
    known = {id(part) for part in there}
    inside = {id(inner) for made in seen.made for inner in getattr(made.part, "contained_objects", ())}
    named: dict[str, int] = {}
    for made in seen.made:
        part, name = made.part, made.part.name
        kind = type(part).__name__
        if id(part) in inside or kind == "Subgroup":
            continue
        if not made.own and (name in TAKEN or name.startswith("answers_")):
            raise ConfigError(f"{made.place}: the name '{name}' is taken by the presentation; give it another name")
        if named.setdefault(name, id(part)) != id(part):
            raise ConfigError(f"{made.place}: two objects are called '{name}'; give one of them another name")
        if not made.own and id(part) not in known:
            raise ConfigError(
                f"{made.place}: {kind} '{name}' is not part of the network: circuit.add({name}) is missing"
            )
