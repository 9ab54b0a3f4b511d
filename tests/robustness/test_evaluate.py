"""The evaluation: any callable, grids, critical distances, censoring, noise, and what it refuses."""

from __future__ import annotations

import json
from typing import Literal

import numpy as np
import pytest
import torch
from linear_reference import exact_distance

from biorep import datasets
from biorep.errors import ConfigError, DataError, NumericalError, SplitError
from biorep.robustness import FGSM, PGD, Attack, evaluate, median
from biorep.robustness.critical import withstand


@pytest.fixture(scope="module")
def linear(digits):
    """A plain module of the user: logistic regression of the pixels, so that every distance is known exactly."""
    return _fitted(digits["train"])


def _fitted(dataset):
    images = torch.as_tensor(dataset["image"].values).flatten(1)
    labels = torch.as_tensor(dataset["label"].values).long()
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    layer = model[1]
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=100)

    def loss():
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(layer(images), labels) + 1e-3 * layer.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return model.eval()


@pytest.fixture(scope="module")
def result(linear, digits):
    attacks = ["fgsm", PGD(steps=100)]
    return evaluate(linear, digits["test"], attacks=attacks, images=120, precision=1e-3, noise_draws=4)


@pytest.fixture(scope="module")
def exact(linear, digits, result):
    """Exact distances of the attacked images."""
    weights, bias = (parameter.detach().double().numpy() for parameter in linear[1].parameters())
    chosen = digits["test"].isel(presentation=np.isin(digits["test"].stimulus_id, result["stimulus_id"]))
    images, labels = chosen["image"].values.reshape(-1, 64).astype(float), chosen["label"].values
    return {
        norm: np.array([exact_distance(weights, bias, x, y, norm) for x, y in zip(images, labels, strict=True)])
        for norm in ("linf", "l2")
    }


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("first", [1e-3, 10.0])
def test_bisection_ends_within_a_hundredth_of_the_exact_norm(norm, first):
    """FGSM is exact for two classes: above the first epsilon of the grid, and far below it."""
    generator = np.random.default_rng(0)
    weights, bias = generator.standard_normal((2, 20)), np.array([0.3, 0.0])
    pixels = generator.random((60, 20))
    labels = (pixels @ weights.T + bias).argmax(1)
    data = datasets.from_arrays(pixels, labels, class_names=["a", "b"], split="test")

    def model(images):
        return images.double() @ torch.as_tensor(weights).T + torch.as_tensor(bias)

    grids = {"linf": [], "l2": [], norm: [first, 20.0]}
    tree = evaluate(model, data, attacks=["fgsm"], noise=[], **grids)
    shown = data["image"].values.astype(float)
    exact = np.array([exact_distance(weights, bias, x, y, norm) for x, y in zip(shown, labels, strict=True)])
    ratio = tree[norm]["critical_distance"].values[0] / exact
    assert (exact > 0).all()
    assert 1 - 1e-4 < ratio.min() < ratio.max() < 1.0101


def test_the_grids_come_from_the_range_of_the_values(linear, digits):
    """Images of 0 to 255 are attacked with 255 times the epsilons of those of 0 to 1."""
    large = digits["test"].assign(image=digits["test"]["image"] * 255)
    large["image"].attrs = {**digits["test"]["image"].attrs, "value_range": (0.0, 255.0)}
    one = evaluate(linear, digits["test"], attacks=["fgsm"], images=20)
    other = evaluate(lambda images: linear(images / 255), large, attacks=["fgsm"], images=20)
    for norm in ("linf", "l2", "noise"):
        np.testing.assert_allclose(other[norm]["epsilon"], 255 * one[norm]["epsilon"], rtol=1e-6)
        distances = [tree[norm]["critical_distance"].values for tree in (one, other)]
        np.testing.assert_allclose(distances[1], 255 * distances[0], rtol=0.02)


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
    tree = evaluate(linear, digits["test"], images=40, linf=[0.001], l2=[], noise=[])
    distance = tree["linf"]["critical_distance"].values
    standing = tree["linf"]["correct"].sel(epsilon=0.001).values == 1
    assert np.isinf(distance[standing]).all()
    assert np.isfinite(distance[~standing]).all()
    assert "l2" not in tree.children
    assert "noise" not in tree.children


