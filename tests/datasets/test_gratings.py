"""Gratings: every image is the wave that its coordinates state, in the range that it states."""

from __future__ import annotations

import numpy as np
import pytest

from biorep import datasets
from biorep.datasets import from_arrays, gratings
from biorep.errors import ConfigError
from biorep.schema import check_dataset, label_names


def _spectrum_peak(image):
    """Return the wave vector (to the right, upwards) in cycles/pixel of the largest Fourier component."""
    amplitude = np.abs(np.fft.fft2(image))
    row, column = np.unravel_index(amplitude.argmax(), amplitude.shape)
    return np.array([np.fft.fftfreq(image.shape[1])[column], -np.fft.fftfreq(image.shape[0])[row]])


def test_the_defaults_cover_the_grid_once():
    data = gratings()
    check_dataset(data)
    assert dict(data.sizes) == {"presentation": 24 * 6 * 8, "row": 16, "column": 16}
    shown = list(zip(*(data[name].values for name in ("orientation", "frequency", "phase")), strict=True))
    assert len(set(shown)) == len(shown)
    np.testing.assert_array_equal(np.unique(data["orientation"]), np.arange(24) * 7.5)
    np.testing.assert_array_equal(np.unique(data["phase"]), np.arange(8) * 45.0)
    np.testing.assert_allclose(np.diff(np.log2(np.unique(data["frequency"]))), 0.5, atol=2e-3)
    assert set(data["split"].values) == {"test"}


def test_labels_are_indices_of_the_orientation():
    data = gratings(size=8, orientations=6, phases=2)
    np.testing.assert_array_equal(data["label"].values * 30.0, data["orientation"].values)
    assert label_names(data)[3] == "90 degrees"
    units = [data[name].attrs["units"] for name in ("orientation", "frequency", "phase")]
    assert units == ["degree", "cycles/pixel", "degree"]


def test_normalised_images_are_like_natural_patches():
    patches = datasets.load("natural-patches", "test", source="photographs", size=12, count=20)
    data = gratings(size=12)
    values = data["image"].values
    np.testing.assert_allclose(values.mean(axis=(1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(values.var(axis=(1, 2)), 1, atol=1e-5)
    assert data["image"].attrs["value_range"] == patches["image"].attrs["value_range"]
    assert data["image"].dtype == patches["image"].dtype == np.float32
    half = gratings(size=12, contrast=0.5)
    np.testing.assert_allclose(half["image"].values, values / 2, atol=1e-6)


@pytest.mark.parametrize("contrast", [1.0, 0.3])
def test_luminances_have_the_michelson_contrast(contrast):
    data = gratings(size=32, contrast=contrast, normalised=False)
    values = data["image"].values
    assert data["image"].attrs["value_range"] == [0.0, 1.0]
    assert values.max() - values.min() == pytest.approx(contrast, rel=0.02)
    assert (values.max() + values.min()) / 2 == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("normalised", [True, False])
def test_images_are_the_stated_cosine(normalised):
    data = gratings(size=9, orientations=5, phases=3, normalised=normalised)
    row, column = np.mgrid[:9, :9]
    for index in range(0, data.sizes["presentation"], 7):
        one = data.isel(presentation=index)
        angle, phase = np.deg2rad(float(one["orientation"])), np.deg2rad(float(one["phase"]))
        across = (4 - row) * np.cos(angle) - (column - 4) * np.sin(angle)
        wave = np.cos(2 * np.pi * float(one["frequency"]) * across + phase)
        expected = (wave - wave.mean()) / wave.std() if normalised else (1 + wave) / 2
        np.testing.assert_allclose(one["image"].values, expected, atol=1e-5)


def test_orientation_is_that_of_the_bars_counter_clockwise_from_horizontal():
    data = gratings(size=16, orientations=4, frequencies=[0.25], phases=1)
    horizontal, oblique, vertical, _ = data["image"].values
    np.testing.assert_allclose(horizontal, np.broadcast_to(horizontal[:, :1], (16, 16)), atol=1e-6)
    np.testing.assert_allclose(vertical, np.broadcast_to(vertical[:1], (16, 16)), atol=1e-6)
    # At 45 degrees bars run from the lower left to the upper right: along anti-diagonals.
    np.testing.assert_allclose(oblique[1:, :-1], oblique[:-1, 1:], atol=1e-6)


@pytest.mark.parametrize("frequency", [0.125, 0.25])
@pytest.mark.parametrize(("angle", "direction"), [(0, (0, 1)), (45, (-1, 1)), (90, (-1, 0)), (135, (-1, -1))])
def test_the_wave_of_the_spectrum_is_orthogonal_to_the_bars(angle, direction, frequency):
    scale = frequency * np.hypot(*direction)  # oblique waves then have a whole number of cycles in the patch
    data = gratings(size=16, orientations=4, frequencies=[scale], phases=1)
    found = _spectrum_peak(data["image"].values[data["orientation"].values == angle][0])
    expected = frequency * np.array(direction)
    np.testing.assert_allclose(found * np.sign(found @ expected), expected, atol=1e-12)


def test_phases_of_half_a_turn_are_opposite():
    first, second = gratings(size=8, orientations=1, frequencies=[0.2], phases=2)["image"].values
    np.testing.assert_allclose(first, -second, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"size": size}, "size must be a whole number, at least 4") for size in (3, "16", 16.0, True, float("nan"))),
        ({"orientations": 0}, "orientations must be a whole number, at least 1, got 0"),
        ({"phases": -1}, "phases must be a whole number, at least 1, got -1"),
        ({"normalised": "no"}, "normalised must be true or false, got 'no'"),
        ({"contrast": "1"}, "contrast must be larger than 0 and at most 1, got 1"),
        ({"contrast": True}, "contrast must be larger than 0 and at most 1, got True"),
        ({"contrast": float("nan")}, "contrast must be larger than 0"),
        ({"frequencies": 0.1}, "frequencies must be a list of numbers, got 0.1"),
        ({"frequencies": "0.1"}, "frequencies must be a list of numbers, got 0.1"),
        ({"frequencies": [0.1, float("nan")]}, "got nan"),
        ({"contrast": 0.0}, "contrast must be larger than 0 and at most 1, got 0.0"),
        ({"contrast": 1.5}, "got 1.5"),
        ({"frequencies": []}, "at least one"),
        ({"frequencies": [0.1, 0.1]}, "different numbers"),
        (
            {"frequencies": [0.1, 0.5, 0.01]},
            r"from 0.03125 cycles/pixel \(half a cycle across 16 pixels\).*got 0.5, 0.01$",
        ),
        ({"frequencies": [0.4999]}, "0.4999 cycles/pixel nearly vanish at some phase"),
    ],
)
def test_settings_out_of_bounds(options, message):
    with pytest.raises(ConfigError, match=message):
        gratings(**options)


def test_gratings_are_for_testing_only():
    from biorep import network
    from biorep.errors import SplitError

    with pytest.raises(SplitError):
        network("random-features", units=4).fit(gratings(size=8, orientations=4), seed=0)


def test_representations_keep_the_coordinates():
    from biorep import network

    shown = gratings(size=8, orientations=4)
    images = np.random.default_rng(0).uniform(-1, 1, (20, 8, 8))
    model = network("random-features", units=4)
    state = model.fit(from_arrays(images, value_range=(-8, 8)), seed=0)
    representation = model.encode(state, shown)
    for name in ("orientation", "frequency", "phase"):
        np.testing.assert_array_equal(representation[name], shown[name])
