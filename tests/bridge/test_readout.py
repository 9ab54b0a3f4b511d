"""Readouts against scikit-learn, and the walls between training and test data."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

import biorep
from biorep import datasets
from biorep.bridge import Readout, classifier, predict, score
from biorep.errors import ConfigError, DataError, NumericalError, SplitError
from biorep.networks.base import representation


@pytest.fixture(scope="module")
def coded(digits):
    network = biorep.network("random-features", units=40)
    state = network.fit(digits["train"], seed=0)
    return {split: network.encode(state, images) for split, images in digits.items()}


def _logits(readout, representation):
    values = representation["response"].values.astype(np.float64)
    return values @ readout["readout_weights"].values.T + readout["readout_bias"].values


def _assert_close(first, second, tolerance=2e-3):
    """Two fits agree up to where the solver stops: a share of the norm of the weights."""
    difference = np.linalg.norm(first["readout_weights"].values - second["readout_weights"].values)
    assert difference < tolerance * np.linalg.norm(first["readout_weights"].values)


def test_lbfgs_finds_the_optimum_that_scikit_learn_finds(coded):
    from sklearn.linear_model import LogisticRegression

    penalty, train = 1e-3, coded["train"]
    readout = Readout(penalty=penalty, tolerance=1e-8, max_iterations=5000).fit(train)
    features = train["response"].values.astype(np.float64)
    scale = np.sqrt(((features - features.mean(0)) ** 2).mean())
    oracle = LogisticRegression(C=1 / (2 * penalty * len(features)), tol=1e-10, max_iter=10000)
    oracle.fit((features - features.mean(0)) / scale, train["label"].values)
    ours = _logits(readout, coded["test"])
    theirs = oracle.decision_function((coded["test"]["response"].values - features.mean(0)) / scale)
    # Softmax logits are defined up to one number per image.
    np.testing.assert_allclose(ours - ours.mean(1, keepdims=True), theirs - theirs.mean(1, keepdims=True), atol=0.02)


def test_squared_hinge_finds_the_optimum_that_scikit_learn_finds(coded):
    from sklearn.svm import LinearSVC

    penalty, train = 1e-3, coded["train"]
    readout = Readout(penalty=penalty, loss="squared-hinge", tolerance=1e-9, max_iterations=5000).fit(train)
    features = train["response"].values.astype(np.float64)
    features = (features - features.mean(0)) / np.sqrt(((features - features.mean(0)) ** 2).mean())
    # A huge constant feature makes the bias as good as free of scikit-learn's penalty.
    oracle = LinearSVC(C=1 / (2 * penalty * len(features)), intercept_scaling=1e3, tol=1e-8, max_iter=200_000)
    oracle.fit(features, train["label"].values)
    np.testing.assert_allclose(_logits(readout, train), oracle.decision_function(features), atol=0.1)
    with pytest.raises(ConfigError, match="needs optimiser 'lbfgs'"):
        Readout(loss="squared-hinge", optimiser="adam")


def test_adam_reaches_a_similar_accuracy(coded):
    exact = score(Readout(penalty=1e-4).fit(coded["train"]), coded["test"]).mean()
    adam = Readout(optimiser="adam", epochs=100, batch_size=100, learning_rate=1e-2, penalty=0).fit(
        coded["train"], seed=1
    )
    assert abs(float(score(adam, coded["test"]).mean() - exact)) < 0.03


def test_the_scale_of_the_code_does_not_matter(coded):
    scaled = coded["train"].assign(response=coded["train"]["response"] * 1000)
    first, second = Readout(penalty=1e-3).fit(coded["train"]), Readout(penalty=1e-3).fit(scaled)
    _assert_close(first, second.assign(readout_weights=second["readout_weights"] * 1000))


def test_repeats_become_samples(coded):
    doubled = coded["train"].copy()
    doubled["response"] = xr.concat([coded["train"]["response"]] * 2, "repeat")
    first, second = Readout(penalty=1e-3).fit(coded["train"]), Readout(penalty=1e-3).fit(doubled)
    _assert_close(first, second)
    np.testing.assert_array_equal(predict(second, doubled), predict(second, coded["train"]))


def test_a_readout_refuses_the_test_split(coded):
    with pytest.raises(SplitError, match="training of a readout must not see"):
        Readout().fit(coded["test"])


def test_a_mixture_of_train_and_test_is_refused_even_after_concatenation(coded):
    mixed = xr.concat([coded["train"], coded["test"]], "presentation", combine_attrs="override")
    with pytest.raises(SplitError, match="split 'test', found 360 of 1654"):
        Readout().fit(mixed)


def test_scoring_refuses_stimuli_that_were_fitted(coded):
    readout = Readout().fit(coded["train"])
    with pytest.raises(SplitError, match="were used for fitting"):
        score(readout, coded["train"])
    assert float(score(readout, coded["train"], allow_seen=True).mean()) > 0.9


def test_relabelling_the_split_does_not_hide_fitted_stimuli(coded):
    readout = Readout().fit(coded["train"])
    disguised = coded["train"].assign_coords(split=("presentation", ["test"] * coded["train"].sizes["presentation"]))
    with pytest.raises(SplitError, match="were used for fitting"):
        score(readout, disguised)


def test_responses_that_tell_nothing_apart_are_an_error(coded):
    constant = coded["train"].assign(response=coded["train"]["response"] * 0 + 1)
    with pytest.raises(DataError, match="does not tell any two images apart"):
        Readout().fit(constant)


def test_nan_responses_are_an_error(coded):
    from biorep.errors import NumericalError

    broken = coded["train"].copy(deep=True)
    broken["response"][3, 4] = np.nan
    with pytest.raises(NumericalError, match=r"1 values that are NaN or infinite, the first at index \(3, 4\)"):
        Readout().fit(broken)


def test_one_class_is_an_error(coded):
    zeros = coded["train"].isel(presentation=np.flatnonzero(coded["train"]["label"].values == 0))
    with pytest.raises(DataError, match="at least two classes"):
        Readout().fit(zeros)


def _representation(counts, labels):
    data = datasets.from_arrays(np.zeros((len(counts), 2, 2)), labels, class_names=["a", "b"])
    return representation(np.asarray(counts, np.float32), data, quantity="response", kind="test")


def test_assignment_lets_neuroids_vote_for_the_class_they_answer_most_to():
    """Diehl & Cook's label readout, with numbers that can be followed by hand."""
    import json

    counts = np.array([[4, 0, 1, 0], [2, 1, 0, 0], [0, 5, 3, 0], [0, 3, 3, 0]], np.float32)
    data = _representation(counts, [0, 0, 1, 1])
    fitted = Readout(source="assignment").fit(data)
    np.testing.assert_allclose(fitted["readout_weights"].values, [[1, 0, 0, 0], [0, 0.5, 0.5, 0]])
    assert fitted["readout_bias"].values.tolist() == [0, 0]
    assert json.loads(fitted.attrs["report"]) == {"fewest_voters": 1, "most_voters": 2}
    # A third class that nobody votes for.
    fitted = Readout(source="assignment").fit(_representation(counts[:, :1], [0, 0, 1, 1]))
    assert "no neuroid answers most to class" in fitted.attrs["warnings"]
    # Mean responses (3, 1/2, 1/2, 0) and (0, 4, 3, 0), as shares of their sums: of the voters, and of all.
    weighted = Readout(source="proportion").fit(data)["readout_weights"].values
    np.testing.assert_allclose(weighted, [[1, 0, 0, 0], [0, 8 / 9 / 2, 6 / 7 / 2, 0]], rtol=1e-6)
    shared = Readout(source="shares").fit(data)
    np.testing.assert_allclose(
        shared["readout_weights"].values, [[1, 1 / 9, 1 / 7, 0], [0, 8 / 9, 6 / 7, 0]], rtol=1e-6
    )
    assert shared["readout_bias"].values.tolist() == [0, 0]


