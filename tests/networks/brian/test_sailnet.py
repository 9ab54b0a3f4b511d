"""SAILnet against a plain numpy program, chunks, copies, the last presentation, and what it learns."""

from __future__ import annotations

import numpy as np
import pytest

from biorep import datasets
from biorep.context import RunContext
from biorep.engines.layout import Layout
from biorep.engines.programs import brian_device
from biorep.errors import ConfigError
from biorep.networks import network
from biorep.networks.base import report_of
from biorep.networks.brian import simulation
from biorep.networks.brian.ensemble import Member, ensemble

NUMPY, COMPILED = RunContext(engine="runtime-numpy"), RunContext(engine="cpp_standalone")
#: Lively enough that six units spike, learn and inhibit each other within a dozen patches.
SETTINGS = {"units": 6, "target_rate": 0.4, "alpha": 0.05, "beta": 0.02, "gamma": 0.05, "theta_start": 0.8}


@pytest.fixture(autouse=True)
def one_chunk(monkeypatch, request):
    """One chunk for a dozen patches: what takes time in a short simulation is to put it together."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(simulation, "CHUNKS", (12,))


def patches(count=12, size=4, seed=0):
    values = np.random.default_rng(seed).standard_normal((count, size, size))
    values -= values.mean((1, 2), keepdims=True)
    values /= values.std((1, 2), keepdims=True)
    return datasets.from_arrays(values, value_range=(-float(size), float(size)))


def respond(x, Q, W, theta, steps=50, share=0.1):
    """Return u and the spikes of all steps, (step, unit): Q is (unit, input)."""
    u, a = np.zeros(len(Q)), np.zeros(len(Q))
    drive, us, spikes = Q @ x, [], []
    for _ in range(steps):
        u = (1 - share) * u + share * (drive - W @ a)
        a = (u >= theta).astype(float)
        u = np.where(a > 0, 0.0, u)
        us.append(u)
        spikes.append(a)
    return np.array(us), np.array(spikes)


def train(net, images, Q, steps=50):
    """Return Q, W and theta after the images, and the counts: sums over batches, slower at the end."""
    W, theta, counts = np.zeros((len(Q), len(Q))), np.full(len(Q), net.theta_start), []
    for first in range(0, len(images), net.batch):
        part = images[first : first + net.batch]
        n = np.array([respond(x, Q, W, theta, steps)[1].sum(0) for x in part])
        counts += list(n)
        if len(part) < net.batch:
            break
        slow = first + net.batch > net.slow_from * len(images)
        pace = net.slow_factor if slow else 1.0
        W = W + pace * net.alpha * (n.T @ n - net.batch * net.target_rate**2)
        W = np.maximum(W - np.diag(np.diag(W)), 0)
        Q = Q + pace * net.beta * (n.T @ part - np.diag((n * n).sum(0)) @ Q)
        theta = theta + pace * net.gamma * (n - net.target_rate).sum(0)
    return Q, W, theta, np.array(counts)


def shown(net, data, seed):
    """Return the patches in the order of the training, (presentation, input)."""
    from biorep import rng

    images = data.image.values.reshape(len(data.image), -1).astype(float)
    orders = [rng.stream(seed, "sailnet", "shuffle", e).permutation(len(images)) for e in range(net.epochs)]
    return images[np.concatenate(orders)]


def first_weights(net, inputs, seed):
    return net.initial(inputs, seed)["feedforward.Q"].reshape(inputs, net.units).T


def lively_state(net, data, seed=0):
    """Return a state with strong inhibition, made without any simulation."""
    generator, inputs = np.random.default_rng(seed), int(np.prod(data.image.shape[1:]))
    lateral = generator.random((net.units, net.units)) * 3
    np.fill_diagonal(lateral, 0)
    arrays = net.initial(inputs, seed) | {"lateral.W": lateral.T[~np.eye(net.units, dtype=bool)]}
    arrays["cells.threshold"] = 0.2 + 0.5 * generator.random(net.units)
    return net.learnt(arrays, inputs)


def test_every_step_of_a_presentation_is_that_of_a_plain_program():
    import brian2 as b2

    net, data = network("sailnet", units=6), patches(3)
    state, images = lively_state(net, data), data.image.values.reshape(3, -1).astype(float)
    layout = Layout(net.timing(), 16, 6, slots=3)
    with brian_device("runtime", codegen__target="numpy"):
        circuit = net.blueprint(layout, learn=False).circuit(images=images)
        cells = next(group for group in circuit.objects if group.name == "cells")
        circuit.add(trace := b2.StateMonitor(cells, "u", record=True, when="end", name="trace"))
        simulation = circuit.network()
        for name, values in {**net.frozen(state), "presenter.row": -1, "presenter.stop": 3}.items():
            group, _, variable = name.partition(".")
            simulation[group].variables[variable].set_value(values)
        simulation.run(circuit.duration, namespace={})
        found = np.array(trace.u).T.reshape(3, 50, 6)
    for image, u in zip(images, found, strict=True):
        expected, spikes = respond(image, state.weights.values, state.lateral.values, state.threshold.values)
        assert spikes.sum() > 5
        np.testing.assert_allclose(u, expected, rtol=0, atol=1e-12)
        assert ((u == 0) == (expected == 0)).all()


def test_counts_of_the_frozen_network_are_those_of_a_plain_program():
    net, data = network("sailnet", units=6), patches(7)
    state = lively_state(net, data)
    found = net.encode(state, data, context=NUMPY)
    images = data.image.values.reshape(7, -1).astype(float)
    learnt = state.weights.values, state.lateral.values, state.threshold.values
    expected = [respond(image, *learnt)[1].sum(0) for image in images]
    assert (found.response.values == np.array(expected)).all()
    assert found.response.max() > 3
    assert float(data.image.min()) < 0  # signed input is accepted
    beside = net.encode(state, data, copies=2, context=NUMPY)
    assert (beside.response.values == found.response.values).all()


@pytest.mark.parametrize(
    ("settings", "count"),
    [({}, 10), ({"slow_from": 0.5, "slow_factor": 0.2}, 12), ({"batch": 4, "slow_from": 0.4}, 10)],
    ids=["patch by patch", "slower after 6 patches, the last one flushed", "batches, the last one not full"],
)
def test_learning_is_that_of_a_plain_program(settings, count):
    net, data = network("sailnet", **SETTINGS, **settings, stimulus_duration=20, epochs=1), patches(count)
    state = net.fit(data, seed=3, context=NUMPY)
    Q, W, theta, counts = train(net, shown(net, data, 3), first_weights(net, 16, 3), steps=20)
    assert counts.sum() > 10
    np.testing.assert_allclose(state.weights, Q, rtol=0, atol=1e-12)
    np.testing.assert_allclose(state.lateral, W, rtol=0, atol=1e-12)
    np.testing.assert_allclose(state.threshold, theta, rtol=0, atol=1e-12)
    assert W.max() > 0
    assert float(state.mean_spikes[-1]) == pytest.approx(counts.sum(1).mean())
    assert (state.lateral.values >= 0).all()
    assert (np.diag(state.lateral.values) == 0).all()
    report, others = report_of(state), W[~np.eye(6, dtype=bool)]
    stated = [report[name] for name in ("target_rate", "rate", "mean_lateral", "largest_lateral")]
    assert stated == pytest.approx([0.4, counts.mean(), others.mean(), others.max()])


def test_no_neuron_has_a_synapse_to_itself_or_to_another_copy():
    net = network("sailnet", units=4)
    with brian_device("runtime", codegen__target="numpy"):
        circuit = net.blueprint(Layout(net.timing(), 3, 4, copies=2, slots=1), learn=True).circuit()
        groups = {group.name: group for group in circuit.objects}
        pre, post = np.array(groups["lateral"].i), np.array(groups["lateral"].j)
        assert len(pre) == 2 * 4 * 3
        assert (pre != post).all()
        assert (pre // 4 == post // 4).all()
        pre, post = np.array(groups["feedforward"].i), np.array(groups["feedforward"].j)
        assert len(pre) == 2 * 3 * 4
        assert (pre // 3 == post // 4).all()


@pytest.mark.parametrize("batch", [1, 4])
def test_chunks_change_nothing(monkeypatch, batch):
    """Bit for bit, where a slot is left for learning from the last patch: `flush` rounds in another order."""
    net, data = network("sailnet", **SETTINGS, stimulus_duration=20, batch=batch, slow_from=0.5), patches(12)
    whole, pieces = (fitted_in(monkeypatch, net, data, slots) for slots in (13, 7))
    for name in whole.data_vars:
        np.testing.assert_array_equal(whole[name], pieces[name], err_msg=str(name))


def fitted_in(monkeypatch, net, data, slots):
    monkeypatch.setattr(simulation, "CHUNKS", (slots,))
    return net.fit(data, seed=1, context=NUMPY)


def test_an_ensemble_equals_separate_trainings():
    data = patches(10)
    first = network("sailnet", **SETTINGS, stimulus_duration=20)
    second = network("sailnet", **{**SETTINGS, "target_rate": 0.2, "gamma": 0.1}, stimulus_duration=20, slow_from=0.4)
    members = [Member(first, 0), Member(second, 7)]
    for member, found in zip(members, ensemble(members, data, context=NUMPY), strict=True):
        alone = member.network.fit(data, seed=member.seed, context=NUMPY)
        for name in alone.data_vars:
            np.testing.assert_allclose(found[name], alone[name], rtol=0, atol=1e-12, err_msg=str(name))


def test_flush_learns_once_and_only_from_a_live_slot():
    net, generator = network("sailnet", **SETTINGS), np.random.default_rng(0)
    arrays = net.initial(16, 0) | {
        "input.X": generator.standard_normal(16),
        "cells.n": generator.poisson(1.0, 6).astype(float),
        "cells.seen": np.full(6, 3.0),
        "presenter.live": np.ones(1),
    }
    before = {name: values.copy() for name, values in arrays.items()}
    flushed = net.flush(arrays, 16)
    n, Q = arrays["cells.n"], first_weights(net, 16, 0)
    expected = Q + net.beta * n[:, None] * (arrays["input.X"] - n[:, None] * Q)
    np.testing.assert_allclose(flushed["feedforward.Q"].reshape(16, 6).T, expected, rtol=0, atol=1e-15)
    np.testing.assert_allclose(flushed["cells.threshold"], 0.8 + net.gamma * (n - net.target_rate), atol=1e-15)
    assert (flushed["cells.seen"] == 4).all()
    again = net.flush(flushed, 16)
    assert all((again[name] == flushed[name]).all() for name in flushed)
    assert all((arrays[name] == before[name]).all() for name in arrays)  # what was given is left alone


def test_repeats_and_other_layers_are_refused():
    net, data = network("sailnet", units=6), patches(2)
    with pytest.raises(ConfigError, match="without noise"):
        net.encode(lively_state(net, data), data, repeats=2, context=NUMPY)
    with pytest.raises(ConfigError, match="no preactivation"):
        net.encode(lively_state(net, data), data, quantity="preactivation", context=NUMPY)
    with pytest.raises(ConfigError, match="max_tries"):
        network("sailnet", max_tries=2)
    with pytest.raises(ConfigError, match="shorter than tau"):
        network("sailnet", dt=10)


def test_no_epoch_leaves_the_first_weights():
    net, data = network("sailnet", units=6, epochs=0), patches(3)
    state = net.fit(data, seed=2, context=NUMPY)
    np.testing.assert_array_equal(state.weights, first_weights(net, 16, 2))
    assert (state.lateral.values == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("copies", [1, 2])
def test_the_compiled_network_learns_as_a_plain_program(copies):
    net, data = network("sailnet", **{**SETTINGS, "units": 20}, slow_from=0.5, epochs=3), patches(20, size=6)
    for seed, state in enumerate(ensemble([Member(net, s) for s in range(copies)], data, context=COMPILED)):
        Q, W, theta, counts = train(net, shown(net, data, seed), first_weights(net, 36, seed))
        assert counts.sum() > 100
        for found, expected in ((state.weights, Q), (state.lateral, W), (state.threshold, theta)):
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
        answers = net.encode(state, data, context=COMPILED).response.values
        images = data.image.values.reshape(len(answers), -1).astype(float)
        assert (answers == [respond(image, Q, W, theta)[1].sum(0) for image in images]).all()


@pytest.mark.slow
def test_units_reach_their_rate_and_become_oriented():
    """About 40 seconds; the same units before learning fit no Gabor function."""
    from biorep.tuning import tuning

    data = datasets.load("natural-patches", source="photographs", size=8, count=20_000)
    net = network("sailnet", units=64, gamma=5e-3, epochs=10)
    state = net.fit(data, seed=0, context=COMPILED)
    assert report_of(state)["rate"] == pytest.approx(0.05, rel=0.05)
    gratings = datasets.gratings(size=8, frequencies=[0.0884, 0.125, 0.1768, 0.25])
    tuned = tuning(net.encode(state, gratings, context=COMPILED))
    assert ((tuned.selectivity.values > 0.3) & (explained(state.weights.values) > 0.7)).mean() > 0.8
    assert np.histogram(tuned.preferred_orientation, bins=4, range=(0, 180))[0].min() >= 3
    assert (explained(first_weights(net, 64, 0)) > 0.7).mean() < 0.1


def explained(weights):
    """Return R2 of Gabor fits to input weights, (unit, 64)."""
    import xarray as xr

    from biorep.tuning import fit_gabors

    fields = xr.DataArray(weights.reshape(-1, 8, 8), dims=("neuroid", "row", "column"))
    return fit_gabors(fields).r2.values
