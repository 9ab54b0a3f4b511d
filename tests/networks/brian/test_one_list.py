"""The one list of variables that last: what every image finds at rest, in any order, in copies, and as layers."""

from __future__ import annotations

import functools
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings, strategies
from variants import images, variants

import biorep
from biorep import datasets
from biorep.config import setting
from biorep.context import RunContext
from biorep.engines.chunks import Showing
from biorep.errors import ConfigError
from biorep.networks.base import flat_images
from biorep.networks.brian.recording import record
from biorep.networks.brian.simulation import encoding_keys, feeder
from biorep.networks.brian.spiking import SpikingNetwork

NUMPY = RunContext(engine="runtime-numpy")
RESET = dict(variants(reset_between=True))
#: Frozen networks know no rule.
FROZEN = {name: network for name, network in RESET.items() if network.rule == "pair"}
OTHERS = {
    "sailnet": biorep.network("sailnet", units=5, theta_start=0.3, stimulus_duration=20),
    "competing-rates": biorep.network("competing-rates", units=5, dt=1.0, stimulus_duration=20.0),
}


def state_of(network, inputs=9):
    """Return a state that has learnt nothing, with thresholds that are soon reached."""
    arrays = network.initial(inputs, 0)
    if "excitatory.theta" in arrays:
        arrays["excitatory.theta"] = np.linspace(0.0, 2e-3, network.units)
    return network.learnt(arrays, inputs)


def fed(network, orders, *, learn, slots):
    """Return the answers to images in several orders, one per copy, in chunks of so many slots, and the last state."""
    from biorep.networks.brian import simulation

    data = images()
    rows, keys = network.prepare_images(flat_images(data)), encoding_keys(network.draws, data, 0)
    showings = [Showing(rows, np.asarray(order), keys[order]) for order in orders]
    with mock.patch.object(simulation, "CHUNKS", (slots,)):
        feed = feeder([network] * len(orders), showings, rows.shape[1], learn=learn, context=NUMPY)
    start = network.initial(9, 0) if learn else {}
    start |= dict(network.frozen(state_of(network)))
    progress = feed.start({name: np.concatenate([values] * len(orders)) for name, values in start.items()})
    counts = np.zeros((len(orders), len(data["image"]), network.units))
    latest = progress
    for now, answers in feed.run(progress, "test", NUMPY):
        latest = now
        for copy, (order, answer) in enumerate(zip(orders, answers, strict=True)):
            counts[copy, np.asarray(order)[answer.presentation]] = answer.count
    return counts, latest.state, feed.program


@functools.cache
def answers_in_order(name):
    """Return the answers of a frozen network to the images in their own order, in one chunk."""
    (answers,), _, _ = fed((FROZEN | OTHERS)[name], [range(6)], learn=False, slots=6)
    assert (answers.sum(1) > 0).sum() >= 3
    return answers


ANY_ORDER = strategies.tuples(strategies.permutations(range(6)), strategies.integers(2, 7))


def check_order(name, order, slots):
    """Two copies see the images in two orders: after another image, every image finds the same network."""
    both, _, _ = fed((FROZEN | OTHERS)[name], [order, order[::-1]], learn=False, slots=slots)
    for answers in both:
        np.testing.assert_array_equal(answers, answers_in_order(name))


@settings(max_examples=5, deadline=None, derandomize=True)
@given(name=strategies.sampled_from([*FROZEN, *OTHERS]), shown=ANY_ORDER)
def test_frozen_answers_depend_neither_on_the_order_of_the_images_nor_on_the_chunks(name, shown):
    check_order(name, *shown)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FROZEN, *OTHERS])
@settings(max_examples=3, deadline=None, derandomize=True)
@given(shown=ANY_ORDER)
def test_frozen_answers_of_every_variant_do_not_depend_on_the_order(name, shown):
    check_order(name, *shown)


