"""Feed images to a program, chunk after chunk, and collect the answers.

The state that crosses the border between two chunks is complete, so a simulation that was cut into chunks, or killed
and resumed at the end of a chunk, ends with the same state, bit for bit, as one that was not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from biorep.context import RunContext
from biorep.engines.layout import Layout
from biorep.engines.programs import Arrays, Program, Report


@dataclass(frozen=True)
class Showing:
    """What one copy is shown, in order.

    Parameters
    ----------
    images : (image, input) array
        Between 0 and 1 for spiking input.
    order : (presentation,) int array
        Which images, one after the other.
    keys : (presentation, 2) int array
        Keys of the draws of each presentation, see `biorep.engines.counter.draw_key`.
    """

    images: np.ndarray
    order: np.ndarray
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.order)


@dataclass
class Progress:
    """Where a simulation stands at the end of a chunk: with this it can be resumed.

    Parameters
    ----------
    state : dict of str to array
        Everything that crosses the border, the learnt arrays included.
    position : (copy,) int array
        Presentations that are finished.
    slots : (copy,) int array
        Slots that were used.
    """

    state: Arrays
    position: np.ndarray
    slots: np.ndarray

    @classmethod
    def start(cls, state: Mapping[str, np.ndarray], copies: int, max_tries: int) -> Progress:
        """Return the progress before the first slot."""
        presenter = {
            "presenter.tries": np.full(copies, max_tries),  # so that the first slot moves to the first image
            "presenter.gain": np.ones(copies),
            "presenter.answer": np.zeros(copies),
            "presenter.live": np.zeros(copies),  # no slot has ended before the first one
        }
        return cls({**state, **presenter}, np.zeros(copies, int), np.zeros(copies, int))


@dataclass
class Answers:
    """The answers of one copy in one chunk.

    Parameters
    ----------
    presentation : (answer,) int array
        Index into the order of its `Showing`.
    counts : dict of str to (answer, neuron) array
        Layer -> its recorded variable at the end of the accepted slot.
    tries : (answer,) int array
        How often the image was shown.
    slot : (answer,) int array
        The accepted slot, counted from the start of the chunk.
    """

    presentation: np.ndarray
    counts: dict[str, np.ndarray]
    tries: np.ndarray
    slot: np.ndarray

    @property
    def count(self) -> np.ndarray:
        """The network's answer, (answer, neuron): of the first layer."""
        return next(iter(self.counts.values()))


