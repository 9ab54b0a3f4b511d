"""The Krotov-Hopfield network: training, convergence report, resume, inference."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import xarray as xr

import biorep
from biorep.context import RunContext
from biorep.errors import ConfigError, NumericalError, SplitError
from biorep.lab import batch
from biorep.networks.base import report_of, warnings_of
from biorep.networks.local.kh_update import Rule, dense_step
from biorep.networks.local.krotov_hopfield import KrotovHopfield

GOOD = {"units": 100, "p": 2, "k": 7, "delta": 0.1, "init_mean": 0.5, "init_sd": 0.5, "epochs": 150}


def test_most_units_are_used_on_digits(digits):
    state = KrotovHopfield(**GOOD).fit(digits["train"], seed=0)
    report = report_of(state)
    assert report["share_used"] > 0.9
    assert warnings_of(state) == []
    norms = np.sqrt((state["weights"].values.astype(float) ** 2).sum(1))
    np.testing.assert_allclose(state["norm"], norms, rtol=1e-6)
    assert int(state["wins"].sum()) == digits["train"].sizes["presentation"]


#: Learns too much from what it pushes away: the digits, positive all of them, have much in common.
DEADLY = {**GOOD, "init": "images", "delta": 1.0, "epochs": 40}


@pytest.fixture(scope="module")
def dying(digits):
    """The state of a network that has died, and what was said while it was trained."""
    with pytest.warns(UserWarning, match="units are dead") as told:
        state = KrotovHopfield(**DEADLY).fit(digits["train"], seed=0)
    return state, [str(warning.message) for warning in told]


def test_a_death_is_told_in_its_epoch_and_the_remedy_that_is_told_cures_it(digits, dying):
    state, (early,) = dying
    first = int(state["epoch"][state["share_dead"] >= 0.25][0])
    assert early.startswith(f"krotov-hopfield, epoch {first} of 40: ")
    assert first < 30
    assert float(state["share_dead"][0]) == 0
    assert float(state["share_dead"][-1]) > 0.9
    (text,) = warnings_of(state)
    assert text.startswith("the network has collapsed")
    assert "units are dead" in text
    remedy = float(re.search(r"Lower delta from 1 to ([\d.]+)", text).group(1))
    assert f"Lower delta from 1 to {remedy}" in early
    cured = KrotovHopfield(**{**DEADLY, "delta": remedy}).fit(digits["train"], seed=0)
    assert report_of(cured)["share_dead"] == 0
    assert report_of(cured)["effective_winners"] > 30


def test_dead_units_have_no_response_and_count_neither_as_converged_nor_as_used(digits, dying):
    """In the fixed point that is opposite to the images the norm is R: by the norm alone they had converged."""
    state, _ = dying
    responses = KrotovHopfield(**DEADLY).encode(state, digits["train"])["response"].values
    dead = state["dead"].values == 1
    np.testing.assert_array_equal(dead, responses.max(0) == 0)
    report = report_of(state)
    assert report["share_dead"] == dead.mean() > 0.9
    assert (np.abs(state["norm"].values[dead] - 1) < 1e-2).mean() > 0.7
    assert report["share_converged"] <= 1 - report["share_dead"]
    assert not state["used"].values[dead].any()


def test_units_that_never_took_part_are_told_with_what_makes_them_take_part(digits):
    small = {**GOOD, "init_mean": 0.0, "init_sd": 0.1, "epochs": 30}
    with pytest.warns(UserWarning, match="init: images"):
        state = KrotovHopfield(**small).fit(digits["train"], seed=0)
    (text,) = warnings_of(state)
    assert text.startswith("the network has collapsed")
    assert "init: images" in text
    assert report_of(state)["effective_winners"] < 2
    cured = KrotovHopfield(**{**small, "init": "images"}).fit(digits["train"], seed=0)
    assert report_of(cured)["effective_winners"] > 30


def test_untrained_units_win_but_do_not_count_as_used(digits):
    state = KrotovHopfield(units=100, p=2, epochs=0).fit(digits["train"], seed=0)
    report = report_of(state)
    assert report["share_never_won"] < 1
    assert report["share_used"] == 0
    assert "only 0 %" in warnings_of(state)[0]


def test_fit_equals_the_dense_rule(digits):
    """The whole training, shuffles and schedule included, against the oracle in float64."""
    from biorep import rng

    network = KrotovHopfield(units=20, p=2, k=3, delta=0.2, epochs=2, batch_size=50, learning_rate=0.02)
    state = network.fit(digits["train"], seed=3)
    images = digits["train"]["image"].values.reshape(-1, 64).astype(np.float64)
    images = torch.as_tensor(images / np.linalg.norm(images, axis=1, keepdims=True))
    weights = rng.stream(3, "krotov-hopfield", "weights").standard_normal((20, 64), dtype=np.float32)
    weights = torch.as_tensor(weights, dtype=torch.float64)
    for epoch in range(2):
        order = rng.stream(3, "krotov-hopfield", "shuffle", epoch).permutation(len(images))
        for first in range(0, len(images) - 49, 50):
            batch = images[torch.as_tensor(order[first : first + 50])]
            dense_step(weights, batch, Rule(p=2, k=3, delta=0.2), 0.02 * (1 - epoch / 2))
    np.testing.assert_allclose(state["weights"], weights, atol=2e-5)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tiny):
    network = KrotovHopfield(units=10, k=2, epochs=3, batch_size=5, init_mean=0.5)
    first, again, other = (network.fit(tiny, seed=seed)["weights"].values for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_killed_training_resumes_and_ends_bit_for_bit_the_same(digits, tmp_path, monkeypatch):
    network = KrotovHopfield(units=30, p=2, k=2, epochs=8)
    whole = network.fit(digits["train"], seed=0)
    context = RunContext(checkpoint=tmp_path, checkpoint_every=0)
    epochs = []
    original = KrotovHopfield._epoch

    def die_in_the_fifth(self, learner, inputs, seed, epoch):
        if epoch == 5 and not epochs.count("killed"):
            epochs.append("killed")
            raise KeyboardInterrupt
        epochs.append(epoch)
        return original(self, learner, inputs, seed, epoch)

    monkeypatch.setattr(KrotovHopfield, "_epoch", die_in_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        network.fit(digits["train"], seed=0, context=context)
    resumed = network.fit(digits["train"], seed=0, context=context)
    assert epochs == [0, 1, 2, 3, 4, "killed", 5, 6, 7]
    np.testing.assert_array_equal(resumed["weights"], whole["weights"])
    for history in ("share_of_winners", "share_dead"):
        np.testing.assert_array_equal(resumed[history], whole[history])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"damaged", None])
def test_a_checkpoint_of_another_training_or_a_damaged_one_is_not_used(tiny, tmp_path, monkeypatch, content):
    network = KrotovHopfield(units=10, k=2, epochs=4, batch_size=5)
    context = RunContext(checkpoint=tmp_path, checkpoint_every=0)
    monkeypatch.setattr("biorep.checkpoint.Checkpoint.remove", lambda self: None)
    network.fit(tiny, seed=0, context=context)
    (path,) = tmp_path.iterdir()
    if content is not None:
        path.write_bytes(content)
    resumed = network.fit(tiny, seed=1, context=context)["weights"]
    np.testing.assert_array_equal(resumed, network.fit(tiny, seed=1)["weights"])


def test_inference_brackets_agree_for_p_2_and_differ_for_p_3(digits):
    for p, equal in ((2.0, True), (3.0, False)):
        networks = [KrotovHopfield(units=20, p=p, k=2, epochs=1, inference=how) for how in ("plain", "p")]
        state = networks[0].fit(digits["train"], seed=0)
        plain, bracket = (network.encode(state, digits["test"])["response"].values for network in networks)
        assert np.array_equal(plain, bracket) == equal


def test_encode_is_the_rectified_power_of_the_bracket(digits):
    network = KrotovHopfield(units=20, p=3, k=2, epochs=1, power=4.5)
    state = network.fit(digits["train"], seed=0)
    images = digits["test"]["image"].values.reshape(-1, 64).astype(np.float64)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    weights = state["weights"].values.astype(np.float64)
    currents = images @ (np.sign(weights) * weights**2).T
    np.testing.assert_allclose(
        network.encode(state, digits["test"], quantity="preactivation")["response"], currents, rtol=1e-4, atol=1e-5
    )
    expected = np.maximum(currents, 0) ** 4.5
    np.testing.assert_allclose(network.encode(state, digits["test"])["response"], expected, rtol=1e-3, atol=1e-4)


def test_responses_do_not_depend_on_the_batch(digits, monkeypatch):
    from biorep.nn import encoder

    network = KrotovHopfield(units=20, k=2, epochs=1)
    state = network.fit(digits["train"], seed=0)
    whole = network.encode(state, digits["test"])["response"].values
    monkeypatch.setattr(encoder, "batches", lambda values, size=7: encoder.ArrayBatches(values, 7))
    np.testing.assert_allclose(network.encode(state, digits["test"])["response"], whole, rtol=1e-5, atol=1e-7)


def test_labels_are_not_looked_at(tiny):
    network = KrotovHopfield(units=10, k=2, epochs=2, batch_size=5)
    shuffled = tiny.assign(label=tiny["label"].copy(data=tiny["label"].values[::-1]))
    np.testing.assert_array_equal(network.fit(tiny, seed=0)["weights"], network.fit(shuffled, seed=0)["weights"])


def test_images_as_initial_weights_have_the_norm(tiny):
    state = KrotovHopfield(units=30, k=2, epochs=0, batch_size=5, init="images", radius=2.0).fit(tiny, seed=0)
    np.testing.assert_allclose(state["norm"], 2.0, rtol=1e-5)


def test_test_images_are_refused(digits):
    with pytest.raises(
        SplitError, match="training of 'krotov-hopfield' must not see presentations of the split 'test'"
    ):
        KrotovHopfield(units=10, k=2, epochs=1).fit(digits["test"], seed=0)


def test_bad_settings_are_explained(tiny):
    with pytest.raises(ConfigError, match="k = 7 asks for rank 7 among only 5 units"):
        biorep.network("krotov-hopfield", units=5)
    with pytest.raises(ConfigError, match="batch_size = 100, but there are only 20 training images"):
        KrotovHopfield(units=10, k=2).fit(tiny, seed=0)
    with pytest.raises(ConfigError, match="would be 3 equal copies"):
        network = KrotovHopfield(units=10, k=2, epochs=0, batch_size=5)
        network.encode(network.fit(tiny, seed=0), tiny, repeats=3)


def test_a_divergence_is_an_error_that_names_the_rate(tiny):
    with pytest.raises(NumericalError, match="Lower 'learning_rate'"):
        KrotovHopfield(units=10, k=2, epochs=3, batch_size=5, learning_rate=1e38).fit(tiny, seed=0)


@pytest.mark.gpu
def test_cuda_gives_the_same_network(digits):
    network = KrotovHopfield(**{**GOOD, "epochs": 5})
    cpu = network.fit(digits["train"], seed=0)
    gpu = network.fit(digits["train"], seed=0, context=RunContext(device="cuda"))
    np.testing.assert_allclose(cpu["weights"], gpu["weights"], atol=1e-3)


def test_the_table_and_the_page_show_the_units_that_are_used(tiny):
    network = KrotovHopfield(units=10, k=2, epochs=2, batch_size=5)
    state = network.fit(tiny, seed=0)
    assert [column.name for column in network.columns] == list(network.numbers(state)) == ["used"]
    assert network.numbers(state)["used"] == report_of(state)["share_used"] == float(state["used"].mean())
    rows = {name: [xr.DataTree(state), xr.DataTree(state)] for name in ("p = 2", "p = 3")}
    drawings = list(network.figures(rows))
    assert [drawing.name for drawing in drawings] == ["fields-p = 2", "fields-p = 3"]
    assert len(drawings[0].figure.axes) == 10
    assert drawings[0].caption.startswith("p = 2: weights of the 40 units that win most often (first seed;")
    assert network.all_versions() == {"encoder": 1, "krotov-hopfield": 2}


def test_network_by_name_equals_the_class():
    assert biorep.network("krotov-hopfield", units=10, k=3) == KrotovHopfield(units=10, k=3)


def test_the_setting_that_lives_on_two_datasets_departs_from_the_published_one_in_what_it_says():
    published = batch.read("krotov_hopfield_2019_mnist").runs[0].recipe.network
    recipes = [run.recipe for run in batch.read("krotov_hopfield_controls").runs]
    learnt = [(recipe.dataset.name, recipe.network) for recipe in recipes if recipe.network.kind == "krotov-hopfield"]
    assert {name for name, _ in learnt} == {"mnist", "fashion-mnist"}
    for _, network in learnt:
        assert network == published.model_copy(update={"units": 400, "delta": 0.1, "epochs": 30})
