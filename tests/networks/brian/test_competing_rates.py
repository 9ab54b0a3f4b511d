"""Competing rates: the closed form, the simulation against it, learning, chunks, and the fast rank rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from biorep import datasets, rng
from biorep.context import RunContext
from biorep.errors import ConfigError
from biorep.networks import network
from biorep.networks.base import report_of, warnings_of
from biorep.networks.brian import simulation
from biorep.networks.brian.closed_form import bounds_report, distance_report, euler_number, steady_state, unsettled
from biorep.networks.brian.competing_rates import CompetingRates
from biorep.networks.brian.ensemble import Member, ensemble
from biorep.networks.brian.rule_comparison import compare_with_rank_rule
from biorep.networks.local.kh_update import Rule, bracket

NUMPY = RunContext(engine="runtime-numpy")
#: Few steps, stable with six units; 40 time constants leave 1e-7 of a deviation at w_inh 0.6.
FAST = {"units": 6, "p": 3.0, "dt": 2.0, "stimulus_duration": 400.0, "init_mean": 0.5, "init_sd": 0.3}
#: Short presentations, for tests of what is learnt.
SHORT = {
    "units": 5,
    "p": 2.0,
    "dt": 1.0,
    "stimulus_duration": 20.0,
    "init_mean": 0.5,
    "init_sd": 0.3,
    "learning_rate": 0.1,
}


@pytest.fixture
def chunks(monkeypatch):
    """A function that sets the number of slots of a chunk."""
    return lambda slots: monkeypatch.setattr(simulation, "CHUNKS", (slots,))


@pytest.fixture(scope="module")
def few():
    """Six images of sixteen pixels."""
    generator = np.random.default_rng(0)
    return datasets.from_arrays(generator.random((6, 4, 4)), np.arange(6) % 2, class_names=["a", "b"])


@pytest.fixture(scope="module")
def trained(few):
    """A trained network with none of the default rules, and its state."""
    net = CompetingRates(
        **{**SHORT, "p": 3.0, "epochs": 2},
        schedule="constant",
        h_star_mode="absolute",
        h_star=0.5,
        radius=1.2,
        w_inh=0.3,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation, "CHUNKS", (12,))
        return net, net.fit(few, seed=3, context=NUMPY)


def untrained(net, images):
    inputs = images["image"][0].size
    return net.learnt(net.initial(inputs, seed=1), inputs)


def currents_of(net, state, images):
    rows = images["image"].values.reshape(images.sizes["presentation"], -1).astype(float)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return rows @ bracket(torch.as_tensor(state["weights"].values), net.p).numpy().T


# ---------------------------------------------------------------------------------------------------- closed form


@pytest.mark.parametrize("w_inh", [0.0, 0.05, 0.5, 0.8, 0.95, 1.0, 1.5, 3.0])
def test_closed_form_is_a_fixed_point_of_the_ode(w_inh):
    generator = np.random.default_rng(0)
    current = generator.normal(0.5, 1, (7, 30, 40))
    current[0, 0] = -1.0  # nobody is driven
    h = steady_state(current, w_inh)
    r = np.maximum(h, 0)
    change = current - w_inh * (r.sum(-1, keepdims=True) - r) - h
    np.testing.assert_allclose(change, 0, atol=1e-12)
    np.testing.assert_array_equal(h.argmax(-1), current.argmax(-1))
    active = (h > 0).sum(-1)
    assert active[0, 0] == 0
    if w_inh >= 1:
        assert set(np.unique(active)) == {0, 1}
    # The active units are the strongest ones: every rank up to their number, and none after it.
    ranks = (-current).argsort(-1).argsort(-1)
    np.testing.assert_array_equal(h > 0, ranks < active[..., None])


def test_more_inhibition_leaves_fewer_units_active():
    current = np.random.default_rng(1).random(200)
    active = [(steady_state(current, w) > 0).sum() for w in (0, 0.05, 0.2, 0.5, 0.8, 0.95, 1.5)]
    assert active == sorted(active, reverse=True)
    assert active[0] == 200 and active[-1] == 1


def test_one_of_equal_currents_wins():
    np.testing.assert_array_equal(steady_state(np.array([1.0, 2.0, 2.0]), 2.0) > 0, [False, True, False])
    with pytest.raises(ValueError, match="-0.1"):
        steady_state(np.ones(3), -0.1)


# ------------------------------------------------------------------------------------------------------ simulation


@pytest.mark.parametrize("w_inh", [0.6, 1.6])
def test_simulation_reaches_the_closed_form_and_the_rank_rules_winner(few, chunks, w_inh):
    chunks(6)
    net = CompetingRates(**FAST, w_inh=w_inh, h_star=0.4)
    state = untrained(net, few)
    currents = currents_of(net, state, few)
    rates = net.encode(state, few, context=NUMPY)
    expected = np.maximum(steady_state(currents, w_inh), 0)
    np.testing.assert_allclose(rates["response"], expected, atol=3e-6 * expected.max())
    assert report_of(rates)["distance_to_steady_state"] < 3e-6
    assert warnings_of(rates) == []
    assert "tries" not in rates
    found = compare_with_rank_rule(net, state, few, context=NUMPY)
    np.testing.assert_array_equal(
        found["rank_winner"], Rule(p=3, k=2, delta=1).ranked(torch.as_tensor(currents))[0][:, 0]
    )
    np.testing.assert_array_equal(found["winner"], found["rank_winner"])
    assert found.attrs["share_same_winner"] == 1
    # The rank rule turns one unit away. The rates turn away all active units below h*.
    active = (expected > 0).sum(1)
    np.testing.assert_array_equal(found["learning"] + found["turning_away"], active)
    if w_inh > 1:
        assert (active == 1).all() and (found["turning_away"] == 0).all()
    else:
        assert (active > 2).all()
        assert found.attrs["share_one_turning_away"] < 0.5


@pytest.mark.parametrize(("h_star", "missed"), [(0.3, 0), (0.9, 1)])
def test_the_winner_and_m_minus_one_units_learn_or_all_m_turn_away(h_star, missed):
    net = CompetingRates(w_inh=0.6, h_star=h_star, delta=0.4)
    h = steady_state(np.array([1.0, 0.8, 0.7, 0.69, 0.2, -0.1]), 0.6)
    g = net.gate(h, np.maximum(h, 0).sum(keepdims=True))
    m = (h > 0).sum()
    assert m == 4
    assert ((g == 1).sum(), (g == -0.4).sum(), (g == 0).sum()) == (1 - missed, m - 1 + missed, 2)
    absolute = net.model_copy(update={"h_star_mode": "absolute", "h_star": float(h[2])})
    np.testing.assert_array_equal(absolute.gate(h, np.zeros(1)), [1, 1, 1, -0.4, 0, 0])


@pytest.mark.parametrize(
    "settings", [{"stimulus_duration": 10.0}, {"units": 40, "p": 2.0, "tau": 5.0, "w_inh": 0.3, "init_sd": 0.1}]
)
def test_rates_that_have_not_settled_or_oscillate_are_reported(few, chunks, settings):
    chunks(6)
    net = CompetingRates(**{**FAST, **settings})
    assert net.bounds()[1]
    (text,) = warnings_of(net.encode(untrained(net, few), few, context=NUMPY))
    assert "of the largest rate away from their steady state" in text


def test_preactivation_is_the_current_without_a_simulation(few):
    net = CompetingRates(**FAST)
    state = untrained(net, few)
    found = net.encode(state, few, quantity="preactivation")
    np.testing.assert_allclose(found["response"], currents_of(net, state, few), rtol=1e-5)
    assert found.attrs["quantity"] == "preactivation"


# -------------------------------------------------------------------------------------------------------- learning


def literal_training(net, images, seed):
    """Equations 8 and 9 as loops over presentations and steps."""
    rows = net.prepare_images(images["image"].values.reshape(images.sizes["presentation"], -1)).astype(float)
    n = len(rows)
    weights = rng.stream(seed, net.kind, "weights").standard_normal((net.units, rows.shape[1]))
    weights = net.init_mean + net.init_sd * weights
    order = [row for e in range(net.epochs) for row in rng.stream(seed, net.kind, "shuffle", e).permutation(n)]
    for number, row in enumerate(order):
        v, h = rows[row], np.zeros(net.units)
        current = (np.sign(weights) * np.abs(weights) ** (net.p - 1)) @ v
        for _ in range(round(net.stimulus_duration / net.dt)):
            r = np.maximum(h, 0)
            h = h + net.dt / net.tau * (current - net.w_inh * (r.sum() - r) - h)
        h_star = net.h_star * (r.sum() if net.h_star_mode == "share" else 1.0)
        g = np.where(h <= 0, 0.0, np.where(h >= h_star, 1.0, -net.delta))
        eps = net.learning_rate * (1 - number / len(order) if net.schedule == "linear" else 1.0)
        weights = weights + eps * g[:, None] * (net.radius**net.p * v - current[:, None] * weights)
    return weights


def test_training_is_the_literal_rule(few, trained):
    net, state = trained
    expected = literal_training(net, few, 3)
    np.testing.assert_allclose(state["weights"], expected, rtol=1e-10, atol=1e-12)
    start = literal_training(net.model_copy(update={"epochs": 0}), few, 3)
    assert np.abs(expected - start).max() > 0.1


def test_members_of_an_ensemble_follow_the_literal_rule_with_their_own_settings(few, chunks):
    chunks(6)
    nets = [CompetingRates(**SHORT), CompetingRates(**{**SHORT, "learning_rate": 0.03}, w_inh=1.3, h_star=0.6, tau=8.0)]
    together = ensemble([Member(net, seed) for seed, net in enumerate(nets)], few, context=NUMPY)
    for seed, (net, state) in enumerate(zip(nets, together, strict=True)):
        np.testing.assert_allclose(state["weights"], literal_training(net, few, seed), rtol=1e-10, atol=1e-12)
    with pytest.raises(ConfigError, match="differ in 'p'"):
        ensemble([Member(nets[0], 0), Member(nets[0].model_copy(update={"p": 3.0}), 0)], few, context=NUMPY)


def test_neither_chunks_nor_dead_slots_change_a_bit_and_the_flush_is_one_more_slot(few, chunks, monkeypatch):
    """Two full chunks end with the flush; one chunk with dead slots learns from the last image by itself."""
    net, flushed = CompetingRates(**SHORT, epochs=2), []
    original = CompetingRates.flush

    def flush(self, arrays, inputs):
        flushed.append(bool(arrays["presenter.live"][0]))
        return original(self, arrays, inputs)

    monkeypatch.setattr(CompetingRates, "flush", flush)
    weights = []
    for slots in (6, 15):
        chunks(slots)
        weights.append(net.fit(few, seed=0, context=NUMPY)["weights"].values)
    assert flushed == [True, False]
    np.testing.assert_array_equal(weights[0], weights[1])


def test_state_holds_convergence_and_a_history_of_rates(trained):
    _, state = trained
    assert int(state["wins"].sum()) == 6
    np.testing.assert_allclose(state["norm"], (np.abs(state["weights"]) ** 3).sum("input") ** (1 / 3))
    assert 0 < float(state["mean_pooled_rate"][0]) < 10
    assert float(state["share_of_winners"][0]) > 0
    report = report_of(state)
    assert report["images"] == 12 and 1 <= report["most_active_units"] <= 5
    assert report["euler_number"] == pytest.approx(0.1 * (1 + (report["most_active_units"] - 1) * 0.3))
    assert any("units are used" in text for text in warnings_of(state))


def test_no_training_leaves_the_initial_weights(few, chunks):
    chunks(6)
    net = CompetingRates(**{**SHORT, "dt": 2.0, "tau": 1.0}, epochs=0)
    state = net.fit(few, seed=1, context=NUMPY)
    np.testing.assert_array_equal(state["weights"], untrained(net, few)["weights"])
    assert any("6.80 with all m = 5 units active" in text for text in warnings_of(state))


# ---------------------------------------------------------------------------------------------- warnings, bad input


def test_bounds_are_stated_with_their_numbers():
    assert euler_number(1.0, 5.0, 0.2, 57) == pytest.approx(2.44)
    assert unsettled(60, 5, 0.6) == pytest.approx(np.exp(-4.8))
    assert CompetingRates().bounds()[1] == []
    report, (unstable, late) = bounds_report(1.0, 60.0, 5.0, 0.95, 100, 6)
    assert report["euler_number"] == pytest.approx(1.15) and report["euler_number_all_active"] == pytest.approx(19.01)
    assert "19.01 with all m = 100" in unstable and "1.15 with the m = 6" in unstable and "0.11 ms" in unstable
    assert "54.9 %" in late and "461 ms" in late
    assert "never settle" in CompetingRates(w_inh=1.0, dt=0.1).bounds()[1][0]


def test_the_distance_to_the_steady_state_is_stated():
    currents = np.full((3, 4), 1.0)
    steady = np.maximum(steady_state(currents, 0.5), 0)
    assert distance_report(steady, [currents[:2], currents[2:]], 0.5)[1] == []
    report, (text,) = distance_report(1.5 * steady, [currents], 0.5)
    assert report["distance_to_steady_state"] == pytest.approx(0.5) and "50 %" in text


@pytest.mark.parametrize(
    "wrong", [{"w_inh": -0.1}, {"h_star": 0.0}, {"rest_duration": 5.0}, {"max_tries": 2}, {"p": 0.5}]
)
def test_bad_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        network("competing-rates", **wrong)


def test_repeats_of_a_deterministic_response_are_refused(few):
    net = CompetingRates(**SHORT)
    state = untrained(net, few)
    for quantity in ("response", "preactivation"):
        with pytest.raises(ConfigError, match="answers without noise"):
            net.encode(state, few, repeats=3, quantity=quantity, context=NUMPY)


@pytest.mark.slow
@pytest.mark.parametrize("w_inh", [0.6, 1.6])
def test_compiled_simulation_equals_closed_form_and_runtime(tiny, w_inh):
    net = CompetingRates(**FAST, w_inh=w_inh, epochs=1)
    context = RunContext(engine="cpp_standalone")
    state = net.fit(tiny, seed=0, context=context)
    np.testing.assert_allclose(state["weights"], net.fit(tiny, seed=0, context=NUMPY)["weights"], rtol=1e-10)
    rates = net.encode(state, tiny, context=context)
    expected = np.maximum(steady_state(currents_of(net, state, tiny), w_inh), 0)
    np.testing.assert_allclose(rates["response"], expected, atol=1e-5 * expected.max())
    assert compare_with_rank_rule(net, state, tiny, context=context).attrs["share_same_winner"] == 1
