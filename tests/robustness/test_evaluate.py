"""The evaluation: grids, critical distances, censoring, noise, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from linear_reference import exact_distance

import biorep
from biorep.bridge import Readout, classifier
from biorep.errors import SplitError
from biorep.robustness import Robustness, median


@pytest.fixture(scope="module")
def linear(digits):
    """A linear classifier of the pixels: every distance is known exactly."""
    network = biorep.network("pixels")
    state = network.fit(digits["train"], seed=0)
    readout = Readout(penalty=1e-3).fit(network.encode(state, digits["train"]))
    return classifier(network, state, readout), readout


@pytest.fixture(scope="module")
def result(linear, digits):
    plan = Robustness(images=120, refinements=10, noise_draws=4, steps=100, restarts=2)
    return plan.evaluate(linear[0], digits["test"], fitted=linear[1]["fitted_stimulus_id"].values)


@pytest.fixture(scope="module")
def exact(linear, digits, result):
    """Exact distances of the attacked images."""
    _, readout = linear
    weights = readout["readout_weights"].values.astype(float)
    bias = readout["readout_bias"].values.astype(float)
    chosen = digits["test"].isel(presentation=np.isin(digits["test"].stimulus_id, result["stimulus_id"]))
    images, labels = chosen["image"].values.reshape(-1, 64).astype(float), chosen["label"].values
    return {
        norm: np.array([exact_distance(weights, bias, x, y, norm) for x, y in zip(images, labels, strict=True)])
        for norm in ("linf", "l2")
    }


@pytest.mark.parametrize(("norm", "close"), [("linf", 1.03), ("l2", 1.10)])
def test_critical_distance_is_the_exact_one(result, exact, norm, close):
    found = result[norm]["critical_distance"].min("attack").values
    wrong = exact[norm] == 0
    np.testing.assert_array_equal(found == 0, wrong)
    ratio = found[~wrong] / exact[norm][~wrong]
    assert ratio.min() > 1 - 1e-3
    assert np.median(ratio) < close
    assert median(found) == pytest.approx(np.median(exact[norm]), rel=0.1)


@pytest.mark.parametrize("norm", ["linf", "l2", "noise"])
def test_epsilon_0_is_the_clean_accuracy(result, norm):
    clean = float(result["clean_accuracy"])
    np.testing.assert_allclose(result[norm]["accuracy"].sel(epsilon=0), clean)
    np.testing.assert_allclose(result[norm]["relative_accuracy"].sel(epsilon=0), 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_no_image_withstands_more_than_its_exact_distance_allows(result, exact, norm):
    """Robust accuracy is never below the truth, and the full range fools everything."""
    for epsilon in result[norm]["epsilon"].values:
        truth = (exact[norm] > epsilon * (1 + 1e-6)).mean()
        assert (result[norm]["accuracy"].sel(epsilon=epsilon) >= truth - 1e-9).all()
    assert (result[norm]["accuracy"].isel(epsilon=-1) == 0).all()


def test_critical_l2_of_an_linf_attack_is_the_length_of_that_perturbation(result):
    distance, length = result["linf"]["critical_distance"], result["linf"]["critical_l2"]
    assert (length >= distance).all()
    assert (length <= distance * np.sqrt(64) + 1e-6).all()


def test_images_that_are_never_fooled_are_censored(linear, digits):
    tree = Robustness(images=40, linf=(0.001,), l2=(), noise=()).evaluate(linear[0], digits["test"])
    distance = tree["linf"]["critical_distance"].values
    standing = tree["linf"]["correct"].sel(epsilon=0.001).values == 1
    assert np.isinf(distance[standing]).all()
    assert np.isfinite(distance[~standing]).all()
    assert "l2" not in tree.children
    assert "noise" not in tree.children


def test_the_evaluation_is_reproducible_and_its_batches_change_nothing(linear, digits, monkeypatch):
    from biorep.robustness import evaluate

    plan = Robustness(images=30, noise_draws=2, steps=10)
    first = plan.evaluate(linear[0], digits["test"], seed=1)
    monkeypatch.setattr(evaluate, "BATCH", 7)
    again, other = (plan.evaluate(linear[0], digits["test"], seed=seed) for seed in (1, 2))
    for norm in ("linf", "l2", "noise"):
        np.testing.assert_allclose(again[norm]["accuracy"], first[norm]["accuracy"], atol=1e-12)
        np.testing.assert_allclose(again[norm]["critical_distance"], first[norm]["critical_distance"], rtol=1e-4)
    assert not np.array_equal(other["noise"]["critical_distance"], first["noise"]["critical_distance"])


def test_noise_without_clipping_is_the_exact_gaussian_error(digits):
    """A two-class linear classifier errs with probability Phi(-distance / sd)."""
    from scipy.stats import norm as gaussian

    two = {
        split: images.isel(presentation=np.flatnonzero(images["label"].values < 2)) for split, images in digits.items()
    }
    network = biorep.network("pixels")
    state = network.fit(two["train"], seed=0)
    readout = Readout(penalty=1e-2).fit(network.encode(state, two["train"]))
    plan = Robustness(images=200, linf=(), l2=(), noise=(0.5, 1.0, 2.0), noise_clipped=False, noise_draws=50)
    tree = plan.evaluate(classifier(network, state, readout), two["test"])
    weights = readout["readout_weights"].values
    w = weights[0] - weights[1]
    chosen = two["test"].isel(presentation=np.isin(two["test"].stimulus_id, tree["stimulus_id"]))
    logits = chosen["image"].values.reshape(-1, 64) @ weights.T + readout["readout_bias"].values
    sign = np.where(chosen["label"].values == 0, 1, -1)
    distance = sign * (logits[:, 0] - logits[:, 1]) / np.linalg.norm(w)
    # The other eight classes are far away: their logits never win between a 0 and a 1.
    for sd in (0.5, 1.0):
        expected = gaussian.cdf(distance / sd).mean()
        assert float(tree["noise"]["accuracy"].sel(epsilon=sd)) == pytest.approx(expected, abs=0.02)


def test_vanished_gradients_are_a_warning(digits):
    """A saturated cross-entropy gives FGSM nothing to follow: it must not pass for robustness."""
    from biorep.networks.base import warnings_of

    network = biorep.network("pixels")
    state = network.fit(digits["train"], seed=0)
    readout = Readout().fit(network.encode(state, digits["train"]))
    readout["readout_weights"] *= 1000
    readout["readout_bias"] *= 1000
    tree = Robustness(images=50, linf=(0.1,), l2=(), noise=()).evaluate(
        classifier(network, state, readout), digits["test"]
    )
    (text,) = warnings_of(tree)
    assert text.startswith("fgsm (linf): the gradient of the cross-entropy is exactly zero at")
    assert float(tree["linf"]["accuracy"].sel(attack="pgd", epsilon=0.1)) < float(
        tree["linf"]["accuracy"].sel(attack="fgsm", epsilon=0.1)
    )


def test_normalised_space_attacks_the_normalised_images(digits):
    network = biorep.network("random-features", units=60, input_norm=2)
    state = network.fit(digits["train"], seed=0)
    readout = Readout().fit(network.encode(state, digits["train"]))
    found = {}
    for space in ("pixel", "normalised"):
        plan = Robustness(images=100, space=space, l2=(0.05, 0.1, 0.2, 0.4, 0.8, 1.6), linf=(), noise=())
        model = classifier(network, state, readout, space=space)
        found[space] = float(plan.evaluate(model, digits["test"])["l2"]["median_critical_distance"][1])
    typical = float(torch.as_tensor(digits["test"]["image"].values).flatten(1).norm(dim=1).median())
    assert found["pixel"] / found["normalised"] == pytest.approx(typical, rel=0.15)


def test_training_images_are_refused(linear, digits):
    plan = Robustness(images=10)
    with pytest.raises(SplitError, match="an evaluation of robustness must not see presentations of the split 'train'"):
        plan.evaluate(linear[0], digits["train"])
    seen = digits["test"]["stimulus_id"].values[:50]
    with pytest.raises(SplitError, match="were used for fitting"):
        Robustness(images=360).evaluate(linear[0], digits["test"], fitted=seen)


def test_grids_must_ascend():
    with pytest.raises(ValueError, match="must be non-negative and ascend"):
        Robustness(linf=(0.2, 0.1))
    with pytest.raises(ValueError, match="must be non-negative and ascend"):
        Robustness(l2=(-0.1, 0.1))
    assert Robustness(linf=(0.1,)).linf == (0.0, 0.1)


def test_median_counts_zeros_and_infinities():
    assert median(np.array([0, 1, np.inf])) == 1
    assert median(np.array([0.0, 1, 2, np.inf])) == 1.5
    assert median(np.array([1, np.inf, np.inf])) == np.inf
    assert median(np.array([0.0, 1, np.inf, np.inf])) == np.inf
