"""Eigenspectra: identities, invariances, and agreement of all routes."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from biorep.errors import ConfigError, DataError, NumericalError
from biorep.spectra import eigenspectrum
from biorep.spectra.covariance import StreamedCovariance


def _array(values):
    return xr.DataArray(values, dims=("presentation", "neuroid"))


def _data(n, d, seed=0, offset=0.0):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.5 + offset


@pytest.mark.parametrize(("n", "d", "method"), [(60, 20, "covariance"), (20, 60, "gram"), (30, 30, "gram")])
@pytest.mark.parametrize("ddof", [0, 1])
def test_equals_the_singular_values(n, d, method, ddof):
    values = _data(n, d)
    spectrum = eigenspectrum(_array(values), ddof=ddof)
    singular = np.linalg.svd(values - values.mean(0), compute_uv=False)[: min(n - 1, d)]
    np.testing.assert_allclose(spectrum["eigenvalue"], singular**2 / (n - ddof), rtol=1e-10, atol=1e-13)
    assert spectrum.attrs["method"] == method


def test_sum_is_the_trace_and_participation_ratio_needs_no_eigenvalues():
    values = _data(50, 12)
    spectrum, covariance = eigenspectrum(_array(values)), np.cov(values.T)
    assert float(spectrum["eigenvalue"].sum()) == pytest.approx(np.trace(covariance), rel=1e-12)
    assert float(spectrum["total_variance"]) == pytest.approx(np.trace(covariance), rel=1e-12)
    expected = np.trace(covariance) ** 2 / (covariance**2).sum()
    assert float(spectrum["participation_ratio"]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "d"), [(40, 15), (15, 40)])
def test_rotations_shifts_and_the_order_of_presentations_change_nothing(n, d):
    values = _data(n, d)
    generator = np.random.default_rng(1)
    rotation, _ = np.linalg.qr(generator.standard_normal((d, d)))
    plain = eigenspectrum(_array(values))["eigenvalue"]
    changed = eigenspectrum(_array(values[generator.permutation(n)] @ rotation + 10.0))["eigenvalue"]
    np.testing.assert_allclose(changed, plain, rtol=0, atol=1e-10 * float(plain[0]))


def test_wide_data_have_n_minus_1_components():
    spectrum = eigenspectrum(_array(_data(10, 50)))
    assert spectrum.sizes["component"] == 9
    assert spectrum["component"].values.tolist() == list(range(1, 10))
    assert float(spectrum["eigenvalue"][-1]) > 1e-6


def test_flat_spectrum_has_the_participation_ratio_of_its_dimension():
    values = np.vstack([np.eye(5), -np.eye(5)])
    assert float(eigenspectrum(_array(values))["participation_ratio"]) == pytest.approx(5)


def test_float32_with_a_large_mean_keeps_its_tail():
    """The published defect: a covariance in float32 without the true mean loses the small eigenvalues."""
    values = _data(400, 100) * np.arange(1, 101) ** -1.0
    exact = eigenspectrum(_array(values))["eigenvalue"].values
    shifted = eigenspectrum(_array((values + 2.0).astype(np.float32)))["eigenvalue"].values
    np.testing.assert_allclose(shifted, exact, rtol=2e-4)
    naive = (values + 2.0).astype(np.float32)
    product = naive.T @ naive / 399 - np.outer(naive.mean(0), naive.mean(0)) * (400 / 399)
    naive_spectrum = np.sort(np.linalg.eigvalsh(product))[::-1]
    assert np.abs(naive_spectrum[-10:] / exact[-10:] - 1).max() > 0.01


def test_repeats_are_averaged():
    values = _data(30, 8)
    noise = np.random.default_rng(2).standard_normal(values.shape)
    repeated = xr.DataArray(np.stack([values + noise, values - noise]), dims=("repeat", "presentation", "neuroid"))
    np.testing.assert_allclose(
        eigenspectrum(repeated)["eigenvalue"], eigenspectrum(_array(values))["eigenvalue"], rtol=1e-10
    )


def test_silent_neuroids_and_numerical_rank_are_counted():
    values = np.hstack([_data(30, 5), np.zeros((30, 3)), np.ones((30, 1))])
    spectrum = eigenspectrum(_array(values))
    assert spectrum["n_silent"] == 4
    assert spectrum["numerical_rank"] == 5


def test_the_caller_s_array_is_not_changed():
    values = _data(20, 5)
    copy = values.copy()
    eigenspectrum(_array(values))
    np.testing.assert_array_equal(values, copy)


def test_bad_input():
    with pytest.raises(NumericalError, match="NaN or infinite"):
        eigenspectrum(_array(np.array([[1.0, np.nan], [0, 1]])))
    with pytest.raises(DataError, match="at least two presentations, got 1"):
        eigenspectrum(_array(np.ones((1, 3))))
    with pytest.raises(DataError, match="none of the 3 neuroids varies"):
        eigenspectrum(_array(np.ones((4, 3))))


def test_a_constant_that_rounding_moves_is_still_silent():
    with pytest.raises(DataError, match="none of the 3 neuroids varies"):
        eigenspectrum(_array(np.full((7, 3), 0.1)))


def test_nan_in_one_repeat_is_no_number_to_pass_over():
    values = xr.DataArray(np.random.default_rng(0).random((2, 9, 3)), dims=("repeat", "presentation", "neuroid"))
    values[1, 4, 2] = np.nan
    with pytest.raises(NumericalError, match="'response' holds 1 values"):
        eigenspectrum(values)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.ones((3, 3)), "with named dims, got ndarray"),
        (xr.Dataset({"image": ("presentation", np.ones(3))}), "it has no 'response' \\(it has image\\)"),
        (xr.DataArray(np.ones((3, 3)), dims=("presentation", "pixel")), "must be .* presentation, neuroid"),
        (xr.DataArray(np.ones(3), dims="neuroid"), "must be .* presentation, neuroid"),
        (_array(np.array([["a", "b"]])), "must be real numbers and not empty"),
        (_array(np.ones((3, 2)) * 1j), "must be real numbers and not empty"),
        (_array(np.ones((3, 2))).expand_dims("repeat").isel(repeat=[]), "must be real numbers and not empty"),
    ],
)
def test_what_is_no_representation_is_refused(wrong, message):
    with pytest.raises(DataError, match=message):
        eigenspectrum(wrong)


def test_no_degree_of_freedom_is_refused():
    with pytest.raises(ConfigError, match="ddof must be 0 or more and less than the 9 presentations, got 9"):
        eigenspectrum(_array(_data(9, 3)), ddof=9)


def test_a_streamed_covariance_takes_rows_alone():
    streamed, rows = StreamedCovariance(3), _data(20, 3)
    for part in (rows[:0], rows[:8], rows[8:8], rows[8:]):
        streamed.add(part)
    np.testing.assert_allclose(streamed.covariance(ddof=1), np.cov(rows.T), rtol=1e-12)
    with pytest.raises(DataError, match=r"rows must be \(row, 3\), got the shape \(3,\)"):
        streamed.add(rows[0])
