"""The Diehl-Cook network against analytic answers, on the slow and simple engine."""

from __future__ import annotations

import numpy as np
import pytest

import biorep
from biorep.context import RunContext
from biorep.errors import ConfigError, DataError, SplitError
from biorep.networks.base import report_of
from biorep.networks.brian import ensemble as ensembles
from biorep.networks.brian import simulation
from biorep.networks.brian.ensemble import Member, ensemble

NUMPY = RunContext(engine="runtime-numpy")
#: Images: as few as tell something, because each chunk of the slow engine costs a second.
N = 8
SMALL = {
    "units": 6,
    "peak_rate": 300.0,
    "norm": 6.0,
    "stimulus_duration": 30.0,
    "rest_duration": 10.0,
    "min_spikes": 2,
    "max_tries": 3,
}


def _network(**settings):
    return biorep.network("diehl-cook", **{**SMALL, **settings})


@pytest.fixture(scope="module")
def images():
    generator = np.random.default_rng(0)
    labels = np.arange(N) % 2
    values = generator.random((N, 4, 4)) * 0.4
    values[labels == 1, :2] += 0.5
    return biorep.datasets.from_arrays(values, labels, class_names=["low", "high"])


@pytest.fixture(scope="module")
def state(images):
    return _network().fit(images, seed=0, context=NUMPY)


def test_learning_keeps_weight_sums_and_raises_thresholds(state):
    weights = state["weights"].values
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(1), 6.0, rtol=1e-12)
    assert state["theta"].values.max() > 20.0
    decayed = 20.0 * np.exp(-int(report_of(state)["slots"]) * 40 / 1e7)
    assert state["theta"].values.min() >= decayed * (1 - 1e-12)
    assert state.sizes["shown"] == 1
    assert _network().numbers(state) == {"used": report_of(state)["share_used"]}
    assert state.attrs["engine"] == "runtime-numpy"


def test_threshold_decays_once_per_slot(images):
    """Without spikes the threshold decays with its time constant, over the live slots alone."""
    network = _network(theta_start=1000.0, theta_decay=500.0, max_tries=1)
    theta = network.fit(images, seed=0, context=NUMPY)["theta"].values
    np.testing.assert_allclose(theta, 1000.0 * np.exp(-N * 40 / 500), rtol=1e-9)


def test_chunks_and_copies_change_nothing_learnt(images, state, monkeypatch):
    monkeypatch.setattr(simulation, "CHUNKS", (3,))
    chunked = _network().fit(images, seed=0, context=NUMPY)
    assert chunked.drop_vars("mean_theta").equals(state.drop_vars("mean_theta"))
    other = _network(theta_plus=1.0)
    states = ensemble([Member(_network(), 0), Member(_network(), 1), Member(other, 0)], images, context=NUMPY)
    alone = [state, _network().fit(images, seed=1, context=NUMPY), other.fit(images, seed=0, context=NUMPY)]
    for together, single in zip(states, alone, strict=True):
        for name in ("weights", "theta", "mean_spikes", "online_accuracy"):
            np.testing.assert_array_equal(together[name].values, single[name].values)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("diehl-cook", {"delay": 5.0, "rule": "triplet"}), ("diehl-cook-current", {"norm": 60.0, "reset_between": False})],
    ids=["delay", "one spike"],
)
def test_chunks_cut_nothing_off(images, monkeypatch, kind, settings):
    """Bit for bit: what lasts from slot to slot is kept from chunk to chunk, per synapse too."""
    network, states = biorep.network(kind, **{**SMALL, "max_tries": 1, **settings}), []
    for slots in (10, 4):
        monkeypatch.setattr(simulation, "CHUNKS", (slots,))
        states.append(network.fit(images, seed=0, context=NUMPY))
    for name in ("weights", "theta", "mean_spikes"):
        np.testing.assert_array_equal(states[0][name], states[1][name])


def test_a_killed_training_goes_on_bit_for_bit(images, state, monkeypatch, tmp_path):
    monkeypatch.setattr(simulation, "CHUNKS", (3,))
    context = RunContext(engine="runtime-numpy", checkpoint=tmp_path, checkpoint_every=0)
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
            _network().fit(images, seed=0, context=context)
    assert (tmp_path / "spiking.pt").is_file()
    resumed = _network().fit(images, seed=0, context=context)
    assert resumed.drop_vars("mean_theta").equals(state.drop_vars("mean_theta"))
    assert not (tmp_path / "spiking.pt").exists()


def test_responses_depend_on_the_image_the_seed_and_the_repeat_alone(images, state, monkeypatch):
    network = _network()
    together = network.encode(state, images, seed=3, repeats=2, context=NUMPY)
    assert together["response"].dims == ("repeat", "presentation", "neuroid")
    order = np.random.default_rng(0).permutation(N)
    monkeypatch.setattr(simulation, "CHUNKS", (4,))
    shuffled = network.encode(state, images.isel(presentation=order), seed=3, repeats=2, copies=3, context=NUMPY)
    np.testing.assert_array_equal(shuffled["response"].values, together["response"].values[:, order])
    single = network.encode(state, images, seed=3, context=NUMPY)
    np.testing.assert_array_equal(single["response"].values, together["response"].values[0])
    second = network.encode(state, images, seed=3, repeats=1, first_repeat=1, context=NUMPY)
    np.testing.assert_array_equal(second["response"].values[0], together["response"].values[1])
    other = network.encode(state, images, seed=4, context=NUMPY)
    assert (other["response"].values != single["response"].values).any()
    assert (together["response"].values[0] != together["response"].values[1]).any()


def test_carry_over_is_order_dependent(images, state):
    network = _network(carry_over=True, rest_duration=0.0)
    forward = network.encode(state, images, seed=0, context=NUMPY)["response"].values
    backward = network.encode(state, images.isel(presentation=slice(None, None, -1)), seed=0, context=NUMPY)
    assert (backward["response"].values[::-1] != forward).any()


