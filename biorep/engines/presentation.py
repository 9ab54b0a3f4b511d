"""The presentation protocol: images become input of a Brian2 network, all of them inside one simulation.

Time is cut into slots of equal length, a stimulus period and a rest. A one-neuron group per copy, the presenter,
holds the row of the image table that is shown and how strongly. When a slot ends with fewer than `min_spikes` answering
spikes, the same image is shown again at a higher rate; otherwise the presenter moves to the next row. Nothing of it
needs Python in the loop, so it runs on every engine (Diehl & Cook 2015 describe the protocol).

A `Circuit` is what the builder of a network gets: it has the clocks, the input groups and the counters, and collects
the network's own objects. It also holds the one list of variables that last from slot to slot (`Circuit.keep`): what is
reset at the onset of an image, what is carried from chunk to chunk and what copies start from all follow from it.
`biorep.engines.chunks` feeds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from biorep.engines import waiting
from biorep.engines.counter import function
from biorep.engines.layout import Layout
from biorep.errors import ConfigError

#: At the start of a slot, in this order: learn from the slot that has ended, record it, clear the counters, advance
#: to the next image, load it, put the fast variables to rest, and what else the network does at an onset.
LEARN, RECORD, CLEAR, ADVANCE, LOAD, RESET, ONSET = -20, -10, 1, 2, 3, 4, 5

#: Variables by which Brian2 keeps a neuron refractory.
REFRACTORY = ("lastspike", "not_refractory")

#: A step that no slot reaches.
NEVER = 100_000_000.0


@dataclass(frozen=True)
class Tally:
    """A layer whose answers are recorded.

    Parameters
    ----------
    group : NeuronGroup
        Its neurons, of all copies.
    variable : str
        What is recorded of each of them at the end of a slot, and set to 0.
    event : str
        The event that sends the spikes of a neuron to others.
    """

    group: Any
    variable: str
    event: str

    @property
    def name(self) -> str:
        """Name of the recorded variable, ``"group.variable"``."""
        return f"{self.group.name}.{self.variable}"


class Circuit:
    """The objects of one simulation, while they are put together.

    Parameters
    ----------
    layout : Layout
    images : (row, input) array, optional
        What is shown, between 0 and 1 for spiking input; zeros if the engine sets it later.
    keys : (row, 2) array, optional
        Keys of the random draws of each row, see `biorep.engines.counter`.
    single : bool
        Whether the simulation runs in single precision.
    """

    def __init__(
        self, layout: Layout, images: np.ndarray | None = None, keys: np.ndarray | None = None, *, single: bool = False
    ):
        import brian2 as b2

        self.layout = layout
        self.objects: list[Any] = []
        #: Recorded layers by name; the first is the one that is meant by `last`.
        self.tallies: dict[str, Tally] = {}
        #: Variables that last from slot to slot -> their value at rest; None: they are never reset. See `keep`.
        self.kept: dict[str, str | float | None] = {}
        #: Variables that each slot sets anew before it reads them, see `renew`.
        self.renewed: set[str] = set()
        #: Variables that `build` has given values.
        self.assigned: set[str] = set()
        #: What of the network needs an engine of the CPU, in words, see `need_cpu`.
        self.cpu_only: list[str] = []
        #: Names of synapses whose spikes arrive late, see `delay`.
        self.delayed: list[str] = []
        self.smallest = 1e-6 if single else 1e-12
        timing = layout.timing
        b2.defaultclock.dt = timing.dt * b2.ms
        self.slot = b2.Clock(dt=timing.steps * timing.dt * b2.ms, name="slot_clock")
        #: Slots of a chunk times their length.
        self.duration = layout.slots * timing.steps * timing.dt * b2.ms
        shape = (layout.rows, layout.inputs)
        # Rows are looked up by number, not by time: row r stands at r + 1/2 seconds.
        self.images = b2.TimedArray(np.zeros(shape) if images is None else images, dt=1 * b2.second, name="images")
        keys = np.zeros((layout.rows, 2)) if keys is None else keys
        self.keys = b2.TimedArray(keys, dt=1 * b2.second, name="keys")
        self.presenter = self._presenter()

    def add(self, *objects: Any) -> None:
        """Add Brian2 objects to the network, one by one."""
        from brian2.core.base import BrianObject

        if strange := [thing for thing in objects if not isinstance(thing, BrianObject)]:
            raise ConfigError(f"circuit.add takes Brian2 objects, add(cells, synapses), not {strange[0]!r:.40}")
        self.objects += objects

    # ------------------------------------------------------------------------- variables that last from slot to slot

    def keep(self, *names: str, rest: str | float | None = None, learnt: bool = False) -> None:
        """Declare variables that last from one slot to the next, each once: as fast ones or as learnt ones.

        They are carried from chunk to chunk. A fast variable is at rest before the first image, and at the onset of
        each image if the network starts every image from rest (`put_to_rest`); a learnt one is never reset.

        Parameters
        ----------
        *names : str
            ``"group.variable"``.
        rest : str or float, optional
            The value of fast variables at rest: a number if they have no dimension, else text such as ``"-65*mV"``.
        learnt : bool
            Whether they are learnt variables, or parameters that each copy has values of its own of.
        """
        if (rest is None) is not learnt:
            raise ConfigError(f"keep({', '.join(map(repr, names))}): say either rest=... or learnt=True")
        for name in names:
            if name in self.kept:
                raise ConfigError(f"'{name}' is declared twice with `keep`")
            self.kept[name] = rest

    def renew(self, *names: str) -> None:
        """Declare variables that every slot sets anew before it reads them: nothing of them lasts."""
        self.renewed |= set(names)

    def at_rest(self) -> dict[str, float]:
        """Return the fast variables at rest, SI units."""
        return {name: float(self.rest_of(name)) for name, rest in self.kept.items() if rest is not None}

    def rest_of(self, name: str) -> Any:
        """Return the value of a fast variable at rest, with its unit."""
        from brian2.core.namespace import DEFAULT_UNITS

        return eval(str(self.kept[name]), {**DEFAULT_UNITS, **self.groups[name.partition(".")[0]].namespace})

    @property
    def groups(self) -> dict[str, Any]:
        """The objects by name."""
        return {part.name: part for part in self.objects}

    def put_to_rest(self) -> None:
        """Let every image find the fast variables at rest, and nobody refractory."""
        groups = self.groups
        for name, group in groups.items():
            if self.is_refractory(group):
                # Before the others are reset: those that are `unless refractory` could not be.
                self.at_onset(group, "not_refractory = True\nlastspike = -1e4*second", LOAD, name=f"{name}_awake")
        code: dict[str, list[str]] = {}
        for name, rest in self.kept.items():
            owner, _, variable = name.partition(".")
            if rest is not None:
                code.setdefault(owner, []).append(f"{variable} = {rest}")
        for owner, lines in code.items():
            self.at_onset(groups[owner], "\n".join(lines), RESET, name=f"{owner}_rest")

    @staticmethod
    def is_refractory(part: Any) -> bool:
        """Return whether an object is a group whose neurons are refractory after a spike."""
        return hasattr(part, "equations") and "lastspike" in part.equations

    def undeclared(self) -> Iterator[str]:
        """Yield variables that can change and are neither kept nor renewed: they have been forgotten."""
        from brian2.equations.equations import DIFFERENTIAL_EQUATION, PARAMETER

        for group in self.objects:
            if not hasattr(group, "equations") or group is self.presenter:
                continue
            named = [*group.equations.values(), *(getattr(group, "event_driven", None) or {}).values()]
            for equation in named:
                name = f"{group.name}.{equation.varname}"
                lasts = equation.type in (PARAMETER, DIFFERENTIAL_EQUATION)
                lasts = lasts and not {"constant", "linked"} & set(equation.flags)
                lasts = lasts and equation.varname not in REFRACTORY
                if lasts and name not in self.kept and name not in self.renewed:
                    yield name

    def delay(self, synapses: Any) -> None:
        """Give each synapse a delay of its own for its input spikes: the variable ``"<name>.delay"``, of each copy."""
        synapses.pre.delay = "0*ms"  # one per synapse; the values come with the other initial values
        self.keep(f"{synapses.name}.delay", learnt=True)
        self.delayed.append(synapses.name)
        self.need_cpu("a delay for each synapse")

    def need_cpu(self, what: str) -> None:
        """Declare that something of the network runs on the engines of the CPU alone."""
        self.cpu_only.append(what)

    # --------------------------------------------------------------------------------------------------- copies

    @property
    def per_copy(self) -> str:
        """Flags of a parameter: one value for all neurons, or, with several copies, one that a copy's neurons share."""
        return "shared, constant" if self.layout.copies == 1 else "constant"

    def link(self, group: Any, name: str, source: Any, variable: str | None = None) -> None:
        """Let a linked variable of a group be that of the only neuron which `source` has in the same copy.

        Parameters
        ----------
        group : NeuronGroup
        name : str
            Its variable, flagged ``(linked)``.
        source : NeuronGroup
            Of one neuron per copy.
        variable : str, optional
            The variable of that neuron; `name` by default.

        Raises
        ------
        ConfigError
            If the source has more than one neuron per copy: which of them is meant?
        """
        import brian2 as b2

        copies = self.layout.copies
        if len(source) != copies:
            raise ConfigError(
                f"'{group.name}.{name}' is linked to '{source.name}', which has {len(source)} neurons for {copies} "
                "copies; it must have one for each"
            )
        # Of one copy all neurons read the same number; a list of places would keep the loop from being vectorised.
        index = None if copies == 1 else np.repeat(np.arange(copies), len(group) // copies)
        setattr(group, name, b2.linked_var(source, variable or name, index=index))

    def network(self) -> Any:
        """Return everything as a Brian2 network."""
        import brian2 as b2

        return b2.Network(*self.objects)

    def connect_all(self, synapses: Any) -> None:
        """Connect each neuron of the source to all neurons of the target in its copy."""
        self._connect(synapses, "")

    def connect_others(self, synapses: Any) -> None:
        """Connect each neuron of a group to all others of its copy."""
        self._connect(synapses, " if k != i")

    def _connect(self, synapses: Any, condition: str) -> None:
        copies = self.layout.copies
        sources, targets = len(synapses.source) // copies, len(synapses.target) // copies
        if copies == 1 and not condition:
            synapses.connect()
        elif copies == 1:
            synapses.connect(j=f"k for k in range(N_post){condition}")
        else:
            first = f"(i//{sources})*{targets}"
            synapses.connect(j=f"k for k in range({first}, (i//{sources} + 1)*{targets}){condition}")

    def connect_pairs(self, synapses: Any, i: np.ndarray, j: np.ndarray) -> None:
        """Connect neurons i of the source to neurons j of the target, in each copy alike.

        Parameters
        ----------
        synapses : Synapses
        i, j : (pair,) int array
            Numbers within a copy, from 0.

        Raises
        ------
        ConfigError
            If they are no whole numbers of such neurons: in copies they would be neurons of another one.
        """
        copies, ends = self.layout.copies, {"i": (i, synapses.source), "j": (j, synapses.target)}
        pairs = {}
        for name, (given, group) in ends.items():
            numbers, size = np.atleast_1d(np.asarray(given)), len(group) // copies
            if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
                raise ConfigError(f"connect_pairs of '{synapses.name}': {name} must be a list of whole numbers")
            if len(wrong := numbers[(numbers < 0) | (numbers >= size)]):
                raise ConfigError(
                    f"connect_pairs of '{synapses.name}': {name} names neuron {wrong[0]} of '{group.name}', which has "
                    f"0 to {size - 1} in each copy"
                )
            pairs[name] = (numbers.astype(int) + np.arange(copies)[:, None] * size).ravel()
        if len(pairs["i"]) != len(pairs["j"]):
            raise ConfigError(f"connect_pairs of '{synapses.name}': i and j must have one length")
        synapses.connect(**pairs)

    def connect_one(self, synapses: Any) -> None:
        """Connect all neurons of a copy to the only one that the target has of it."""
        size = len(synapses.source) // self.layout.copies
        synapses.connect(j="i" if size == 1 else f"i // {size}")

    # -------------------------------------------------------------------------------------------- the presentation

    def at_onset(self, group: Any, code: str, order: int = ONSET, name: str | None = None) -> None:
        """Run code at the beginning of each slot, after the fast variables have been put to rest."""
        group.run_regularly(code, clock=self.slot, when="start", order=order, name=name or f"{group.name}_onset")

    def _presenter(self) -> Any:
        import brian2 as b2

        presenter = b2.NeuronGroup(
            self.layout.copies,
            f"""row : integer
               stop : integer (constant)
               tries : integer
               gain : 1
               live : 1
               answer : 1
               min_spikes : 1 ({self.per_copy})
               gain_step : 1 ({self.per_copy})
               key_low : integer
               key_high : integer""",
            name="presenter",
            namespace={"keys": self.keys},
        )
        self.at_onset(
            presenter,
            f"""finished = int(int(answer >= min_spikes) + int(tries >= {self.layout.max_tries}) > 0)
                row = int(clip(row + finished, -1, stop))
                gain = 1 + (1 - finished)*(gain + gain_step - 1)
                tries = 1 + (1 - finished)*tries
                live = int(row < stop)
                answer = 0
                key_low = int(keys((row + 0.5)*second, 0))
                key_high = int(keys((row + 0.5)*second, 1))""",
            ADVANCE,
        )
        shown = b2.StateMonitor(
            presenter, ["row", "tries"], record=True, clock=self.slot, when="start", order=ONSET + 1, name="shown"
        )
        self.add(presenter, shown)
        # Whoever learns at the start of a slot from the slot before asks whether that one was live.
        self.keep(*(f"presenter.{name}" for name in ("tries", "gain", "answer", "live")), learnt=True)
        return presenter

    def poisson_input(self, *, trace: bool = False) -> Any:
        """Return neurons whose spikes in each step are independent draws with probability gain * image * peak * dt.

        The step of the next spike is drawn when the last one falls, from the geometric distribution, so that dark
        pixels and the rest cost nothing.

        Parameters
        ----------
        trace : bool
            Whether each neuron has a trace `x`, set to 1 by a spike and decaying with `tau_x`.
        """
        import brian2 as b2

        timing, copies, inputs = self.layout.timing, self.layout.copies, self.layout.inputs
        pixel = "i" if copies == 1 else f"i % {inputs}"
        number = f"presenter_tries*{timing.steps + 2} + int(due) + 1"
        elapsed = f"(timestep(t, dt) % {timing.steps})"
        # numpy's floor gives 32-bit integers here: a wait that long never ends anyway.
        gap = f"floor(clip(spacing*log(1 - uniform({pixel}, {number}, key_low, key_high)), 0, {NEVER}))"
        model = f"""
            due : 1
            spacing : 1
            peak_rate : Hz ({self.per_copy})
            row : integer (linked)
            presenter_tries : integer (linked)
            gain : 1 (linked)
            live : 1 (linked)
            key_low : integer (linked)
            key_high : integer (linked)
            """
        if trace:
            model += f"dx/dt = -x/tau_x : 1\ntau_x : second ({self.per_copy})\n"
        group = b2.NeuronGroup(
            copies * inputs,
            model,
            threshold=f"due <= {elapsed} and {elapsed} < {timing.steps_on}",
            reset=f"due = due + 1 + {gap}" + ("; x = 1" if trace else ""),
            method="exact",
            name="input",
            namespace={"images": self.images, "uniform": function()},
            codeobj_class=waiting.code_class(timing),
        )
        for name in ("row", "gain", "live", "key_low", "key_high"):
            self.link(group, name, self.presenter)
        self.link(group, "presenter_tries", self.presenter, "tries")
        self.at_onset(
            group,
            f"""p = clip(images((row + 0.5)*second, {pixel})*gain*live*peak_rate*{timing.dt}*ms, 0, 1)
                spacing = 1/log(1 - clip(p, {self.smallest}, 1 - {self.smallest}))
                due = -1
                due = {gap} + {NEVER}*int(p <= 0)""",
            LOAD,
        )
        self.add(group)
        self.renew("input.due", "input.spacing")
        if trace:
            self.keep("input.x", rest=0)
        return group

    def pixel_input(self) -> Any:
        """Return neurons that hold the image that is shown, ``X``, from the onset of its slot on."""
        import brian2 as b2

        copies, inputs = self.layout.copies, self.layout.inputs
        group = b2.NeuronGroup(
            copies * inputs,
            """X : 1
               row : integer (linked)
               live : 1 (linked)""",
            name="input",
            namespace={"images": self.images},
            clock=self.slot,
        )
        self.link(group, "row", self.presenter)
        self.link(group, "live", self.presenter)
        pixel = "i" if copies == 1 else f"i % {inputs}"
        self.at_onset(group, f"X = images((row + 0.5)*second, {pixel})*live", LOAD)
        self.add(group)
        self.keep("input.X", learnt=True)  # learning at the next onset reads the image that has been shown
        return group

    def tally(self, group: Any, variable: str = "count", *, name: str | None = None, event: str = "spike") -> None:
        """Record a layer: a variable of its neurons at the end of each slot, which is then set to 0.

        Call it once for each layer. The first is the network's answer: the one that is meant by `last`.

        Parameters
        ----------
        group : NeuronGroup
            The neurons of all copies.
        variable : str
            What is recorded; the group's reset has to increase it.
        name : str, optional
            Of the layer; that of the group by default.
        event : str
            The event by which a neuron sends its spikes: what `watch` records.
        """
        import brian2 as b2

        if variable not in getattr(group, "variables", ()):
            raise ConfigError(
                f"tally: '{group.name}' has no variable '{variable}'; declare '{variable} : 1' in its model"
            )
        name = name or group.name
        if name in self.tallies:
            raise ConfigError(f"two layers are called '{name}': give `tally` another name")
        monitor = b2.StateMonitor(
            group, variable, record=True, clock=self.slot, when="start", order=RECORD, name=f"answers_{name}"
        )
        self.at_onset(group, f"{variable} = 0", CLEAR, name=f"{group.name}_clear")
        self.add(monitor)
        self.tallies[name] = Tally(group, variable, event)
        self.keep(f"{group.name}.{variable}", learnt=True)  # cleared at the onset, after it has been recorded

    def watch(self, layer: str, neurons: np.ndarray, variables: Sequence[str]) -> list[str]:
        """Record the spikes of a layer, and variables of chosen neurons of it in every step.

        Parameters
        ----------
        layer : str
        neurons : (neuron,) int array
        variables : sequence of str

        Returns
        -------
        list of str
            The names of what is recorded, for `Feeder.watched`.
        """
        import brian2 as b2

        tally, names = self.tallies[layer], []
        if tally.event in tally.group.events:
            self.add(b2.EventMonitor(tally.group, tally.event, name="watched_spikes"))
            names += ["watched_spikes.t", "watched_spikes.i"]
        if variables:
            # Behind what happens at an onset: the first value of an image is what the image finds.
            order = ONSET + 2
            self.add(b2.StateMonitor(tally.group, list(variables), record=neurons, order=order, name="watched"))
            names += [f"watched.{name}" for name in variables]
        return names

    def answer(self, group: Any, event: str = "spike") -> None:
        """Count the events of a group as the answer that decides whether an image is shown again."""
        import brian2 as b2

        synapses = b2.Synapses(group, self.presenter, on_pre="answer_post += 1", on_event=event, name="to_presenter")
        self.connect_one(synapses)
        self.add(synapses)