def test_the_evaluation_is_reproducible_and_its_batches_change_nothing(linear, digits, monkeypatch):
    settings = {"attacks": ["fgsm", PGD(steps=10)], "images": 30, "noise_draws": 2}
    first = evaluate(linear, digits["test"], seed=1, **settings)
    monkeypatch.setattr("biorep.robustness.attack.BATCH", 7)
    again, other = (evaluate(linear, digits["test"], seed=seed, **settings) for seed in (1, 2))
    for norm in ("linf", "l2", "noise"):
        np.testing.assert_allclose(again[norm]["accuracy"], first[norm]["accuracy"], atol=1e-12)
        np.testing.assert_allclose(again[norm]["critical_distance"], first[norm]["critical_distance"], rtol=1e-4)
    assert not np.array_equal(other["noise"]["critical_distance"], first["noise"]["critical_distance"])


# ------------------------------------------------------------------------------------------------- one fact


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("epsilons", [(1e-4, 1e-3, 0.05, 0.1, 0.2), (0.3, 0.5, 1, 2)])
def test_accuracy_follows_from_the_critical_distance(linear, digits, norm, epsilons):
    """Written out from the stored file alone; at each epsilon of the grid the two agree (they once did not)."""
    grids = {"linf": [], "l2": [], norm: epsilons}
    tree = evaluate(linear, digits["test"], attacks=["fgsm", PGD(steps=10)], images=360, noise=[], **grids)
    group = tree[norm].to_dataset()
    expected = (group["critical_distance"] > group["epsilon"] + group["tolerance"]).transpose(*group["correct"].dims)
    np.testing.assert_array_equal(group["correct"], expected)
    np.testing.assert_allclose(group["accuracy"], expected.mean("presentation"))
    np.testing.assert_array_equal(group["correct"].sel(epsilon=0), [tree["clean_correct"]] * 2)
    assert (group["correct"].diff("epsilon") <= 0).all()
    assert (group["tolerance"] <= 0.01 * group["epsilon"]).all()


def test_a_small_perturbation_from_a_large_ball_counts_at_every_epsilon():
    """What is found with a radius of 0.4 and is 0.15 long fools at 0.2 as well."""
    images = datasets.from_arrays(np.full((5, 2, 2), 0.5), np.zeros(5, int), split="test")

    class Jump(Attack):
        kind: Literal["jump"] = "jump"

        def __call__(self, problem, index, epsilon):
            return problem.images[index] + torch.where(epsilon >= 0.4, 0.15, 0.0)[:, None, None]

    def model(x):
        moved = (x - 0.5).flatten(1).amax(1)
        return torch.stack([torch.full_like(moved, 0.1), moved], 1)

    tree = evaluate(model, images, attacks=[Jump()], linf=[0.1, 0.2, 0.4], l2=[], noise=[], precision=float("inf"))
    group = tree["linf"]
    np.testing.assert_allclose(group["critical_distance"], 0.15, rtol=1e-6)
    np.testing.assert_array_equal(group["accuracy"].sel(attack="jump"), [1, 1, 0, 0])


def test_an_attack_that_uses_its_whole_radius_counts_at_that_radius(linear, digits):
    """The rounding of float32 images must not make an image withstand the epsilon at which it was fooled."""
    for norm, epsilon in (("linf", 1e-3), ("linf", 0.1), ("l2", 0.01), ("l2", 1.0)):
        grids = {"linf": [], "l2": [], norm: [epsilon]}
        tree = evaluate(linear, digits["test"], attacks=["fgsm"], images=360, noise=[], precision=float("inf"), **grids)
        fooled = np.isfinite(tree[norm]["critical_distance"].values)
        np.testing.assert_array_equal(tree[norm]["correct"].sel(epsilon=epsilon) == 0, fooled)


