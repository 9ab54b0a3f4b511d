"""Gabor fits: exact recovery, independent shares of variance, and what a fit does not prove."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from biorep.datasets import gratings
from biorep.errors import ConfigError, DataError, NumericalError
from biorep.tuning import fields, fit_gabors

PARAMETERS = (
    "centre_row",
    "centre_column",
    "width_across",
    "width_along",
    "orientation",
    "frequency",
    "phase",
    "amplitude",
)


def _gabor(parameters, shape=(16, 16)):
    """A Gabor function in image coordinates: the wave vector by its components, the envelope by its matrix."""
    row0, column0, across, along, orientation, frequency, phase, amplitude = parameters
    angle = np.deg2rad(orientation)
    bars, normal = np.array([-np.sin(angle), np.cos(angle)]), np.array([-np.cos(angle), -np.sin(angle)])
    offset = np.moveaxis(np.indices(shape), 0, -1) - np.array([row0, column0])  # (row, column): down, right
    precision = np.outer(normal, normal) / across**2 + np.outer(bars, bars) / along**2
    envelope = np.exp(-np.einsum("...i,ij,...j", offset, precision, offset) / 2)
    return amplitude * envelope * np.cos(2 * np.pi * frequency * (offset @ normal) + np.deg2rad(phase))


def _draw(generator, side=16):
    centre = generator.uniform(0.25 * side, 0.75 * side, 2)
    widths = generator.uniform([1.2, 1.5], [0.2 * side, 0.25 * side])
    # At least a quarter of a cycle per width: below, frequency and width are hardly told apart.
    frequency = generator.uniform(max(0.08, 0.25 / widths[0]), 0.35)
    return np.array([*centre, *widths, generator.uniform(0, 180), frequency, generator.uniform(0, 360), 2.5])


def _fields(values):
    return xr.DataArray(np.asarray(values, float), dims=("neuroid", "row", "column"))


def _difference(fit, expected):
    """Largest deviation of each parameter over the units; angles modulo their periods."""
    found = np.stack([fit[name].values for name in PARAMETERS], 1)
    turned = np.array(expected, float)
    # A fit near 0 degrees may come out near 180, with the phase reversed.
    flipped = np.abs(found[:, 4] - turned[:, 4]) > 90
    turned[flipped, 4] += np.where(turned[flipped, 4] < 90, 180, -180)
    turned[flipped, 6] *= -1
    difference = np.abs(found - turned)
    difference[:, 6] = np.abs((found[:, 6] - turned[:, 6] + 180) % 360 - 180)
    return difference.max(0)


@pytest.fixture(scope="module")
def drawn():
    generator = np.random.default_rng(0)
    return np.array([_draw(generator) for _ in range(25)])


def test_exact_gabor_functions_are_recovered(drawn):
    fit = fit_gabors(_fields([_gabor(parameters) for parameters in drawn]))
    assert _difference(fit, drawn).max() < 1e-4
    np.testing.assert_allclose(fit["r2"], 1, atol=1e-6)
    assert fit["success"].all()
    assert not fit["at_bound"].any()
    assert ((fit["orientation"] >= 0) & (fit["orientation"] <= 180) & (fit["phase"] >= 0)).all()


def test_the_first_start_is_a_good_one(drawn):
    """Guards the geometry of the starts, whose errors more starts would hide."""
    fit = fit_gabors(_fields([_gabor(parameters) for parameters in drawn]), starts=1)
    assert float((fit["r2"] > 1 - 1e-6).mean()) >= 0.9


def test_noise_moves_the_parameters_little(drawn):
    generator = np.random.default_rng(1)
    clean = np.stack([_gabor(parameters) for parameters in drawn])
    clean /= clean.std(axis=(1, 2), keepdims=True)
    noisy = clean + 0.3 * generator.standard_normal(clean.shape)
    fit = fit_gabors(_fields(noisy))
    expected = drawn.copy()
    expected[:, 7] = fit["amplitude"]  # scaled above
    centre_row, centre_column, across, along, orientation, frequency, phase, _ = _difference(fit, expected)
    assert max(centre_row, centre_column) < 0.5
    assert max(across, along) < 0.7
    assert orientation < 6
    assert frequency < 0.02
    assert phase < 30
    np.testing.assert_allclose(fit["r2"], 1 / 1.09, atol=0.03)


def test_r2_is_that_of_the_reported_function(drawn):
    noisy = np.stack([_gabor(parameters) for parameters in drawn[:8]])
    noisy += np.random.default_rng(2).standard_normal(noisy.shape)
    fit = fit_gabors(_fields(noisy))
    for index, field in enumerate(noisy):
        model = _gabor([float(fit[name][index]) for name in PARAMETERS])
        expected = 1 - ((field - model) ** 2).sum() / ((field - field.mean()) ** 2).sum()
        assert float(fit["r2"][index]) == pytest.approx(expected, abs=1e-9)


def test_white_noise_is_not_a_gabor_function():
    noise = np.random.default_rng(3).standard_normal((15, 16, 16))
    fit = fit_gabors(_fields(noise))
    assert float(fit["r2"].max()) < 0.25
    assert float(fit["r2"].min()) > 0


def test_a_round_blob_is_fitted_too():
    """A good fit alone proves nothing: that needs gratings."""
    row, column = np.mgrid[:16, :16]
    blob = np.exp(-((row - 7) ** 2 + (column - 8) ** 2) / (2 * 2.0**2))
    fit = fit_gabors(_fields([blob]))
    assert float(fit["r2"][0]) > 0.999
    assert float(fit["frequency"][0] * fit["width_across"][0]) < 0.15  # no bars: a fraction of a cycle


def test_a_full_field_grating_is_fitted():
    shown = gratings(orientations=3, frequencies=[0.15], phases=1, normalised=False)
    fit = fit_gabors(shown["image"].rename(presentation="neuroid") - 0.5)
    assert float(fit["r2"].min()) > 0.99
    assert fit["at_bound"].all()  # the widths have no end
    assert fit["n_at_bound"] == 3
    np.testing.assert_allclose(fit["frequency"], 0.15, atol=0.005)
    turned = np.abs((fit["orientation"].values - [0, 60, 120] + 90) % 180 - 90)
    assert turned.max() < 1


def test_gratings_and_fits_mean_the_same_orientation_frequency_and_phase():
    shown = gratings(size=15, orientations=5, frequencies=[0.2], phases=4, normalised=False)
    row, column = np.mgrid[:15, :15]
    window = np.exp(-((row - 7) ** 2 + (column - 7) ** 2) / (2 * 2.5**2))
    fit = fit_gabors(_fields((2 * shown["image"].values - 1) * window))
    truth = [
        [7, 7, 2.5, 2.5, angle, 0.2, phase, 1] for angle, phase in zip(shown.orientation, shown.phase, strict=True)
    ]
    assert _difference(fit, truth).max() < 1e-3


def test_scale_and_sign_change_amplitude_and_phase_only(drawn):
    values = np.stack([_gabor(parameters) for parameters in drawn[:4]])
    values += 0.3 * np.random.default_rng(4).standard_normal(values.shape)
    reference, small, large, turned = (fit_gabors(_fields(factor * values)) for factor in (1, 1e-200, 1e200, -1))
    for fit, factor in ((small, 1e-200), (large, 1e200), (turned, 1)):
        np.testing.assert_allclose(fit["amplitude"], factor * reference["amplitude"], rtol=1e-5)
        for name in ("r2", "frequency", "orientation", "width_along"):
            np.testing.assert_allclose(fit[name], reference[name], rtol=1e-5)
    np.testing.assert_allclose((turned["phase"] - reference["phase"]) % 360, 180, atol=1e-3)


def test_the_gradient_is_that_of_the_cost():
    generator = np.random.default_rng(5)
    row, column = np.indices((16, 16)).reshape(2, -1).astype(float)
    values = generator.standard_normal(256)
    point = np.array([7.3, -8.1, np.log(2.1), np.log(3.2), 0.7, np.log(0.15)])
    arguments = (values, column, -row)

    def cost(parameters):
        return (fields._residual(parameters, *arguments) ** 2).sum() / 2

    gradient = fields._jacobian(point, *arguments).T @ fields._residual(point, *arguments)
    numeric = [(cost(point + step) - cost(point - step)) / 2e-6 for step in 1e-6 * np.eye(6)]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-7)


def test_fields_need_not_be_square_and_dims_may_be_in_any_order():
    truth = np.array([[5.0, 13.0, 1.5, 2.0, 100.0, 0.22, 40.0, 1.0]])
    values = _fields([_gabor(truth[0], (10, 20))]).assign_coords(neuroid_id=("neuroid", ["a"]))
    fit = fit_gabors(values.transpose("column", "neuroid", "row"))
    assert _difference(fit, truth).max() < 1e-4
    assert fit["neuroid_id"].values.tolist() == ["a"]


def test_the_smallest_fields_are_fitted():
    fit = fit_gabors(_fields(np.random.default_rng(6).standard_normal((3, 4, 4))), starts=16)
    assert ((fit["r2"] > 0) & (fit["r2"] <= 1)).all()


def test_flat_fields_are_counted_and_not_fitted(drawn):
    fit = fit_gabors(_fields([np.zeros((16, 16)), _gabor(drawn[0]), np.full((16, 16), 3.0)]))
    assert (int(fit["n_flat"]), int(fit["n_neuroids"])) == (2, 3)
    np.testing.assert_array_equal(np.isnan(fit["r2"]), [True, False, True])
    np.testing.assert_array_equal(fit["success"], [False, True, False])
    assert np.isnan(fit["orientation"].values[0])
    assert fit["success"].dtype == bool


def test_single_pixels_do_not_break_the_fit():
    pixel = np.zeros((2, 8, 8))
    pixel[0, 0, 0] = pixel[1, 4, 4] = 1
    fit = fit_gabors(_fields(pixel))
    assert (fit["r2"] > 0.95).all()
    assert (np.minimum(fit["width_across"], fit["width_along"]) < 1).all()


def test_a_checkerboard_at_the_sampling_limit_does_not_break_the_fit():
    row, column = np.mgrid[:8, :8]
    fit = fit_gabors(_fields([(-1.0) ** column, (-1.0) ** (row + column)]))
    assert float(fit["r2"][0]) > 0.9
    assert np.isfinite(fit["r2"]).all()


def test_units_and_attributes(drawn):
    fit = fit_gabors(_fields([_gabor(drawn[0])]), starts=2)
    assert fit.attrs["starts"] == 2
    assert all({"long_name", "units"} <= set(variable.attrs) for variable in fit.data_vars.values())
    assert fit["frequency"].attrs["units"] == "cycles/pixel"


def test_errors():
    with pytest.raises(DataError, match=r"fields must be \(neuroid, row, column\), got \(neuroid, input\); reshape"):
        fit_gabors(xr.DataArray(np.ones((3, 16)), dims=("neuroid", "input")))
    with pytest.raises(DataError, match="at least 4 x 4 pixels, got 3 x 8"):
        fit_gabors(_fields(np.ones((1, 3, 8))))
    with pytest.raises(NumericalError, match="'fields' holds 1 values that are NaN"):
        fit_gabors(_fields(np.where(np.arange(16).reshape(1, 4, 4) == 3, np.nan, 1.0)))
    for starts in (0, 17):
        with pytest.raises(ConfigError, match=f"starts must be from 1 to 16, got {starts}"):
            fit_gabors(_fields(np.ones((1, 8, 8))), starts=starts)
