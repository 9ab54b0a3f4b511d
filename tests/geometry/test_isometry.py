"""How far distances are kept: exact for isometries, independent of the order of images, refused for strangers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ortho_group, pearsonr

from biorep import datasets
from biorep.errors import DataError, NumericalError
from biorep.geometry import within_class_isometry
from biorep.networks.base import representation


@pytest.fixture
def images():
    return datasets.from_arrays(np.random.default_rng(0).random((30, 4, 2)), np.arange(30) % 3)


def shown(images, responses):
    return representation(responses.astype(np.float32), images, quantity="response", kind="test")


def test_isometry_of_each_class_correlates_perfectly_whatever_happens_between_classes(images):
    """Each class is turned and moved by itself and stretched by its label + 1."""
    rows, labels = images["image"].values.reshape(30, -1), images["label"].values
    turns = ortho_group.rvs(8, size=3, random_state=1)
    moved = np.stack([(c + 1) * rows[i] @ turns[c] + 10 * c for i, c in enumerate(labels)])
    found = within_class_isometry(shown(images, moved), images)
    np.testing.assert_allclose(found["pearson"], 1, atol=1e-5)
    np.testing.assert_allclose(found["scale"], [1, 2, 3], rtol=1e-5)
    assert found["pairs"].values.tolist() == [45, 45, 45]


def test_correlation_is_that_of_distances_pair_by_pair(images):
    responses = np.random.default_rng(1).random((30, 5))
    found = within_class_isometry(shown(images, responses), images)
    rows, labels = images["image"].values.reshape(30, -1), images["label"].values
    expected = []
    for label in range(3):
        own = np.flatnonzero(labels == label)
        pairs = [(i, j) for i in own for j in own if i < j]
        given = [np.linalg.norm(rows[i] - rows[j]) for i, j in pairs]
        expected.append(pearsonr([np.linalg.norm(responses[i] - responses[j]) for i, j in pairs], given)[0])
    np.testing.assert_allclose(found["pearson"], expected, atol=1e-5)
    assert float(found["mean_pearson"]) == pytest.approx(np.mean(expected), abs=1e-5)


def test_classes_without_pairs_are_left_out(images):
    few = images.isel(presentation=[0, 1, 3, 6, 9])  # four images of class 0, one of class 1
    found = within_class_isometry(shown(few, few["image"].values.reshape(5, -1)), few)
    assert np.isnan(found["pearson"].values[1])
    assert float(found["mean_pearson"]) == pytest.approx(1, abs=1e-6)
    with pytest.raises(DataError, match="none of the 3 classes has three images"):
        alone = images.isel(presentation=[0, 1, 2])
        within_class_isometry(shown(alone, alone["image"].values.reshape(3, -1)), alone)


def test_other_stimuli_are_refused(images):
    code = shown(images, np.zeros((30, 2)))
    with pytest.raises(DataError, match="not those of the same stimuli"):
        within_class_isometry(code, images.isel(presentation=slice(None, None, -1)))


def test_nan_is_refused_in_any_class(images):
    found = shown(images, np.random.default_rng(0).random((30, 5)))
    found["response"][4, 2] = np.nan
    with pytest.raises(NumericalError, match="'response' holds 1 values"):
        within_class_isometry(found, images)


def test_equal_distances_have_no_correlation(images):
    """Corners of a simplex: all distances are the root of two, up to rounding."""
    with pytest.raises(DataError, match="none of the 3 classes"):
        within_class_isometry(shown(images, np.eye(30)), images)


def test_images_are_read_by_the_names_of_their_dims(images):
    found = shown(images, np.random.default_rng(0).random((30, 5)))
    turned = images.transpose("row", "column", "presentation")
    with pytest.raises(DataError, match="first dim 'presentation'"):
        within_class_isometry(found, turned)
    with pytest.raises(DataError, match=r"use dataset.transpose\('presentation', 'row', 'column'\)"):
        within_class_isometry(found, images.transpose("presentation", "column", "row"))
