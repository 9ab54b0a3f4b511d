"""The presentation protocol: images become input of a Brian2 network, all of them inside one simulation.

Time is cut into slots of equal length, a stimulus period and a rest. A one-neuron group per copy, the presenter,
holds the row of the image table that is shown and how strongly. When a slot ends with fewer than `least` answering
spikes, the same image is shown again at a higher rate; otherwise the presenter moves to the next row. Nothing of it
needs Python in the loop, so it runs on every engine (Diehl & Cook 2015 describe the protocol).

A `Circuit` is what the builder of a network gets: it has the clocks, the input groups and the counters, and collects
the network's own objects. `biorep.engines.chunks` feeds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from biorep.engines.counter import function
from biorep.engines.layout import Layout

#: At the start of a slot, in this order: learn from the slot that has ended, record it, clear the counters, advance
#: to the next image, load it, reset what is to be reset at its onset.
LEARN, RECORD, CLEAR, ADVANCE, LOAD, RESET = -20, -10, 1, 2, 3, 4

#: A step that no slot reaches.
NEVER = 100_000_000.0


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
        self.state: list[str] = []
        self.recorded, self.tallied = "", cast(Any, None)  # see `tally`
        self.smallest = 1e-6 if single else 1e-12
        timing = layout.timing
        b2.defaultclock.dt = timing.step * b2.ms
        self.slot = b2.Clock(dt=timing.steps * timing.step * b2.ms, name="slot_clock")
        #: Slots of a chunk times their length.
        self.duration = layout.slots * timing.steps * timing.step * b2.ms
        shape = (layout.rows, layout.inputs)
        # Rows are looked up by number, not by time: row r stands at r + 1/2 seconds.
        self.images = b2.TimedArray(np.zeros(shape) if images is None else images, dt=1 * b2.second, name="images")
        keys = np.zeros((layout.rows, 2)) if keys is None else keys
        self.keys = b2.TimedArray(keys, dt=1 * b2.second, name="keys")
        self.presenter = self._presenter()

    def add(self, *objects: Any) -> None:
        """Add Brian2 objects to the network."""
        self.objects += objects

    def keep(self, *names: str) -> None:
        """Declare variables, ``"group.variable"``, that cross the border between two chunks."""
        self.state += names

    @property
    def per_copy(self) -> str:
        """Flags of a parameter: one value for all neurons, or, with several copies, one that a copy's neurons share."""
        return "shared, constant" if self.layout.copies == 1 else "constant"

    def copy_of(self, neurons: int) -> np.ndarray:
        """Return the copy that each neuron belongs to, for groups of so many neurons per copy."""
        return np.repeat(np.arange(self.layout.copies), neurons)

    def network(self) -> Any:
        """Return everything as a Brian2 network."""
        import brian2 as b2

        return b2.Network(*self.objects)

    def at_onset(self, group: Any, code: str, order: int = RESET, name: str | None = None) -> None:
        """Run code at the beginning of each slot."""
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
               least : 1 ({self.per_copy})
               gain_step : 1 ({self.per_copy})
               key_low : integer
               key_high : integer""",
            name="presenter",
            namespace={"keys": self.keys},
        )
        self.at_onset(
            presenter,
            f"""finished = int(int(answer >= least) + int(tries >= {self.layout.most_tries}) > 0)
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
            presenter, ["row", "tries"], record=True, clock=self.slot, when="start", order=RESET + 1, name="shown"
        )
        self.add(presenter, shown)
        self.keep("presenter.tries", "presenter.gain", "presenter.answer")
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
            peak : Hz ({self.per_copy})
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
        )
        source = self.copy_of(inputs)
        for name in ("row", "gain", "live", "key_low", "key_high"):
            setattr(group, name, b2.linked_var(self.presenter, name, index=source))
        group.presenter_tries = b2.linked_var(self.presenter, "tries", index=source)
        self.at_onset(
            group,
            f"""p = clip(images((row + 0.5)*second, {pixel})*gain*live*peak*{timing.step}*ms, 0, 1)
                spacing = 1/log(1 - clip(p, {self.smallest}, 1 - {self.smallest}))
                due = -1
                due = {gap} + {NEVER}*int(p <= 0)""",
            LOAD,
        )
        self.add(group)
        if trace:
            self.keep("input.x")
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
        source = self.copy_of(inputs)
        group.row = b2.linked_var(self.presenter, "row", index=source)
        group.live = b2.linked_var(self.presenter, "live", index=source)
        pixel = "i" if copies == 1 else f"i % {inputs}"
        self.at_onset(group, f"X = images((row + 0.5)*second, {pixel})*live", LOAD)
        self.add(group)
        self.keep("input.X")
        return group

    def tally(self, group: Any, variable: str = "count") -> None:
        """Record a variable of the recorded neurons at the end of each slot and set it to 0.

        Parameters
        ----------
        group : NeuronGroup
            The recorded neurons of all copies.
        variable : str
            What is recorded; the group's reset has to increase it.
        """
        import brian2 as b2

        monitor = b2.StateMonitor(
            group, variable, record=True, clock=self.slot, when="start", order=RECORD, name="answers"
        )
        self.at_onset(group, f"{variable} = 0", CLEAR, name=f"{group.name}_clear")
        self.add(monitor)
        self.keep(f"{group.name}.{variable}")
        self.recorded, self.tallied = f"{group.name}.{variable}", group

    def watch(self, neurons: np.ndarray, variables: Sequence[str]) -> list[str]:
        """Record the spikes of the tallied group, and variables of chosen neurons of it in every step.

        Parameters
        ----------
        neurons : (neuron,) int array
        variables : sequence of str

        Returns
        -------
        list of str
            The names of what is recorded, for `Feeder.watched`.
        """
        import brian2 as b2

        names = []
        if "spike" in self.tallied.events:
            self.add(b2.SpikeMonitor(self.tallied, name="watched_spikes"))
            names += ["watched_spikes.t", "watched_spikes.i"]
        if variables:
            self.add(b2.StateMonitor(self.tallied, list(variables), record=neurons, name="watched"))
            names += [f"watched.{name}" for name in variables]
        return names

    def answer(self, group: Any, event: str = "spike") -> None:
        """Count the events of a group as the answer that decides whether an image is shown again."""
        import brian2 as b2

        synapses = b2.Synapses(group, self.presenter, on_pre="answer_post += 1", on_event=event, name="to_presenter")
        synapses.connect(j="i" if self.layout.neurons == 1 else f"i // {self.layout.neurons}")
        self.add(synapses)