# ------------------------------------------------------------------------------------------- what would lie in silence


def test_dims_are_read_by_their_names(coded):
    turned = coded["train"].transpose("neuroid", "presentation")
    _assert_close(Readout().fit(turned), Readout().fit(coded["train"]), 1e-6)


@pytest.fixture(scope="module")
def fitted(coded):
    return Readout().fit(coded["train"])


def _with(data, name, values):
    return data.assign({name: (data[name].dims, values, data[name].attrs)})


@pytest.mark.parametrize("place", [(slice(0, 5),), (slice(None), 3)])
def test_responses_that_are_no_numbers_are_not_scored(coded, fitted, place):
    values = coded["test"]["response"].values.copy()
    values[place] = np.nan
    with pytest.raises(NumericalError, match="'response' holds"):
        score(fitted, _with(coded["test"], "response", values))
    repeats = xr.concat([coded["test"], _with(coded["test"], "response", values)], "repeat", data_vars=["response"])
    with pytest.raises(NumericalError):  # a mean would pass over those of one repeat
        score(fitted, repeats)


def test_classes_are_matched_by_name(coded, fitted):
    test = coded["test"]
    names = json.loads(test["label"].attrs["class_names"])
    turned = _with(test, "label", len(names) - 1 - test["label"].values)
    turned["label"].attrs["class_names"] = json.dumps(names[::-1])
    assert score(fitted, turned).equals(score(fitted, test))
    turned["label"].attrs["class_names"] = json.dumps([*names[:-1], "ten"])
    with pytest.raises(DataError, match="there is no class 'ten' among those that were learnt"):
        score(fitted, turned)


@pytest.mark.parametrize("labels", [lambda x: x + 0.6, lambda x: np.where(x < 5, x, -100), lambda x: x + 10])
def test_labels_that_are_no_classes_are_refused(coded, labels):
    with pytest.raises(DataError, match="labels"):
        Readout().fit(_with(coded["train"], "label", labels(coded["train"]["label"].values)))


def test_other_neuroids_layers_and_quantities_are_refused(coded, fitted, digits):
    others = coded["test"].assign_coords(neuroid_id=("neuroid", np.arange(1, 41)))
    with pytest.raises(DataError, match="other neuroids than those that are read: see `neuroid_id`"):
        score(fitted, others)
    with pytest.raises(DataError, match="the readout reads 40 neuroids, the responses are 39"):
        score(fitted, coded["test"].isel(neuroid=slice(39)))
    network = biorep.network("mlp", hidden=[20, 20], epochs=1, evaluate=0)
    state = network.fit(digits["train"], seed=0)
    first = Readout().fit(network.encode(state, digits["train"], layer="hidden_1"))
    with pytest.raises(DataError, match="fitted to the layer 'hidden_1', and these are responses of 'hidden_2'"):
        score(first, network.encode(state, digits["test"]))
    with pytest.raises(DataError, match="fitted to the layer 'hidden_1', and the module answers with 'hidden_2'"):
        classifier(network, state, first)
    before = Readout().fit(network.encode(state, digits["train"], quantity="preactivation"))
    with pytest.raises(DataError, match="fitted to the quantity 'preactivation', and the module answers with 'respo"):
        classifier(network, state, before)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_responses_beyond_32_bits_are_refused(coded, factor):
    values = coded["train"]["response"].values.astype(float) * factor
    with pytest.raises(DataError, match="beyond what 32-bit numbers bear"):
        Readout().fit(_with(coded["train"], "response", values))
