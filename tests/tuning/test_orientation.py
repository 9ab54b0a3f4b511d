"""Tuning: analytic curves, filters of known orientation, silent and negative responses."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from biorep.datasets import gratings
from biorep.errors import DataError, NumericalError
from biorep.tuning import fit_gabors, tuning

SUMMARIES = ("preferred_orientation", "preferred_frequency", "selectivity", "osi", "modulation_ratio")


def _represent(shown, responses):
    """A representation with the given responses, (presentation, neuroid)."""
    coords = {name: shown[name] for name in ("orientation", "frequency", "phase")}
    return xr.Dataset({"response": (("presentation", "neuroid"), np.asarray(responses))}, coords=coords)


def _turned(first, second):
    """Difference of two orientations, in degrees."""
    return np.abs((np.asarray(first) - np.asarray(second) + 90) % 180 - 90)


@pytest.fixture(scope="module")
def shown():
    return gratings(size=16, orientations=24, phases=8)


@pytest.mark.parametrize("preferred", [0.0, 33.0, 90.0, 172.0])
@pytest.mark.parametrize("depth", [1.0, 0.4])
def test_a_cosine_curve_has_half_its_depth_as_selectivity(shown, preferred, depth):
    response = 3 * (1 + depth * np.cos(2 * np.deg2rad(shown["orientation"].values - preferred)))
    found = tuning(_represent(shown, response[:, None]))
    assert float(found["selectivity"][0]) == pytest.approx(depth / 2, abs=1e-12)
    assert _turned(found["preferred_orientation"][0], preferred) < 1e-9
    assert float(found["modulation_ratio"][0]) == pytest.approx(0, abs=1e-12)
    if preferred in (0.0, 90.0):  # orientations that were shown
        assert float(found["osi"][0]) == pytest.approx(depth, abs=1e-12)
    np.testing.assert_allclose(found["curve"][0], response.reshape(24, 6, 8)[:, 0, 0], rtol=1e-12)


def test_extremes_of_selectivity(shown):
    single = (shown["orientation"].values == 30) * 1.0
    found = tuning(_represent(shown, np.stack([single, np.ones(len(single))], 1)))
    np.testing.assert_allclose(found["selectivity"], [1, 0], atol=1e-12)
    np.testing.assert_allclose(found["osi"], [1, 0], atol=1e-12)
    assert float(found["preferred_orientation"][0]) == pytest.approx(30)
    assert np.isnan(found["preferred_orientation"].values[1])  # a flat curve has no direction
    assert found["n_silent"] == 0


@pytest.mark.parametrize("count", [3, 8, 9])
def test_an_odd_number_of_orientations_takes_the_orthogonal_between_two(count):
    shown = gratings(size=8, orientations=count, frequencies=[0.2], phases=1)
    angles = shown["orientation"].values
    response = 1 + np.cos(2 * np.deg2rad(angles))
    found = tuning(_represent(shown, response[:, None]))
    orthogonal = np.interp(90, angles, response)
    assert float(found["osi"][0]) == pytest.approx((2 - orthogonal) / (2 + orthogonal), abs=1e-12)


def test_modulation_tells_simple_from_complex_cells(shown):
    wave = np.cos(np.deg2rad(shown["phase"].values - 45))
    tuned = 1 + np.cos(2 * np.deg2rad(shown["orientation"].values))
    linear, rectified, energy = 1 + wave, np.maximum(wave, 0), np.full(len(wave), 2.0)
    found = tuning(_represent(shown, np.stack([linear, rectified, energy], 1) * tuned[:, None]))
    samples = np.maximum(np.cos(np.arange(8) * np.pi / 4), 0)
    half = 2 * (samples * np.cos(np.arange(8) * np.pi / 4)).sum() / samples.sum()
    np.testing.assert_allclose(found["modulation_ratio"], [1, half, 0], atol=1e-12)
    assert half == pytest.approx(np.pi / 2, abs=0.1)


def test_too_few_phases_give_no_modulation_ratio():
    shown = gratings(size=8, orientations=4, frequencies=[0.2], phases=2)
    found = tuning(_represent(shown, np.ones((8, 1))))
    assert np.isnan(found["modulation_ratio"].values).all()
    assert float(found["selectivity"][0]) == pytest.approx(0, abs=1e-12)


def test_rectified_gabor_filters_show_what_they_are_made_of(shown):
    generator = np.random.default_rng(0)
    angles, frequencies = generator.uniform(0, 180, 20), generator.choice(np.unique(shown["frequency"])[2:5], 20)
    row, column = np.mgrid[:16, :16] - 7.5
    filters = []
    for angle, frequency, phase in zip(np.deg2rad(angles), frequencies, generator.uniform(0, 6, 20), strict=True):
        across = -row * np.cos(angle) - column * np.sin(angle)
        filters.append(np.exp(-(row**2 + column**2) / 18) * np.cos(2 * np.pi * frequency * across + phase))
    filters = np.stack(filters)
    responses = np.maximum(shown["image"].values.reshape(-1, 256) @ filters.reshape(20, 256).T, 0)
    found = tuning(_represent(shown, responses))
    assert _turned(found["preferred_orientation"], angles).max() < 3
    np.testing.assert_allclose(found["preferred_frequency"], frequencies)
    assert float(found["selectivity"].min()) > 0.5
    assert (found["modulation_ratio"] > 1).all()
    fit = fit_gabors(xr.DataArray(filters, dims=("neuroid", "row", "column")))
    assert _turned(found["preferred_orientation"], fit["orientation"]).max() < 3
    # A pair in quadrature is an energy model: as selective, but blind to the phase.
    paired = sum(
        (shown["image"].values.reshape(-1, 256) @ (np.exp(-(row**2 + column**2) / 18) * wave).ravel()) ** 2
        for wave in (np.cos(2 * np.pi * 0.25 * column), np.sin(2 * np.pi * 0.25 * column))
    )
    energy = tuning(_represent(shown, paired[:, None]))
    assert float(energy["modulation_ratio"][0]) < 0.1
    assert _turned(energy["preferred_orientation"][0], 90) < 1
    assert float(energy["selectivity"][0]) > 0.5


def test_the_preferred_frequency_has_the_largest_mean_over_phases(shown):
    mean = np.where(shown["frequency"] == 0.25, 2.0, 1.0) + 0.1 * (shown["orientation"].values == 60)
    burst = np.where((shown["frequency"] == 0.125) & (shown["phase"] == 90), 5.0, 0.0)  # one phase does not count
    found = tuning(_represent(shown, (mean + burst)[:, None]))
    assert float(found["preferred_frequency"][0]) == 0.25
    assert float(found["curve"][0].max()) == pytest.approx(2.1)
    assert found["frequency"].values.tolist() == np.unique(shown["frequency"]).tolist()


def test_scale_and_order_do_not_matter(shown):
    generator = np.random.default_rng(1)
    representation = _represent(shown, generator.random((shown.sizes["presentation"], 5)))
    reference = tuning(representation)
    shuffled = representation.isel(presentation=generator.permutation(shown.sizes["presentation"]))
    for other in (shuffled, representation.assign(response=1e-30 * representation["response"])):
        for name in SUMMARIES:
            np.testing.assert_allclose(tuning(other)[name], reference[name], rtol=1e-9)


def test_repeats_and_repeated_presentations_are_averaged(shown):
    generator = np.random.default_rng(2)
    one, two = (_represent(shown, generator.random((shown.sizes["presentation"], 3))) for _ in range(2))
    mean = tuning((one + two) / 2)
    xr.testing.assert_allclose(mean["curve"], tuning(xr.concat([one, two], "repeat"))["curve"])
    xr.testing.assert_allclose(mean["curve"], tuning(xr.concat([one, two], "presentation"))["curve"])


def test_silent_neuroids_are_nan_and_counted(shown):
    responses = np.zeros((shown.sizes["presentation"], 3), np.float32)
    responses[:, 1] = 1 + np.cos(2 * np.deg2rad(shown["orientation"]))
    representation = _represent(shown, responses).assign_coords(neuroid_id=("neuroid", ["a", "b", "c"]))
    found = tuning(representation)
    assert (int(found["n_silent"]), int(found["n_neuroids"])) == (2, 3)
    for name in SUMMARIES:
        np.testing.assert_array_equal(np.isnan(found[name]), [True, False, True])
    assert float(np.abs(found["curve"][0]).max()) == 0
    assert found["neuroid_id"].values.tolist() == ["a", "b", "c"]
    assert all({"long_name", "units"} <= set(found[name].attrs) for name in (*found.data_vars, "orientation"))


def test_missing_coordinates_are_named(shown):
    representation = _represent(shown, np.ones((shown.sizes["presentation"], 2)))
    with pytest.raises(DataError, match=r"no coordinate 'frequency', 'phase' along presentation .*, orientation\)"):
        tuning(representation.drop_vars(["frequency", "phase"]))
    with pytest.raises(DataError, match=r"\(it has none\).*encode biorep\.datasets\.gratings\(\)"):
        tuning(representation.reset_coords(drop=True))


def test_gratings_that_were_not_shown(shown):
    representation = _represent(shown, np.ones((shown.sizes["presentation"], 2)))
    with pytest.raises(DataError, match="2 of the 1152 gratings of 24 orientations x 6 frequencies x 8 phases"):
        tuning(representation.isel(presentation=slice(2, None)))
    uneven = representation.isel(presentation=np.flatnonzero(shown["orientation"].values < 100))
    with pytest.raises(DataError, match=r"orientations must be evenly spaced over 180 degrees.*got 0, 7\.5, .*\.\.\.$"):
        tuning(uneven)
    with pytest.raises(DataError, match="phases must be evenly spaced over 360 degrees"):
        tuning(representation.isel(presentation=np.flatnonzero(shown["phase"].values < 180)))
    two = gratings(size=8, orientations=2, frequencies=[0.2])
    with pytest.raises(DataError, match="at least 3 orientations, got 2"):
        tuning(_represent(two, np.ones((16, 1))))


def test_responses_without_meaning(shown):
    ones = np.ones((shown.sizes["presentation"], 2))
    signed = ones.copy()
    signed[3, 1] = -0.5
    with pytest.raises(DataError, match=r"responses >= 0, the smallest is -0\.5.*quantity='response'"):
        tuning(_represent(shown, signed))
    with pytest.raises(NumericalError, match="'response' holds 1 values"):
        tuning(_represent(shown, np.where(signed < 0, np.nan, ones)))
    with pytest.raises(DataError, match="must be real numbers and not empty"):
        tuning(_represent(shown, ones[:, :0]))