def of_all(networks):
    """Return parameters of a test: a few, so that each pair of settings is in one, and the others as slow ones."""
    rules, inhibitions, neurons = (
        ("pair", "triplet", "target"),
        ("pool", "direct", "layer"),
        ("conductance", "all", "one"),
    )
    few = []
    for name, network in networks.items():
        neuron = next((word for word in neurons if word in name.split("-")), "")
        places = rules.index(network.rule) + inhibitions.index(network.inhibition) + neurons.index(neuron)
        few += [name] if places % 3 == 0 and (network.delay > 0) is (neuron == "conductance") else []
    return [pytest.param(name, marks=[] if name in few else pytest.mark.slow) for name in networks]


@pytest.mark.parametrize("name", [*of_all(RESET), *OTHERS])
def test_after_an_image_every_fast_variable_is_at_rest_again(name):
    """A slot without an image follows each image of a copy whose list has ended: what it finds, it leaves."""
    _, state, program = fed((RESET | OTHERS)[name], [[0]], learn=True, slots=2)
    assert set(program.rest) <= set(program.state)
    for variable, rest in program.rest.items():
        if not variable.endswith(".pause"):  # so that the copy stays at rest
            np.testing.assert_array_equal(state[variable], rest, err_msg=variable)
    assert len(program.rest) >= 2


def test_without_a_reset_the_network_goes_on_where_it_was():
    network = FROZEN["conductance-pair-pool-prompt"].model_copy(update={"carry_over": True})
    _, state, program = fed(network, [[0]], learn=False, slots=2)
    assert any((state[name] != rest).any() for name, rest in program.rest.items() if not name.endswith(".pause"))


@pytest.mark.parametrize(
    "name",
    [
        "conductance-pair-pool-prompt",
        "conductance-pair-layer-delay",
        "current-pair-pool-prompt-one",
        "current-pair-layer-prompt-one",
        "sailnet",
    ],
)
def test_recorded_spikes_sum_to_the_counts_of_every_layer(name, monkeypatch):
    from biorep.networks.brian import simulation

    monkeypatch.setattr(simulation, "CHUNKS", (6,))
    network, data = (FROZEN | OTHERS)[name], images()
    state = state_of(network)
    state.attrs["image_shape"] = [3, 3]
    counts = network.encode_layers(state, data, seed=2, context=NUMPY)
    assert tuple(counts) == network.layers(state) == SpikingNetwork.layers(network, state)
    for layer, answers in counts.items():
        found = record(network, state, data, layer=layer, variables=(), seed=2, context=NUMPY)
        seen = np.zeros((6, answers.sizes["neuroid"]))
        np.add.at(seen, (found["spike_presentation"].values, found["spike_neuroid"].values), 1)
        np.testing.assert_array_equal(seen, answers["response"])
        assert seen.sum() > 0
        assert answers.attrs["layer"] == layer
    if len(counts) > 1:
        first, other = counts.values()
        assert network.encode(state, data, seed=2, context=NUMPY).identical(first)
        assert network.encode(state, data, layer="inhibitory", seed=2, context=NUMPY).identical(other)


def test_of_equal_neurons_one_sends_its_spike():
    """Equal weights and thresholds: all cross in the same step, and a draw of the showing decides."""
    network = FROZEN["current-pair-direct-prompt-one"].model_copy(update={"inhibition_strength": 0.0})
    state = state_of(network)
    state["weights"][:], state["theta"][:] = state["weights"].mean(), 0.0
    counts = network.encode(state, images(), context=NUMPY)["response"].values
    found = record(network, state, images(), variables=(), context=NUMPY)
    pairs = np.stack([found["spike_presentation"], found["spike_time"]], 1)
    assert len(np.unique(pairs, axis=0)) == len(pairs) > 10
    assert len(set(counts.argmax(1))) > 1