def test_withstand():
    correct = withstand(np.array([0, 0.1, 0.2, np.inf]), [0, 0.1, 0.2], np.array([0, 1e-6, 1e-6]))
    np.testing.assert_array_equal(correct, [[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]])


# -------------------------------------------------------------------------------------------------- attacks


class Boundary(Attack):
    """The exact way out of a linear classifier in L2, without a box: a user's own attack."""

    kind: Literal["boundary"] = "boundary"
    minimises = True
    overshoot: float = 1e-3

    def __call__(self, problem, index, epsilon):
        assert epsilon is None
        images = problem.images[index].detach().requires_grad_(True)
        logits = problem.model(images)
        best, shortest = images.detach().clone(), torch.full((len(index),), torch.inf)
        for other in range(logits.shape[1]):
            gap = logits.gather(1, problem.labels[index, None])[:, 0] - logits[:, other]
            (way,) = torch.autograd.grad(gap.sum(), images, retain_graph=True)
            length = gap.detach() / way.flatten(1).norm(dim=1)
            step = -(1 + self.overshoot) * (gap.detach() / way.flatten(1).square().sum(1))[:, None, None] * way
            nearer = (length < shortest) & (problem.labels[index] != other)
            best[nearer], shortest[nearer] = (images.detach() + step)[nearer], length[nearer]
        return best.clamp(*problem.bounds)


def test_an_attack_of_the_user_s_stands_beside_ours(linear, digits):
    """One that needs no epsilon, so it is called once; its successes are measured like all others."""
    grey = digits["test"].assign(image=digits["test"]["image"] * 0.1 + 0.45)  # the box does not bind
    grey["image"].attrs = digits["test"]["image"].attrs

    def model(images):
        return linear((images - 0.45) * 10)

    attacks = [Boundary(), {"kind": "pgd", "steps": 60}]
    tree = evaluate(model, grey, attacks=attacks, images=100, linf=[], l2=[0.01, 0.02, 0.04, 0.08, 0.16], noise=[])
    assert tree["l2"]["attack"].values.tolist() == ["boundary", "pgd"]
    exact, found = tree["l2"]["critical_distance"].values
    right = tree["clean_correct"].values == 1
    assert np.isfinite(exact).all()
    assert (found[right] >= exact[right] / 1.0011).all()
    assert np.median(found[right] / exact[right]) < 1.1


def test_an_attack_that_leaves_the_box_is_refused(linear, digits):
    class Outside(Attack):
        kind: Literal["outside"] = "outside"

        def __call__(self, problem, index, epsilon):
            return problem.images[index] - 2

    with pytest.raises(
        DataError, match="images that the attack .outside. returned: values from -2 to -1 lie outside the bounds"
    ):
        evaluate(linear, digits["test"], attacks=[Outside()], images=10)


def test_attacks_of_one_kind_are_told_apart(linear, digits):
    attacks = [PGD(steps=3), PGD(steps=3, loss="cross-entropy"), FGSM()]
    tree = evaluate(linear, digits["test"], attacks=attacks, images=10, l2=[], noise=[])
    expected = ["pgd steps=3", "pgd steps=3 loss=cross-entropy", "fgsm"]
    assert tree["linf"]["attack"].values.tolist() == expected
    with pytest.raises(ConfigError, match=r"each attack can be named once, got \['fgsm', 'fgsm'\]"):
        evaluate(linear, digits["test"], attacks=["fgsm", FGSM()])
    with pytest.raises(ConfigError, match="unknown attack 'pdg'; did you mean 'pgd'"):
        evaluate(linear, digits["test"], attacks=["pdg"])


