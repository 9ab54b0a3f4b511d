"""The controls: random features and pixels."""

from __future__ import annotations

import numpy as np

import biorep


def test_random_features_have_the_he_scale_and_never_learn(digits):
    network = biorep.network("random-features", units=4000)
    weights = network.fit(digits["train"], seed=0)["weights"].values
    assert abs(weights.mean()) < 3 * np.sqrt(2 / 64) / np.sqrt(weights.size)
    np.testing.assert_allclose(weights.std(), np.sqrt(2 / 64), rtol=0.01)
    np.testing.assert_array_equal(weights, network.fit(digits["validation"], seed=0)["weights"])


def test_controls_say_what_they_depend_on():
    pixels, features = biorep.network("pixels"), biorep.network("random-features")
    assert (pixels.seeded, features.seeded) == (False, True)
    assert pixels.all_versions() == {"encoder": 1, "pixels": 1}
    assert features.all_versions() == {"encoder": 1, "random-features": 1}


def test_pixels_are_the_pixels(digits):
    network = biorep.network("pixels")
    response = network.encode(network.fit(digits["train"], seed=0), digits["test"])
    np.testing.assert_array_equal(response["response"], digits["test"]["image"].values.reshape(-1, 64))


def test_representation_keeps_the_coordinates_of_the_presentations(digits):
    network = biorep.network("pixels", input_norm=2)
    response = network.encode(network.fit(digits["train"], seed=0), digits["test"])
    assert response["response"].dims == ("presentation", "neuroid")
    for name in ("stimulus_id", "object_name", "split"):
        np.testing.assert_array_equal(response[name], digits["test"][name])
    np.testing.assert_array_equal(response["label"], digits["test"]["label"])
    np.testing.assert_allclose(np.linalg.norm(response["response"], axis=1), 1, rtol=1e-5)
    assert response["response"].attrs["long_name"]
    assert response["response"].attrs["units"] == "1"


def test_a_black_image_stays_black(digits):
    black = digits["test"].copy(deep=True)
    black["image"][0] = 0
    network = biorep.network("random-features", units=10)
    response = network.encode(network.fit(digits["train"], seed=0), black)["response"].values
    assert (response[0] == 0).all()


def test_signed_patches_go_through_a_network_that_accepts_them():
    patches = biorep.datasets.load("natural-patches", source="photographs", size=8, count=200)
    network = biorep.network("krotov-hopfield", units=20, k=2, epochs=2)
    assert network.encode(network.fit(patches, seed=0), patches).sizes["neuroid"] == 20
