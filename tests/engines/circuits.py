"""Small circuits for the tests of the engines."""

from __future__ import annotations

import numpy as np

from biorep.engines import Blueprint, prepare
from biorep.engines.chunks import Feeder, Showing
from biorep.engines.counter import draw_key
from biorep.engines.layout import Layout, Timing


def relay(circuit):
    """Every input spike is counted by a neuron of its own: the recorded counts are those of the input."""
    import brian2 as b2

    source = circuit.poisson_input()
    group = b2.NeuronGroup(circuit.layout.copies * circuit.layout.neurons, "count : 1", name="relay")
    synapses = b2.Synapses(source, group, on_pre="count_post += 1", name="wires")
    synapses.connect(j="i")
    circuit.add(group, synapses)
    circuit.tally(group)
    circuit.answer(source)


def chance(seed):
    """Return the builder of neurons that spike by Brian2's own `rand()`, with p = 0.2 per step, whatever is shown."""

    def build(circuit):
        import brian2 as b2

        source = circuit.poisson_input()
        b2.seed(seed)
        group = b2.NeuronGroup(
            circuit.layout.copies * circuit.layout.neurons,
            "count : 1",
            threshold="rand() < 0.2",
            reset="count += 1",
            name="chance",
        )
        circuit.add(group)
        circuit.tally(group)
        circuit.answer(source)

    return build


def showing(images, seed=0, order=None):
    order = np.arange(len(images)) if order is None else np.asarray(order)
    return Showing(np.asarray(images, float), order, np.array([draw_key(seed, int(k)) for k in order]))


def relayed(
    images,
    *,
    engine="runtime-numpy",
    slots=4,
    min_spikes=0.0,
    max_tries=1,
    peak_rate=100.0,
    showings=None,
    timing=None,
    build=relay,
):
    """Show images to a circuit; return counts and tries per presentation of each copy, and the slots used."""
    showings = showings or [showing(images)]
    inputs = np.shape(images)[1]
    timing = timing or Timing(1.0, 50.0, 10.0)
    layout = Layout(timing, inputs, inputs, len(showings), slots, max_tries)
    program = prepare(Blueprint(layout, build), engine)
    gain = {"presenter.min_spikes": min_spikes, "presenter.gain_step": 0.5, "input.peak_rate": peak_rate}
    if len(showings) > 1:
        gain = {name: np.full(program.size(name), value) for name, value in gain.items()}
    feeder = Feeder(program, showings, {name: np.asarray(value) for name, value in gain.items()})
    counts = [np.full((len(s), inputs), -1.0) for s in showings]
    tries = [np.zeros(len(s), int) for s in showings]
    progress = feeder.start({})
    while not feeder.finished(progress):
        progress, answers = feeder.chunk(progress)
        for copy, answer in enumerate(answers):
            counts[copy][answer.presentation] = answer.count
            tries[copy][answer.presentation] = answer.tries
    program.close()
    return counts, tries, progress.slots
