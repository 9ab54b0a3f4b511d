"""Simulations as programs: arrays in, arrays out, whatever engine runs them.

A builder, ``build(circuit)``, adds the objects of a network to a `Circuit`. `prepare` turns it into a program with
one verb, ``run(values, read)``: set these variables, simulate one chunk, return those variables. Variables are named
``"group.variable"``. Brian2 is global state; it is touched inside `prepare` and `run` only and put back afterwards.
"""

from __future__ import annotations

import contextlib
import gc
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from biorep.engines.layout import Layout
from biorep.engines.presentation import Circuit
from biorep.errors import BiorepError, ConfigError
from biorep.usercode import said_by

#: Objects that Brian2 makes when it is imported.
BRIANS_OWN = ("magicnetwork", "defaultclock")

Build = Callable[[Circuit], None]
Arrays = dict[str, np.ndarray]
#: Called with the share of the chunk that is done, 0 to 1.
Report = Callable[[float], None]


@dataclass(frozen=True)
class Blueprint:
    """What a program is made from: the shape of the simulation and the builder of its network."""

    layout: Layout
    build: Build

    def circuit(self, **tables: Any) -> Circuit:
        """Return the circuit; Brian2's device must be set."""
        circuit = Circuit(self.layout, **tables)
        self.build(circuit)
        return circuit


class Program(Protocol):
    """One chunk of a simulation, ready to run any number of times."""

    engine: str
    layout: Layout
    #: Names of the variables that cross the border between two chunks.
    state: tuple[str, ...]
    #: The fast ones of them at rest, SI units.
    rest: Mapping[str, float]
    #: Recorded layers -> name of the recorded variable; the first is the network's answer.
    layers: Mapping[str, str]

    def run(self, values: Mapping[str, np.ndarray], read: Sequence[str], report: Report | None = None) -> Arrays:
        """Simulate one chunk from time 0.

        Parameters
        ----------
        values : mapping of str to array
            Initial values of variables, plain numbers in SI units; ``"images.values"`` and ``"keys.values"`` are
            the tables of the presentation protocol.
        read : sequence of str
            Variables to return; a monitor's variable comes as (record, neuron).
        report : callable, optional
            Called with the share that is done.
        """

    def size(self, name: str) -> int:
        """Return how many neurons the group of a variable has, of all copies; 1 if it is a variable of synapses."""

    def close(self) -> None:
        """Remove temporary files."""


@contextlib.contextmanager
def brian_device(name: str, **preferences: Any) -> Iterator[Any]:
    """Set Brian2's device and preferences while the block runs.

    Parameters
    ----------
    name : {"runtime", "cpp_standalone", "cuda_standalone"}
    **preferences
        Brian2 preferences, dots written as double underscores.

    Raises
    ------
    ConfigError
        If Brian2 does not accept the network: its own words.
    """
    import brian2 as b2
    from brian2.core.names import Nameable
    from brian2.devices.cpp_standalone.device import CPPStandaloneDevice
    from brian2.devices.device import all_devices, get_device, reset_device, set_device

    if name.startswith("cuda") and getattr(all_devices.get(name), "main_queue", []):
        raise ConfigError(
            f"this session has an open project for {name}, and Brian2 has room for one. Build it first, or run biorep "
            "in another process or with --engine cpp_standalone."
        )
    quiet = {"logging.warn_for_unused_objects": False}  # a circuit may be looked at and not simulated
    wished = quiet | {key.replace("__", "."): value for key, value in preferences.items()}
    # Names of objects that still live would get a number appended: other sources, another hash.
    if any(name not in BRIANS_OWN for name in (_name_of(reference) for reference in Nameable.__instances__())):
        gc.collect()
    before = {key: b2.prefs[key] for key in wished}
    clock = b2.defaultclock.dt
    # Brian2 and the end of this block look for garbage several times: among what they have made, not in all of torch.
    freeze = gc.get_freeze_count() < 10_000  # Python's start freezes some hundreds; more is the caller's wish
    if freeze:
        gc.freeze()
    try:
        for key, value in wished.items():
            b2.prefs[key] = value
        # A device of its own: the session may have a project open for that of Brian2.
        set_device(CPPStandaloneDevice() if name == "cpp_standalone" else name, build_on_run=False)
        with warnings.catch_warnings():
            for kind in (DeprecationWarning, ResourceWarning):  # Brian2's and brian2cuda's own, not the user's
                warnings.simplefilter("ignore", kind)
            yield get_device()
    except Exception as error:
        mistake = _is_brians(error)
        _forget_objects(error)
        if mistake:
            raise ConfigError(f"Brian2 does not accept the network: {_reason(error)}") from error
        raise
    finally:
        if name.startswith("cuda"):
            get_device().reinit()
        else:
            b2.defaultclock.dt = clock  # the device that comes back takes it over
        gc.collect()
        if freeze:
            gc.unfreeze()
        reset_device()
        for key, value in before.items():
            b2.prefs[key] = value


def _name_of(reference: Any) -> str:
    """Return the name of an object that Brian2 holds a weak reference to; nothing if it has gone."""
    return getattr(reference(), "name", BRIANS_OWN[0])


def _is_brians(error: BaseException) -> bool:
    """Return whether Brian2 met a mistake in a network; it raises Python's own errors as well as those of its own."""
    if isinstance(error, BiorepError | OSError | MemoryError):
        return False
    frames = traceback.walk_tb(error.__traceback__)
    inside = any(frame.f_globals.get("__name__", "").startswith("brian2.") for frame, _ in frames)
    return inside or type(error).__module__.startswith("brian2")


def _forget_objects(error: BaseException | None) -> None:
    """Let go of what the frames of an error hold: Brian2 warns of objects that outlive this block unused."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            with contextlib.suppress(RuntimeError):  # still running
                frame.clear()
                len(frame.f_locals)  # a copy, which is made anew when it is looked at
        error = error.__cause__ or error.__context__


#: How Brian2 says in an error which object of a network it is about, and where that was made.
HEAD = re.compile(r"Error encountered with object named '(.+?)'\..*?File '(.+?)', line (\d+).*", re.DOTALL)


def _reason(error: BaseException) -> str:
    """Return the messages of an error and of what caused it, without repeats; where an object was made comes first."""
    said: list[str] = []
    step: BaseException | None = error
    while step is not None:
        text = HEAD.sub(r"'\1', made at \2:\3", said_by(step))
        said += [] if text in said else [text]
        step = step.__cause__
    return "; because: ".join(said)