def test_vanished_gradients_are_a_warning(linear, digits):
    """A saturated cross-entropy gives FGSM nothing to follow: it must not pass for robustness."""
    tree = evaluate(lambda x: 1000 * linear(x), digits["test"], images=50, linf=[0.1], l2=[], noise=[])
    (text,) = json.loads(tree.attrs["warnings"])
    assert text.startswith("fgsm (linf): the gradient of the cross-entropy is exactly zero at")
    accuracy = tree["linf"]["accuracy"].sel(epsilon=0.1)
    assert float(accuracy.sel(attack="pgd")) < float(accuracy.sel(attack="fgsm"))


# ---------------------------------------------------------------------------------------------------- noise


def test_noise_without_clipping_is_the_exact_gaussian_error(digits):
    """A two-class linear classifier errs with probability Phi(-distance / sd)."""
    from scipy.stats import norm as gaussian

    two = {
        split: images.isel(presentation=np.flatnonzero(images["label"].values < 2)) for split, images in digits.items()
    }
    model = _fitted(two["train"])
    settings = {"linf": [], "l2": [], "noise": [0.5, 1.0, 2.0], "noise_clipped": False, "noise_draws": 50}
    tree = evaluate(model, two["test"], images=200, **settings)
    weights, bias = (parameter.detach().numpy() for parameter in model[1].parameters())
    w = weights[0] - weights[1]
    chosen = two["test"].isel(presentation=np.isin(two["test"].stimulus_id, tree["stimulus_id"]))
    logits = chosen["image"].values.reshape(-1, 64) @ weights.T + bias
    sign = np.where(chosen["label"].values == 0, 1, -1)
    distance = sign * (logits[:, 0] - logits[:, 1]) / np.linalg.norm(w)
    # The other eight classes are far away: their logits never win between a 0 and a 1.
    for sd in (0.5, 1.0):
        expected = gaussian.cdf(distance / sd).mean()
        assert float(tree["noise"]["accuracy"].sel(epsilon=sd)) == pytest.approx(expected, abs=0.02)


def test_medians_over_all_and_over_the_images_that_are_right(result):
    right = result["clean_correct"].values == 1
    for norm in ("linf", "l2", "noise"):
        distance = np.atleast_2d(result[norm]["critical_distance"].values)
        found = [np.atleast_1d(result[norm][f"median_critical_distance{of}"].values) for of in ("", "_correct")]
        np.testing.assert_allclose(found[0], [median(row) for row in distance])
        np.testing.assert_allclose(found[1], [median(row[right]) for row in distance])


# ------------------------------------------------------------------------------------------- any callable


def test_a_prepared_image_is_what_is_attacked(linear, digits):
    """Epsilons are in units of what the model takes; here images at a tenth of their contrast, in float64."""
    tenth = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).double()
    tenth[1].weight.data = 10 * linear[1].weight.data.double()
    tenth[1].bias.data = linear[1].bias.data.double()
    settings = {"attacks": [PGD(steps=100)], "images": 100, "linf": [], "noise": []}
    plain = evaluate(linear, digits["test"], l2=(0.25, 0.5, 1, 2, 6), **settings)
    scaled = evaluate(
        tenth.eval(), digits["test"], l2=(0.025, 0.05, 0.1, 0.2, 0.6), prepare=lambda x: x.double() / 10, **settings
    )
    found, expected = (tree["l2"]["median_critical_distance"].item() for tree in (scaled, plain))
    assert found == pytest.approx(expected / 10, rel=0.05)


def test_a_model_in_training_mode_is_attacked_as_it_is_used_and_left_as_it_was(digits):
    """Dropout would hide the gradients and batch norm would learn the attacked images."""
    parts = torch.nn.Flatten(), torch.nn.BatchNorm1d(64), torch.nn.Dropout(0.5), torch.nn.Linear(64, 10)
    model = torch.nn.Sequential(*parts)
    model(torch.as_tensor(digits["test"]["image"].values))  # statistics
    settings = {"images": 30, "linf": [0.05], "l2": [], "noise": []}
    used = evaluate(model.eval(), digits["test"], **settings)
    model.train()
    model[3].eval()
    before = model[1].running_mean.clone()
    assert evaluate(model, digits["test"], **settings).identical(used)
    assert [part.training for part in model] == [True, True, True, False]
    assert torch.equal(model[1].running_mean, before)


