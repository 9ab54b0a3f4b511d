"""The Diehl-Cook network against analytic answers, on the slow and simple engine."""

from __future__ import annotations

import numpy as np
import pytest

import biorep
from biorep.context import RunContext
from biorep.errors import ConfigError, DataError, SplitError
from biorep.networks import ensemble as ensembles
from biorep.networks import spiking
from biorep.networks.base import report_of
from biorep.networks.ensemble import Member, ensemble

NUMPY = RunContext(engine="runtime-numpy")
SMALL = {"units": 6, "peak": 300.0, "norm": 6.0, "stimulus": 30.0, "rest": 10.0, "least": 2, "most_tries": 3}


def _network(**settings):
    return biorep.network("diehl-cook", **{**SMALL, **settings})


@pytest.fixture(scope="module")
def images():
    generator = np.random.default_rng(0)
    labels = np.arange(14) % 2
    values = generator.random((14, 4, 4)) * 0.4
    values[labels == 1, :2] += 0.5
    return biorep.datasets.from_arrays(values, labels, class_names=["low", "high"])


@pytest.fixture(scope="module")
def state(images):
    return _network().fit(images, seed=0, run=NUMPY)


def test_learning_keeps_weight_sums_and_raises_thresholds(state):
    weights = state["weights"].values
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(1), 6.0, rtol=1e-12)
    assert state["theta"].values.max() > 20.0
    assert state["theta"].values.min() >= 20.0 * np.exp(-int(report_of(state)["slots"]) * 40 / 1e7)
    assert state.sizes["shown"] == 1
    assert state.attrs["engine"] == "runtime-numpy"


def test_threshold_decays_once_per_slot(images):
    """Without spikes the threshold decays with its time constant, over the live slots alone."""
    network = _network(theta_start=1000.0, theta_decay=500.0, most_tries=1)
    theta = network.fit(images, seed=0, run=NUMPY)["theta"].values
    np.testing.assert_allclose(theta, 1000.0 * np.exp(-14 * 40 / 500), rtol=1e-9)


def test_chunks_and_copies_change_nothing_learnt(images, state, monkeypatch):
    monkeypatch.setattr(spiking, "CHUNKS", (3,))
    chunked = _network().fit(images, seed=0, run=NUMPY)
    assert chunked.drop_vars("mean_theta").equals(state.drop_vars("mean_theta"))
    other = _network(theta_plus=1.0)
    states = ensemble([Member(_network(), 0), Member(_network(), 1), Member(other, 0)], images, run=NUMPY)
    alone = [state, _network().fit(images, seed=1, run=NUMPY), other.fit(images, seed=0, run=NUMPY)]
    for together, single in zip(states, alone, strict=True):
        for name in ("weights", "theta", "mean_spikes", "online_accuracy"):
            np.testing.assert_array_equal(together[name].values, single[name].values)


def test_a_killed_training_goes_on_bit_for_bit(images, state, monkeypatch, tmp_path):
    monkeypatch.setattr(spiking, "CHUNKS", (3,))
    run = RunContext(engine="runtime-numpy", checkpoint=tmp_path, checkpoint_every=0)
    calls = []

    class Killed(Exception):
        pass

    def save(self, arrays, real=ensembles.Checkpoint.save):
        real(self, arrays)
        calls.append(1)
        if len(calls) == 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ensembles.Checkpoint, "save", save)
        with pytest.raises(Killed):
            _network().fit(images, seed=0, run=run)
    assert (tmp_path / "spiking.npz").is_file()
    resumed = _network().fit(images, seed=0, run=run)
    assert resumed.drop_vars("mean_theta").equals(state.drop_vars("mean_theta"))
    assert not (tmp_path / "spiking.npz").exists()


def test_responses_depend_on_the_image_the_seed_and_the_repeat_alone(images, state, monkeypatch):
    network = _network()
    together = network.encode(state, images, seed=3, repeats=2, run=NUMPY)
    assert together["response"].dims == ("repeat", "presentation", "neuroid")
    order = np.random.default_rng(0).permutation(14)
    monkeypatch.setattr(spiking, "CHUNKS", (4,))
    shuffled = network.encode(state, images.isel(presentation=order), seed=3, repeats=2, copies=3, run=NUMPY)
    np.testing.assert_array_equal(shuffled["response"].values, together["response"].values[:, order])
    single = network.encode(state, images, seed=3, run=NUMPY)
    np.testing.assert_array_equal(single["response"].values, together["response"].values[0])
    other = network.encode(state, images, seed=4, run=NUMPY)
    assert (other["response"].values != single["response"].values).any()
    assert (together["response"].values[0] != together["response"].values[1]).any()


def test_carry_over_is_order_dependent(images, state):
    network = _network(carry_over=True, rest=0.0)
    forward = network.encode(state, images, seed=0, run=NUMPY)["response"].values
    backward = network.encode(state, images.isel(presentation=slice(None, None, -1)), seed=0, run=NUMPY)
    assert (backward["response"].values[::-1] != forward).any()


