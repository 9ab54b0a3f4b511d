"""Power-law fits: exact laws, independent least squares, named conventions, expected wrong answers."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from biorep.errors import ConfigError, DataError, NumericalError
from biorep.spectra import Spectrum, eigenspectrum, fit_powerlaw, powerlaw_deviation
from biorep.spectra.powerlaw import convention_of
from biorep.tables import CONVENTIONS


def _spectrum(values, n=100_000):
    values = np.asarray(values, dtype=float)
    return xr.Dataset(
        {"eigenvalue": ("component", values), "n_presentations": n, "n_neuroids": len(values)},
        coords={"component": np.arange(1, len(values) + 1)},
    )


def _noisy(length, seed=0, alpha=1.0):
    noise = np.random.default_rng(seed).normal(0, 0.2, length)
    return np.arange(1, length + 1) ** -alpha * np.exp(noise)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.67])
@pytest.mark.parametrize("weight", ["1/rank", "none"])
def test_an_exact_power_law_is_returned(alpha, weight):
    fit = fit_powerlaw(_spectrum(3.0 * np.arange(1, 701) ** -alpha), weight=weight)
    assert float(fit["alpha"]) == pytest.approx(alpha, abs=1e-12)
    assert float(fit["log_intercept"]) == pytest.approx(np.log(3.0), abs=1e-11)
    assert float(fit["r2"]) == pytest.approx(1, abs=1e-12)
    assert float(fit["residual_se"]) == pytest.approx(0, abs=1e-12)
    assert (int(fit["first_rank"]), int(fit["last_rank"])) == (11, 500)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_conventions_equal_least_squares_on_the_scaled_design(name):
    values, rule = _noisy(2000), convention_of(name)
    ranks = np.arange(rule.first, rule.last + 1)
    root = np.sqrt(1 / ranks if rule.weight == "1/rank" else np.ones(len(ranks)))
    design = np.stack([np.ones(len(ranks)), np.log(ranks)], 1) * root[:, None]
    (_, slope), *_ = np.linalg.lstsq(design, np.log(values[ranks - 1]) * root, rcond=None)
    fit = fit_powerlaw(_spectrum(values), convention=name)
    assert float(fit["alpha"]) == pytest.approx(-slope, abs=1e-12)
    assert fit.attrs["convention"] == name


def test_conventions_disagree_on_one_and_the_same_spectrum():
    found = {round(float(fit_powerlaw(_spectrum(_noisy(2000)), convention=name)["alpha"]), 6) for name in CONVENTIONS}
    assert len(found) == len(CONVENTIONS)


def test_a_short_spectrum_ends_the_window_of_a_convention():
    fit = fit_powerlaw(_spectrum(_noisy(150)), convention="stringer-matlab")
    assert int(fit["last_rank"]) == 148


def test_policies_for_values_that_are_not_positive():
    values = _noisy(100)
    values[[30, 60]] *= -1
    folded, dropped = (fit_powerlaw(_spectrum(values), negative=policy) for policy in ("abs", "drop"))
    assert int(folded["n_not_positive"]) == 2
    assert float(folded["alpha"]) == pytest.approx(float(fit_powerlaw(_spectrum(np.abs(values)))["alpha"]), abs=1e-12)
    ranks = np.array([r for r in range(11, 81) if values[r - 1] > 0])
    root = ranks**-0.5
    design = np.stack([np.ones(len(ranks)), np.log(ranks)], 1) * root[:, None]
    (_, slope), *_ = np.linalg.lstsq(design, np.log(values[ranks - 1]) * root, rcond=None)
    assert float(dropped["alpha"]) == pytest.approx(-slope, abs=1e-12)


def test_the_sandwich_error_is_that_of_an_explicit_regression():
    values = _noisy(300)
    fit = fit_powerlaw(_spectrum(values), first=5, last=200)
    ranks = np.arange(5, 201)
    w, x, y = 1 / ranks, np.log(ranks), np.log(values[4:200])
    design = np.stack([np.ones_like(x), x], 1)
    bread = np.linalg.inv(design.T @ (design * w[:, None]))
    residual = y - design @ (bread @ design.T @ (w * y))
    meat = design.T @ (design * (w * residual)[:, None] ** 2)
    assert float(fit["residual_se"]) == pytest.approx(np.sqrt((bread @ meat @ bread)[1, 1]), rel=1e-9)


def test_automatic_window_follows_n_and_d():
    assert int(fit_powerlaw(_spectrum(_noisy(100), n=61))["last_rank"]) == 48
    assert int(fit_powerlaw(_spectrum(_noisy(100)))["last_rank"]) == 80


def test_too_few_ranks_are_an_error_unless_the_window_is_named():
    spectrum = _spectrum(_noisy(30))
    with pytest.raises(
        DataError, match=r"30 neuroids \(numerical rank 30\) leave ranks 11 to 24 for a fit, fewer than 20"
    ):
        fit_powerlaw(spectrum)
    assert int(fit_powerlaw(spectrum, first=5, last=24)["last_rank"]) == 24


def test_rounding_errors_beyond_the_numerical_rank_are_left_out():
    generator = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(generator.standard_normal((60, 60)))
    draws = generator.standard_normal((5000, 60)) * np.arange(1, 61) ** -0.5
    draws[:, 40:] = 0
    spectrum = eigenspectrum(xr.DataArray(draws @ rotation.T, dims=("presentation", "neuroid")))
    assert spectrum["numerical_rank"] == 40
    fit = fit_powerlaw(spectrum, first=5, last=55)
    assert (int(fit["last_rank"]), int(fit["n_beyond_rank"])) == (40, 15)
    assert float(fit["alpha"]) == pytest.approx(1.0, abs=0.05)
    assert int(fit_powerlaw(spectrum)["last_rank"]) == 40
    with pytest.raises(DataError, match="the numerical rank of the spectrum is 40"):
        fit_powerlaw(spectrum, first=45, last=55)


def test_a_convention_and_its_parts_are_not_given_together():
    with pytest.raises(ConfigError, match=r"do not give \['last'\] as well"):
        fit_powerlaw(_spectrum(_noisy(100)), convention="stringer-matlab", last=50)
    with pytest.raises(ConfigError, match="did you mean 'stringer-matlab'"):
        fit_powerlaw(_spectrum(_noisy(100)), convention="stringer_matlap")
    with pytest.raises(ConfigError, match="the window 50-200 does not fit a spectrum of 100 ranks"):
        fit_powerlaw(_spectrum(_noisy(100)), first=50, last=200)


def test_the_finite_sample_bias_is_the_known_one():
    """A guard against silent corrections: alpha = 1, d = 500, n = 1000, ranks 11-400 gives 1.084, not 1."""
    generator = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(generator.standard_normal((500, 500)))
    draws = generator.standard_normal((1000, 500)) * np.arange(1, 501) ** -0.5
    spectrum = eigenspectrum(xr.DataArray(draws @ rotation.T, dims=("presentation", "neuroid")))
    assert float(fit_powerlaw(spectrum, last=400)["alpha"]) == pytest.approx(1.084, abs=0.02)


def test_deviation_from_a_law_is_zero_on_it_and_the_factor_off_it():
    ranks = np.arange(1, 601)
    eigenvalues = 3.0 / ranks
    spectrum = xr.Dataset({"eigenvalue": ("component", eigenvalues)})
    assert powerlaw_deviation(spectrum) == pytest.approx(0, abs=1e-12)
    bent = spectrum.assign(eigenvalue=("component", np.where(ranks > 11, eigenvalues / 10, eigenvalues)))
    assert powerlaw_deviation(bent) == pytest.approx(489 / 490)  # a decade at all ranks but the anchor
    steep = spectrum.assign(eigenvalue=("component", ranks**-2.0))
    assert powerlaw_deviation(steep) == pytest.approx(np.log10(ranks[10:500] / 11).mean())
    assert powerlaw_deviation(steep, alpha=2.0) == pytest.approx(0, abs=1e-12)
    with pytest.raises(DataError, match="ranks 11 to 500 were asked for, and the spectrum has 300 positive"):
        powerlaw_deviation(spectrum.isel(component=slice(300)))


LAW = 1 / np.arange(1, 201.0)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (LAW[::-1], DataError, "the first is not the largest"),
        (np.random.default_rng(0).permutation(LAW), DataError, "the first is not the largest"),
        (np.where(np.arange(200) == 7, np.nan, LAW), NumericalError, "'eigenvalue' holds 1 values"),
        (np.where(np.arange(200) == 7, np.inf, LAW), NumericalError, "'eigenvalue' holds 1 values"),
    ],
)
def test_what_is_no_spectrum_is_refused(values, error, message):
    for function in (fit_powerlaw, powerlaw_deviation):
        with pytest.raises(error, match=message):
            function(_spectrum(values), first=11, last=100)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weight": "1/rnk"}, "unknown weight '1/rnk'; did you mean '1/rank'"),
        ({"negative": "Drop"}, "unknown negative 'Drop'; did you mean 'drop'"),
        ({"first": 0}, "first must be a whole number, at least 1, got 0"),
        ({"last": 99.9}, "last must be a whole number, at least 1, got 99.9"),
        ({"first": True}, "first must be a whole number"),
        ({"last": "Auto"}, "unknown last .Auto.; did you mean .auto."),
    ],
)
def test_wrong_words_and_ranks_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        fit_powerlaw(_spectrum(LAW), **({"first": 11, "last": 100} | wrong))


@pytest.mark.parametrize("nothing", [xr.Dataset({"a": 1}), LAW])
def test_what_has_no_eigenvalues_is_no_spectrum(nothing):
    for function in (fit_powerlaw, powerlaw_deviation):
        with pytest.raises(DataError, match="this is no spectrum"):
            function(nothing, first=11, last=100)


@pytest.mark.parametrize(
    "wrong",
    [{"first": 20, "last": 12}, {"anchor": 0}, {"anchor": -1}, {"first": 0}, {"first": 1.5}, {"alpha": np.nan}],
)
def test_a_deviation_takes_ranks_from_1_on(wrong):
    with pytest.raises(ConfigError, match="ranks count from 1"):
        powerlaw_deviation(_spectrum(LAW), **({"last": 100} | wrong))


def test_a_part_of_a_spectrum_keeps_its_ranks_and_padding_is_cut_off():
    whole = _spectrum(LAW)
    with pytest.raises(DataError, match="does not begin at rank 1"):
        fit_powerlaw(whole.isel(component=slice(10, None)), first=1, last=100)
    padded = _spectrum(np.concatenate([LAW, np.full(9, np.nan)]))  # beside a longer one in an opened plan
    assert fit_powerlaw(padded, first=11, last=100).identical(fit_powerlaw(whole, first=11, last=100))
    both = xr.concat([whole, whole], "seed", data_vars=["eigenvalue"])
    with pytest.raises(DataError, match=r"a fit takes one spectrum, eigenvalue\(component\)"):
        fit_powerlaw(both, first=11, last=100)


def test_the_measure_has_the_exponents_up_to_shorter_ends_unless_the_recipe_names_the_window():
    generator = np.random.default_rng(0)
    code = xr.Dataset({"response": (("presentation", "neuroid"), generator.standard_normal((200, 90)))})
    result = Spectrum().of(code)
    numbers = Spectrum().numbers(result)
    assert (numbers["first_rank"], numbers["last_rank"]) == (11, 72)
    assert {name for name in numbers if "_to_" in name} == {f"alpha_to_{end}" for end in (30, 40, 50, 70)}
    assert numbers["alpha_to_50"] == float(fit_powerlaw(eigenspectrum(code), last=50)["alpha"])
    assert set(Spectrum(first=11, last=72).numbers(Spectrum(first=11, last=72).of(code))) == {
        "alpha",
        "first_rank",
        "last_rank",
    }