def test_a_model_is_frozen_meanwhile_and_left_as_it_was(digits):
    seen = []

    class Watched(torch.nn.Linear):
        def forward(self, images):
            seen.append(self.weight.requires_grad or self.bias.requires_grad)
            return super().forward(images.flatten(1))

    model = Watched(64, 10).eval()
    model.bias.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, digits["test"], images=10)
    assert not any(seen)
    assert (model.weight.requires_grad, model.bias.requires_grad) == (True, False)
    assert model.weight.grad is None
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with pytest.raises(DataError, match="labels from 0 to 9, but the model has 3 classes"):
        evaluate(Watched(64, 3).eval(), digits["test"])


def test_a_model_that_returns_nan_is_refused(linear, digits):
    with pytest.raises(NumericalError, match="the model returns NaN for"):
        evaluate(lambda x: linear(x) * torch.nan, digits["test"], images=10)
    with pytest.raises(NumericalError, match="the gradient of the cross-entropy is NaN at"):
        evaluate(lambda x: linear(x.square().sqrt()), digits["test"], images=10)


def test_a_model_without_gradients_still_has_its_noise(linear, digits):
    def answer(images):
        return torch.as_tensor(linear(images).detach().numpy())

    tree = evaluate(answer, digits["test"], attacks=[], images=10)
    assert set(tree.children) == {"noise"}
    with pytest.raises(ConfigError, match="the model gives no gradients"):
        evaluate(answer, digits["test"], images=10)


# ------------------------------------------------------------------------------------------- what is refused


def test_training_images_are_refused(linear, digits):
    with pytest.raises(SplitError, match="an evaluation of robustness must not see presentations of the split 'train'"):
        evaluate(linear, digits["train"], images=10)
    seen = digits["test"]["stimulus_id"].values[:50]
    with pytest.raises(SplitError, match="were used for fitting"):
        evaluate(linear, digits["test"], images=360, fitted=seen)


def test_images_without_labels_are_refused(linear, digits):
    with pytest.raises(DataError, match="the dataset has no labels"):
        evaluate(linear, digits["test"].drop_vars("label"))


@pytest.mark.parametrize("wrong", [{"linf": [0.2, 0.1]}, {"l2": [-0.1, 0.1]}, {"noise": [0.1, float("nan")]}])
def test_grids_must_ascend(linear, digits, wrong):
    with pytest.raises(ConfigError, match="must be non-negative and ascend"):
        evaluate(linear, digits["test"], **wrong)


def test_median_counts_zeros_and_infinities():
    assert median(np.array([0, 1, np.inf])) == 1
    assert median(np.array([0.0, 1, 2, np.inf])) == 1.5
    assert median(np.array([1, np.inf, np.inf])) == np.inf
    assert median(np.array([0.0, 1, np.inf, np.inf])) == np.inf
    assert np.isnan(median(np.array([])))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (torch.nn.Dropout(0.2), "answers the same images differently each time"),
        (torch.nn.BatchNorm1d(10), "otherwise when other images are shown with it"),
    ],
)
def test_a_training_mode_that_a_function_hides_is_found(linear, digits, layer, message):
    module = torch.nn.Sequential(linear, layer.train())
    with pytest.raises(ConfigError, match=message):
        evaluate(lambda images: module(images), digits["test"], images=20)


def test_numbers_of_another_precision_are_those_of_the_model(linear, digits):
    double = digits["test"].assign(image=digits["test"]["image"].astype(float))
    double["image"].attrs = digits["test"]["image"].attrs
    one, other = (evaluate(linear, data, images=20, linf=[0.1], l2=[], noise=[]) for data in (digits["test"], double))
    assert one.identical(other)


def test_labels_that_are_no_classes_are_refused(linear, digits):
    with pytest.raises(DataError, match="labels must be integers"):
        evaluate(linear, digits["test"].assign(label=digits["test"]["label"] + 0.6), images=20)