def test_pooled_inhibition_equals_direct_inhibition(images):
    states = [_network(inhibition=kind).fit(images, seed=0, context=NUMPY) for kind in ("pool", "direct")]
    np.testing.assert_array_equal(states[0]["mean_spikes"], states[1]["mean_spikes"])
    np.testing.assert_allclose(states[0]["weights"], states[1]["weights"], rtol=1e-10)
    assert states[0]["mean_spikes"].values[0] > 1


@pytest.mark.parametrize(
    "settings",
    [
        {"inhibition": "layer"},
        {"rule": "triplet"},
        {"rule": "target"},
        {"delay": 5.0},
    ],
    ids=lambda settings: next(iter(settings)) + "-" + str(next(iter(settings.values()))),
)
def test_variants_learn_and_answer(images, state, settings):
    network = _network(**{"min_spikes": 0, **settings})
    learnt = network.fit(images, seed=0, context=NUMPY)
    assert np.isfinite(learnt["weights"].values).all()
    assert not np.allclose(learnt["weights"].values, state["weights"].values)
    assert network.encode(learnt, images, context=NUMPY)["response"].values.sum() > 0


def test_dark_images_get_no_answer_and_a_warning(state):
    dark = biorep.datasets.from_arrays(np.zeros((3, 4, 4)), [0, 1, 0])
    result = _network().encode(state, dark, context=NUMPY)
    assert (result["response"].values == 0).all()
    assert (result["tries"].values == 3).all()
    assert "100 % of the images got no spike" in result.attrs["warnings"]


def test_steps_longer_than_a_time_constant_are_warned_of_with_the_number(images):
    coarse = _network(dt=1.5, stimulus_duration=60.0, rest_duration=21.0).fit(images, seed=0, context=NUMPY)
    assert (
        "dt = 1.5 ms is not shorter than the time constant of the excitatory conductance, 1" in coarse.attrs["warnings"]
    )
    assert "inhibitory conductance" not in coarse.attrs["warnings"]


def test_bad_input_is_refused(images, state):
    negative = images.assign(image=images["image"] - 1)
    negative["image"].attrs = images["image"].attrs
    with pytest.raises(DataError, match="outside their stated value_range"):
        _network().fit(negative, seed=0, context=NUMPY)
    with pytest.raises(ConfigError, match="units"):
        _network(units=0)
    with pytest.raises(ConfigError, match="delay = 20"):
        _network(delay=20.0)
    with pytest.raises(ConfigError, match="unknown engine 'cpp'"):
        _network().fit(images, seed=0, context=RunContext(engine="cpp"))
    with pytest.raises(ConfigError, match="has no preactivation"):
        _network().encode(state, images, quantity="preactivation", context=NUMPY)
    with pytest.raises(ConfigError, match="repeats must be at least 1"):
        _network().encode(state, images, repeats=0, context=NUMPY)
    with pytest.raises(ConfigError, match="differ in 'units'"):
        ensemble([Member(_network(), 0), Member(_network(units=7), 0)], images, context=NUMPY)
    with pytest.raises(ConfigError, match=r"unknown layer of 'diehl-cook' 'inhibitory'.*excitatory"):
        _network().encode(state, images, layer="inhibitory", context=NUMPY)
    with pytest.raises(SplitError):
        _network().fit(images.assign_coords(split=("presentation", ["test"] * N)), seed=0, context=NUMPY)


def test_saturated_weights_are_counted_before_they_are_scaled():
    """Of 4 x 3 weights 5 are at w_max, however small the sum is that they are scaled to."""
    network = _network(units=3, norm=0.5)
    weights = np.full(12, 0.2)
    weights[[0, 3, 4, 7, 11]] = 1.0
    arrays = {"feedforward.w": weights, "excitatory.theta": np.zeros(3)}
    assert network.report(network.learnt(arrays, 4), arrays) == {"share_weights_saturated": pytest.approx(5 / 12)}


def test_weights_above_the_largest_one_do_not_grow_by_the_rule_with_a_soft_bound(images):
    """Scaling to a sum of 15 lifts weights above 1; the root of what is left to 1 would not be a number."""
    learnt = _network(rule="target", norm=15.0, min_spikes=0).fit(images, seed=0, context=NUMPY)
    assert np.isfinite(learnt["weights"].values).all()


def test_the_current_based_network_learns_draws_as_before_and_answers(images):
    network = biorep.network("diehl-cook-current", units=6, dt=0.5, stimulus_duration=30.0, peak_rate=300.0, norm=60.0)
    state = network.fit(images, seed=0, context=NUMPY)
    first = network.initial(16, 0)
    np.testing.assert_array_equal(first["feedforward.w"], _network().initial(16, 0)["feedforward.w"])
    assert not np.allclose(state["weights"], network.learnt(first, 16)["weights"])
    assert network.encode(state, images, context=NUMPY)["response"].values.sum() > 0
    assert {"diehl-cook-current", "presentation"} <= set(network.all_versions())


def test_figures_of_a_table_show_learning_answers_and_fields(images, state):
    import xarray as xr

    answers = xr.Dataset(
        {"response": (("presentation", "neuroid"), np.ones((2, 6)))}, {"object_name": ("presentation", ["a", "b"])}
    )
    rows = {
        "one": [xr.DataTree.from_dict({"/": state, "representation": answers})] * 2,
        "two": [xr.DataTree(state)],
    }
    drawings = list(_network().figures(rows))
    assert [drawing.name for drawing in drawings] == ["learning", "occupancy-one", "fields-one", "fields-two"]
    assert len(drawings[0].figure.axes[0].lines) == 3