@dataclass
class Feeder:
    """One simulation over lists of presentations, one list per copy.

    Parameters
    ----------
    program : Program
    showings : sequence of Showing
        One per copy.
    parameters : mapping of str to array
        Values of variables that do not change, for example ``"input.peak_rate"``.
        ``"presenter.min_spikes"``, the spikes that an image has to be answered by (0: it is never shown again), and
        ``"presenter.gain_step"``, by which the gain of the input rises with every try, belong to them.
    layers : sequence of str, optional
        Recorded layers whose answers are read; the first one of the program by default.
    watched : sequence of str
        Further variables to read at the end of each chunk, into `seen`.
    """

    program: Program
    showings: Sequence[Showing]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    layers: Sequence[str] = ()
    watched: Sequence[str] = ()
    seen: Arrays = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert len(self.showings) == self.program.layout.copies
        least = self.parameters.get("presenter.min_spikes", 0.0)
        self.min_spikes = np.broadcast_to(np.asarray(least, float), self.program.layout.copies)
        self.layers = tuple(self.layers) or tuple(self.program.layers)[:1]

    @property
    def layout(self) -> Layout:
        """Shape of the simulation."""
        return self.program.layout

    def start(self, state: Mapping[str, np.ndarray]) -> Progress:
        """Return the progress before the first slot: fast variables at rest, learnt ones as given, of all copies."""
        rest = {name: np.full(self.program.size(name), value) for name, value in self.program.rest.items()}
        return Progress.start({**rest, **state}, self.layout.copies, self.layout.max_tries)

    def finished(self, progress: Progress) -> bool:
        """Return whether every copy has been shown its list."""
        return all(done >= len(showing) for done, showing in zip(progress.position, self.showings, strict=True))

    def run(self, progress: Progress, label: str, context: RunContext) -> Iterator[tuple[Progress, list[Answers]]]:
        """Yield progress and answers at the end of each chunk until every list is done."""
        total = max(len(showing) for showing in self.showings)
        with context.meter(label, total) as show:
            while not self.finished(progress):
                begin = int(progress.position.min())

                def report(share: float, begin: int = begin) -> None:
                    show(min(total, begin + int(share * self.layout.slots)))

                progress, answers = self.chunk(progress, report)
                show(int(progress.position.min()))
                yield progress, answers

    def chunk(self, progress: Progress, report: Report | None = None) -> tuple[Progress, list[Answers]]:
        """Simulate one chunk from `progress` and return the progress at its end and the answers of each copy."""
        layout, copies = self.layout, self.layout.copies
        images, keys, row, stop = self._tables(progress)
        state_names = self.program.state
        values = {
            **{name: np.asarray(value) for name, value in self.parameters.items()},
            **progress.state,
            "images.values": images,
            "keys.values": keys,
            "presenter.row": row,
            "presenter.stop": stop,
        }
        recorded = {layer: self.program.layers[layer] for layer in self.layers}
        monitors = {layer: f"answers_{layer}.{name.partition('.')[2]}" for layer, name in recorded.items()}
        read = [*state_names, "presenter.row", "shown.row", "shown.tries", *monitors.values(), *self.watched]
        found = self.program.run(values, read, report)
        self.seen = {name: found[name] for name in self.watched}
        state = {name: found[name] for name in state_names}
        # A monitor records at the start of a slot what the slot before it has left.
        counts = {
            layer: np.concatenate([found[monitors[layer]][1:], found[name][None]]).reshape(layout.slots, copies, -1)
            for layer, name in recorded.items()
        }
        result = Progress(state, progress.position.copy(), progress.slots.copy())
        answers = []
        for copy in range(copies):
            first = copy * layout.slots
            rows, tries = found["shown.row"][:, copy].astype(int), found["shown.tries"][:, copy].astype(int)
            live = rows < stop[copy]
            answer = float(state["presenter.answer"][copy])
            ended = answer >= self.min_spikes[copy] or int(state["presenter.tries"][copy]) >= layout.max_tries
            # The last slot of an image holds its answer, unless the chunk ends while it is to be shown again.
            last = live & np.append(rows[1:] != rows[:-1], ended)
            chosen = np.flatnonzero(last)
            presentation = progress.position[copy] + rows[chosen] - first
            part = {layer: values[chosen, copy] for layer, values in counts.items()}
            answers.append(Answers(presentation, part, tries[chosen], chosen))
            result.position[copy] = presentation[-1] + 1 if len(chosen) else progress.position[copy]
            result.slots[copy] += int(live.sum())
        return result, answers

    def _tables(self, progress: Progress) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the image table, the key table, and each copy's row and first row that is not shown."""
        layout = self.layout
        images = np.zeros((layout.rows, layout.inputs))
        keys = np.zeros((layout.rows, 2))
        row, stop = np.zeros(layout.copies, int), np.zeros(layout.copies, int)
        for copy, showing in enumerate(self.showings):
            first, start = copy * layout.slots, int(progress.position[copy])
            part = slice(start, start + layout.slots)
            chosen = showing.order[part]
            images[first : first + len(chosen)] = showing.images[chosen]
            keys[first : first + len(chosen)] = showing.keys[part]
            # The presenter moves on if the last image has got its answer: then it stands before the first row.
            tries, answer = progress.state["presenter.tries"][copy], progress.state["presenter.answer"][copy]
            moves_on = answer >= self.min_spikes[copy] or tries >= layout.max_tries
            row[copy] = first - int(moves_on)
            stop[copy] = first + len(chosen)
        return images, keys, row, stop