class TwoGroups(SpikingNetwork):
    """Relays: each neuron of both groups counts the spikes of its input, in the second group those of the next one."""

    kind: str = "two-groups"
    units: int = setting(4)
    dt: float = setting(1.0)
    stimulus_duration: float = setting(20.0)
    rest_duration: float = setting(0.0)
    max_tries: int = setting(1)
    forgets: bool = setting(False)
    ignores_copies: bool = setting(False)
    dice: str = setting("")

    def build(self, circuit, learn):
        import brian2 as b2

        source = circuit.poisson_input()
        copies = 1 if self.ignores_copies else circuit.layout.copies
        for name, shift in (("first", 0), ("second", 1)):
            noise = " + xi/sqrt(ms)" if self.dice == "noise" else ""
            equations = f"du/dt = 0/ms{noise} : 1\ncount : 1\ntau : second (constant)"
            group = b2.NeuronGroup(4 * copies, equations, method="euler", name=name)
            wires = b2.Synapses(source, group, on_pre="count_post += 1; u_post += 1", name=f"to_{name}")
            chance = {"p": 0.5} if self.dice == "connect" else {}
            wires.connect(j=f"(i + {shift}) % 4 + 4*(i // 4)", skip_if_invalid=True, **chance)
            circuit.add(group, wires)
            circuit.tally(group, name=f"{name}_layer")
            if self.dice == "rand":
                group.run_regularly("u += rand()")
            if self.dice == "clock":
                circuit.add(b2.SpikeGeneratorGroup(1, [0], [10] * b2.ms, name=f"clock_{name}"))
            if not self.forgets:
                circuit.keep(f"{name}.u", rest=0)

    def parameters(self, learn):
        return {"input.peak_rate": 300.0}

    def initial(self, inputs, seed):
        return {}

    def learnt(self, arrays, inputs):
        import xarray as xr

        return xr.Dataset()

    def frozen(self, state):
        return {}


def test_several_populations_are_recorded_by_name():
    network, data = TwoGroups(), datasets.from_arrays(np.random.default_rng(0).random((3, 2, 2)))
    state = network.fit(data, seed=0, context=NUMPY)
    assert network.layers(state) == ("first_layer", "second_layer")
    both = network.encode_layers(state, data, context=NUMPY)
    first, second = (both[f"{name}_layer"]["response"].values for name in ("first", "second"))
    np.testing.assert_array_equal(np.roll(first, 1, axis=1), second)
    assert first.sum() > 10
    beside = network.encode(state, data, layer="second_layer", copies=2, context=NUMPY)
    np.testing.assert_array_equal(beside["response"], second)
    found = record(network, state, data, layer="second_layer", variables=["u"], context=NUMPY)
    trace = found["u"].values  # at the start of each step: zero at the onset, without the spikes of the last step
    assert (trace[:, :, 0] == 0).all()
    assert ((second - trace[:, :, -1] >= 0) & (second - trace[:, :, -1] <= 1)).all()
    with pytest.raises(ConfigError, match=r"unknown layer of 'two-groups' 'third'.*first_layer, second_layer"):
        network.encode(state, data, layer="third", context=NUMPY)


def test_mistakes_in_a_network_of_ones_own_are_named():
    data = datasets.from_arrays(np.random.default_rng(0).random((3, 2, 2)))
    with pytest.raises(ConfigError, match=r"first\.u, second\.u can change.*circuit\.keep\('first\.u', rest=\.\.\.\)"):
        TwoGroups(forgets=True).fit(data, seed=0, context=NUMPY)
    network = TwoGroups(ignores_copies=True)
    state = network.fit(data, seed=0, context=NUMPY)
    with pytest.raises(ConfigError, match="has 4 neurons for 2 copies. Ask for copies=1"):
        network.encode(state, data, copies=2, context=NUMPY)
    with pytest.raises(ConfigError, match="'units' says 3"):
        TwoGroups(units=3).fit(data, seed=0, context=NUMPY)


@pytest.mark.parametrize(
    ("dice", "match"),
    [
        ("connect", r"connect\(\) of 'to_first' draws connections at random.*biorep\.rng\.stream"),
        ("rand", r"'first' draws Brian2's own random numbers \(u \+= rand\(\)"),
        ("noise", r"'first' has white noise \(xi\)"),
        ("clock", r"SpikeGeneratorGroup 'clock_first' starts with each chunk of images"),
    ],
)
def test_what_differs_from_simulation_to_simulation_is_refused(dice, match):
    data = datasets.from_arrays(np.random.default_rng(0).random((3, 2, 2)))
    with pytest.raises(ConfigError, match=match):
        TwoGroups(dice=dice).fit(data, seed=0, context=NUMPY)