def test_pooled_inhibition_equals_direct_inhibition(images):
    states = [_network(inhibition=kind).fit(images, seed=0, run=NUMPY) for kind in ("pool", "direct")]
    np.testing.assert_array_equal(states[0]["mean_spikes"], states[1]["mean_spikes"])
    np.testing.assert_allclose(states[0]["weights"], states[1]["weights"], rtol=1e-10)
    assert states[0]["mean_spikes"].values[0] > 1


@pytest.mark.parametrize(
    "settings",
    [
        {"inhibition": "layer"},
        {"rule": "triplet"},
        {"rule": "target"},
        {"synapse": "current", "norm": 60.0},
        {"delay": 5.0},
        {"one_spike": True, "synapse": "current", "norm": 60.0, "inhibition_strength": 2.0},
    ],
    ids=lambda settings: next(iter(settings)) + "-" + str(next(iter(settings.values()))),
)
def test_variants_learn_and_answer(images, state, settings):
    network = _network(**{"least": 0, **settings})
    learnt = network.fit(images, seed=0, run=NUMPY)
    assert np.isfinite(learnt["weights"].values).all()
    assert not np.allclose(learnt["weights"].values, state["weights"].values)
    assert network.encode(learnt, images, run=NUMPY)["response"].values.sum() > 0


def test_dark_images_get_no_answer_and_a_warning(state):
    dark = biorep.datasets.from_arrays(np.zeros((3, 4, 4)), [0, 1, 0])
    result = _network().encode(state, dark, run=NUMPY)
    assert (result["response"].values == 0).all()
    assert (result["tries"].values == 3).all()
    assert "100 % of the images got no spike" in result.attrs["warnings"]


def test_steps_longer_than_a_time_constant_are_warned_of_with_the_number(images):
    coarse = _network(step=1.5, stimulus=60.0, rest=21.0).fit(images, seed=0, run=NUMPY)
    assert (
        "step = 1.5 ms is longer than the time constant of the excitatory conductance, 1 ms" in coarse.attrs["warnings"]
    )
    assert "inhibitory conductance" not in coarse.attrs["warnings"]


def test_bad_input_is_refused(images, state):
    negative = images.assign(image=images["image"] - 1)
    negative["image"].attrs = images["image"].attrs
    with pytest.raises(DataError, match="outside their stated value_range"):
        _network().fit(negative, seed=0, run=NUMPY)
    with pytest.raises(ConfigError, match="units"):
        _network(units=0)
    with pytest.raises(ConfigError, match="delay = 20"):
        _network(delay=20.0)
    with pytest.raises(ConfigError, match="unknown engine 'cpp'"):
        _network().fit(images, seed=0, run=RunContext(engine="cpp"))
    with pytest.raises(ConfigError, match="has no layer 'preactivation'"):
        _network().encode(state, images, layer="preactivation", run=NUMPY)
    with pytest.raises(ConfigError, match="repeats must be at least 1"):
        _network().encode(state, images, repeats=0, run=NUMPY)
    with pytest.raises(ConfigError, match="differ in 'units'"):
        ensemble([Member(_network(), 0), Member(_network(units=7), 0)], images, run=NUMPY)
    with pytest.raises(SplitError):
        _network().fit(images.assign_coords(split=("presentation", ["test"] * 14)), seed=0, run=NUMPY)


def test_one_spike_lets_one_neuron_of_a_step_spike(images):
    """Recorded spikes of the event that synapses see never coincide; without the flag they do."""
    from biorep.engines import Blueprint, prepare
    from biorep.engines.chunks import Feeder
    from biorep.engines.layout import Layout
    from biorep.networks.ensemble import _training_list

    steps = {}
    for one_spike in (False, True):
        network = _network(one_spike=one_spike, synapse="current", norm=60.0, inhibition_strength=0.0, theta_plus=0.0)

        def build(circuit, network=network):
            import brian2 as b2

            network.build(circuit, True)
            circuit.add(b2.EventMonitor(circuit.tallied, network._event, name="events"))

        values = images["image"].values.reshape(14, -1)
        program = prepare(Blueprint(Layout(network.timing(), 16, 6, 1, 10, 3), build), "runtime-numpy")
        parameters = {name: np.asarray(value) for name, value in network.parameters(True).items()}
        feed = Feeder(program, [_training_list(Member(network, 0), values)], parameters, watched=("events.t",))
        feed.chunk(feed.start(network.initial(16, 0)))
        steps[one_spike] = np.rint(feed.seen["events.t"] / 0.5e-3).astype(int)
    assert len(np.unique(steps[False])) < len(steps[False])
    assert len(np.unique(steps[True])) == len(steps[True]) > 10
