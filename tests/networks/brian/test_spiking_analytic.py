"""Neuron and synapse of the Diehl-Cook network against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

import biorep
from biorep.engines import prepare
from biorep.engines.chunks import Feeder, Showing
from biorep.engines.layout import Layout
from biorep.engines.programs import brian_device

STEP = 0.5


@pytest.mark.parametrize("conductance", [0.0, 0.3, 0.6, 1.5])
def test_firing_rate_of_the_membrane_under_constant_conductance(conductance):
    """The implicit step is linear: v_n = v_inf + (v_0 - v_inf) / (1 + a G)^n, so the interval is known to the step."""
    import brian2 as b2

    network = biorep.network("diehl-cook", units=1)
    threshold, rest, share = -52.0, -65.0, STEP / 100
    with brian_device("runtime", codegen__target="numpy"):
        b2.defaultclock.dt = STEP * b2.ms
        group = b2.NeuronGroup(
            1,
            "v : volt\npause : 1\nge : 1 (constant)\ngi : 1 (constant)",
            threshold="v > -52*mV and pause <= 0",
            reset="v = -65*mV; pause = 10",
            name="cell",
        )
        membrane = network.cell.membrane.format(a=share, decay="", own="")
        group.run_regularly(membrane, when="groups", order=-1, name="membrane")
        group.v, group.ge = rest * b2.mV, conductance
        spikes = b2.SpikeMonitor(group, name="spikes")
        b2.Network(group, spikes).run(400 * b2.ms, namespace={})
        steps = np.rint(np.asarray(spikes.t) / (STEP * 1e-3)).astype(int)
    total = 1 + conductance
    limit = rest / total
    if limit <= threshold:
        assert len(steps) == 0
        return
    needed = np.log((rest - limit) / (threshold - limit)) / np.log1p(share * total)
    first = int(np.floor(needed)) + 1  # the first step that lies above the threshold
    assert steps[0] == first - 1
    assert set(np.diff(steps)) == {first + 9}  # the membrane moves again in the tenth step after a spike


@pytest.mark.parametrize(("after", "reset"), [(0, False), (3, False), (17, False), (60, False), (0, True)])
def test_weight_change_of_one_pair_of_spikes(after, reset):
    """The input spikes in step 0 of two slots, the neuron once, in step `after` of the first."""
    steps = 80
    network = biorep.network(
        "diehl-cook",
        units=1,
        norm=0.5,
        stimulus_duration=STEP,
        rest_duration=(steps - 1) * STEP,
        peak_rate=1e3 / STEP,
        theta_plus=1e6,
        potentiation=0.02,
        depression=0.003,
        min_spikes=0,
        max_tries=1,
        reset_between=reset,
    )
    values = {}
    for slots in (1, 2):
        program = prepare(network.blueprint(Layout(network.timing(), 1, 1, 1, slots, 1), True), "runtime-numpy")
        showing = Showing(np.ones((1, 1)), np.zeros(slots, int), np.zeros((slots, 2)))
        feed = Feeder(program, [showing], {name: np.asarray(v) for name, v in network.parameters(True).items()})
        initial = network.initial(1, 0)
        initial |= {
            "feedforward.w": np.array([0.5]),
            "excitatory.theta": np.array([-1.0]),  # it spikes as soon as it may
            "excitatory.pause": np.array([after + 1.0]),
        }
        progress, (answers,) = feed.chunk(feed.start(initial))
        assert answers.count[0] == 1
        values[slots] = float(progress.state["feedforward.w"][0])
    # In the same step the weight is read before the trace of the input spike is set.
    trace = np.exp(-after * STEP / 20) if after else 0.0
    assert values[1] == pytest.approx(0.5 + 0.02 * trace, rel=1e-12)
    # At the second onset the weight is scaled to its sum; then the input spike finds the trace of the neuron, unless
    # the network has been put to rest, with its traces.
    left = 0.0 if reset else np.exp(-(steps - after) * STEP / 20)
    assert values[2] == pytest.approx(0.5 - 0.003 * left, rel=1e-12)


@pytest.mark.parametrize("rule", ["pair", "triplet", "target"])
@pytest.mark.parametrize(("after", "late"), [(3, 5), (5, 5), (9, 5), (40, 0)])
def test_a_delayed_spike_leaves_its_trace_when_it_arrives(rule, after, late):
    """The input spikes in step 0 and is `late` steps late; the neuron spikes in step `after`, also of the next slot."""
    steps, a = 60, STEP / 20
    network = biorep.network(
        "diehl-cook",
        units=1,
        rule=rule,
        norm=0.5,
        stimulus_duration=STEP,
        rest_duration=(steps - 1) * STEP,
        peak_rate=1e3 / STEP,
        potentiation=0.02,
        depression=0.0,
        theta_plus=1e6,
        min_spikes=0,
        max_tries=1,
        delay=10.0,
    )
    program = prepare(network.blueprint(Layout(network.timing(), 1, 1, 1, 1, 1), True), "runtime-numpy")
    showing = Showing(np.array([[1.0], [0.0]]), np.arange(2), np.zeros((2, 2)))
    feed = Feeder(program, [showing], {name: np.asarray(v) for name, v in network.parameters(True).items()})
    progress = feed.start(network.initial(1, 0) | {"feedforward.delay": np.array([late * STEP * 1e-3])})
    weight = 0.5
    for slot in range(2):
        # A threshold below rest until the first spike lifts it, and a pause that ends in step `after`.
        progress.state |= {
            "feedforward.w": np.array([0.5]),
            "excitatory.theta": np.array([-1.0]),
            "excitatory.pause": np.array([after + 1.0]),
        }
        if rule == "triplet":
            progress.state["excitatory.y2"] = np.array([np.exp((after + 1) * STEP / 40)])  # 1 when it is read
        progress, (answers,) = feed.chunk(progress)
        trace = np.exp(-(slot * steps + after - late) * a) if slot * steps + after > late else 0.0
        change = 0.02 * ((trace - 0.4) * 0.5**0.2 if rule == "target" else trace)
        found = float(progress.state["feedforward.w"][0]) - weight
        assert answers.count[0] == 1
        assert found == pytest.approx(change, rel=1e-9, abs=1e-15)
