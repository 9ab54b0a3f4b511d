"""Power-law fits ``eigenvalue ~ rank^-alpha``, with the convention stored beside the number.

Several conventions are in circulation under the same name and differ in the second decimal; a fit without its
window and weights cannot be compared with anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import xarray as xr

from biorep.errors import ConfigError, DataError, whole
from biorep.schema import check_finite, check_real, describe
from biorep.tables import CONVENTIONS
from biorep.words import checked

Weight = Literal["1/rank", "none"]
Negative = Literal["abs", "drop"]
#: Fewer ranks than this give no exponent unless the window is asked for.
SMALLEST_WINDOW = 20


@checked
@dataclass(frozen=True)
class Convention:
    """Window (1-based ranks, both ends included), weights and policy for values that are not positive."""

    first: int
    last: int
    weight: Weight
    negative: Negative


STRINGER_MATLAB = Convention(11, 500, "1/rank", "abs")
STRINGER_PYTHON = Convention(12, 500, "1/rank", "abs")
KONG_MODELS = Convention(10, 999, "1/rank", "abs")
ALPHA_REQ = Convention(11, 100, "1/rank", "abs")
HOLZHAUSEN_IMAGES = Convention(11, 500, "none", "abs")
HOLZHAUSEN_NOISE = Convention(11, 100, "none", "abs")


@checked
def fit_powerlaw(
    spectrum: xr.Dataset,
    *,
    first: int | None = None,
    last: int | Literal["auto"] | None = None,
    weight: Weight | None = None,
    negative: Negative | None = None,
    convention: str | None = None,
) -> xr.Dataset:
    """Fit a straight line to log eigenvalue against log rank.

    Parameters
    ----------
    spectrum : xr.Dataset
        What `eigenspectrum` returned.
    first : int
        First rank, 11 by default.
    last : int or "auto"
        Last rank, included. ``"auto"``, the default, is ``min(500, floor(0.8 min(n - 1, d)))``: beyond that
        the finite sample bends the spectrum.
    weight : {"1/rank", "none"}
        Weights of the least squares; ``1/rank``, the default, gives every octave of ranks the same say.
    negative : {"abs", "drop"}
        What to do with values that are not positive; absolute values by default.
    convention : str, optional
        A word of `biorep.tables.CONVENTIONS`: sets window, weight and sign policy. The window ends before the
        spectrum's end.

    Returns
    -------
    xr.Dataset
        ``alpha``, ``log_intercept``, ``r2`` (weighted), ``residual_se`` (HC0: describes the wiggles of this
        one spectrum, not the sampling error), ``first_rank``, ``last_rank``, ``n_not_positive``, and
        ``n_beyond_rank``: ranks of the window beyond the numerical rank of the spectrum, which hold rounding
        errors and are left out of the fit; attribute `convention`.

    Raises
    ------
    ConfigError
        If a convention and one of its parts are both given, or the window is empty.
    DataError
        If the spectrum offers fewer than 20 ranks and no window was asked for, or its eigenvalues are not in the order
        of their ranks from 1 on.
    NumericalError
        If an eigenvalue is NaN or infinite; NaN at the end, where spectra of other lengths stood beside it, is cut off.

    References
    ----------
    Stringer et al. (2019), Nature 571, 361-365 (window 11-500, weights 1/rank).
    """
    given = [
        n for n, v in {"first": first, "last": last, "weight": weight, "negative": negative}.items() if v is not None
    ]
    for name, value in {"first": first, "last": last}.items():
        if value is not None and not (name == "last" and isinstance(value, str) and value == "auto"):
            whole(value, name)
    values = eigenvalues_of(spectrum)
    limit = len(values)
    rank = _count(spectrum, "numerical_rank") if "numerical_rank" in spectrum else limit
    if convention is not None:
        if given:
            raise ConfigError(f"convention='{convention}' sets window, weights and signs; do not give {given} as well")
        rule = convention_of(convention)
        start, stop = rule.first, min(rule.last, limit - 2)
        weight, negative, label = rule.weight, rule.negative, convention
    else:
        start = 11 if first is None else first
        weight, negative = weight or "1/rank", negative or "abs"
        automatic = last in (None, "auto")
        stop = int(last) if not automatic else _automatic_end(spectrum, rank)  # type: ignore[arg-type]
        if automatic and first is None and stop - start + 1 < SMALLEST_WINDOW:
            n, d = _count(spectrum, "n_presentations"), _count(spectrum, "n_neuroids")
            raise DataError(
                f"{n} presentations of {d} neuroids (numerical rank {rank}) leave ranks {start} to {stop} for a fit, "
                f"fewer than {SMALLEST_WINDOW}. Use more of both, or name the window with first= and last=."
            )
        label = "biorep"
    if not 1 <= start < stop <= limit:
        raise ConfigError(f"the window {start}-{stop} does not fit a spectrum of {limit} ranks")
    if start > rank:
        raise DataError(f"the numerical rank of the spectrum is {rank}: nothing is left in the window {start}-{stop}")
    ranks = np.arange(start, min(stop, rank) + 1, dtype=np.float64)
    fit = _fitted(values[start - 1 : len(ranks) + start - 1], ranks, weight, negative, label)
    fit["n_beyond_rank"] = stop - int(ranks[-1])
    return describe(fit, {"n_beyond_rank": ("ranks of the window beyond the numerical rank, left out", "1")})


def eigenvalues_of(spectrum: xr.Dataset) -> np.ndarray:
    """Return the eigenvalues of one spectrum, (component,), the largest first; estimates may be out of order after it.

    Raises
    ------
    DataError, NumericalError
        See `fit_powerlaw`.
    """
    spectrum = spectrum.to_dataset() if isinstance(spectrum, xr.DataTree) else spectrum
    if not isinstance(spectrum, xr.Dataset) or "eigenvalue" not in spectrum:
        raise DataError("this is no spectrum: it has no eigenvalue(component); biorep.spectra.eigenspectrum makes one")
    eigenvalue = spectrum["eigenvalue"]
    if eigenvalue.dims != ("component",):
        raise DataError(
            f"a fit takes one spectrum, eigenvalue(component), got {eigenvalue.dims}: select the others first"
        )
    check_real(eigenvalue.values, "eigenvalue")
    values = eigenvalue.values.astype(np.float64)
    there = np.flatnonzero(~np.isnan(values))
    values = values[: there[-1] + 1 if len(there) else 0]
    if not len(values):
        raise DataError("this spectrum has no eigenvalues: it is that of a run which is not finished, or empty")
    check_finite(values, "eigenvalue")
    ranks = (
        spectrum["component"].values[: len(values)] if "component" in spectrum.coords else np.arange(len(values)) + 1
    )
    if not np.array_equal(ranks, np.arange(1, len(values) + 1)):
        raise DataError(
            "the spectrum does not begin at rank 1: fit it whole, and name the window with first= and last="
        )
    if values[0] < values.max():
        raise DataError("the eigenvalues are not in descending order: the first is not the largest")
    return values


def _automatic_end(spectrum: xr.Dataset, rank: int) -> int:
    """Return the last rank of the automatic window."""
    for name in ("n_presentations", "n_neuroids"):
        if name not in spectrum:
            raise DataError(
                f"the spectrum has no '{name}', which decides over the automatic window: name the window with first= "
                "and last=, or take the spectrum with biorep.spectra.eigenspectrum"
            )
    n, d = _count(spectrum, "n_presentations"), _count(spectrum, "n_neuroids")
    return min(500, int(0.8 * min(n - 1, d)), rank)


def _count(spectrum: xr.Dataset, name: str) -> int:
    """Return a number of a spectrum; it may have become floating point beside runs that are not finished."""
    values = spectrum[name].values
    if values.ndim or values.dtype.kind not in "iuf" or not np.isfinite(values) or values != int(values) or values < 1:
        raise DataError(f"'{name}' of the spectrum must be one whole number of at least 1, got {values}")
    return int(values)


def convention_of(word: str) -> Convention:
    """Return a convention by its word in `biorep.tables.CONVENTIONS`."""
    return cast(Convention, CONVENTIONS.load(word))


def _fitted(values: np.ndarray, ranks: np.ndarray, weight: Weight, negative: Negative, label: str) -> xr.Dataset:
    not_positive = int((values <= 0).sum())
    keep = values > 0 if negative == "drop" else values != 0
    x, y = np.log(ranks[keep]), np.log(np.abs(values[keep]))
    if len(x) < 3:
        raise DataError(f"only {len(x)} usable eigenvalues in the window: there is nothing to fit")
    w = 1 / ranks[keep] if weight == "1/rank" else np.ones_like(x)
    xc = x - np.average(x, weights=w)
    yc = y - np.average(y, weights=w)
    squares = (w * xc**2).sum()
    slope = (w * xc * yc).sum() / squares
    residual = yc - slope * xc
    result = xr.Dataset(
        {
            "alpha": -slope,
            "log_intercept": np.average(y, weights=w) - slope * np.average(x, weights=w),
            "r2": 1 - (w * residual**2).sum() / max((w * yc**2).sum(), np.finfo(float).tiny),
            "residual_se": np.sqrt(((w * xc * residual) ** 2).sum()) / squares,
            "first_rank": int(ranks[0]),
            "last_rank": int(ranks[-1]),
            "n_not_positive": not_positive,
        },
        attrs={"convention": label, "weight": weight, "negative": negative},
    )
    return describe(
        result,
        {
            "alpha": ("exponent of the power law", "1"),
            "log_intercept": ("natural logarithm of the fitted eigenvalue at rank 1", "1"),
            "r2": ("share of the weighted variance of log eigenvalues explained", "1"),
            "residual_se": ("HC0 standard error of alpha from the residuals", "1"),
            "first_rank": ("first rank of the window", "1"),
            "last_rank": ("last rank of the window, included", "1"),
            "n_not_positive": ("eigenvalues in the window that are not positive", "1"),
        },
    )


def powerlaw_deviation(
    spectrum: xr.Dataset, *, alpha: float = 1.0, anchor: int = 11, first: int = 11, last: int = 500
) -> float:
    """Return the mean of ``|log10(lambda_n / gamma_n)|``: how far a spectrum is from a given power law.

    Parameters
    ----------
    spectrum : xr.Dataset
        What `eigenspectrum` returned.
    alpha : float
        Exponent of the law ``gamma_n = lambda_anchor (anchor / n)^alpha``.
    anchor : int
        Rank at which the law meets the spectrum; 11 is tau = 10 of Nassar et al. (2020).
    first, last : int
        Ranks that the mean is taken over, both included.

    Returns
    -------
    float
        In decades; 0 if the spectrum follows the law.

    Raises
    ------
    ConfigError
        If a rank is less than 1 or no whole number, `last` less than `first`, or alpha no number.
    DataError
        If the spectrum ends before `last`, or an eigenvalue up to there is not positive.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> spectrum = xr.Dataset({"eigenvalue": ("component", 1 / np.arange(1, 21))})
    >>> powerlaw_deviation(spectrum, first=11, last=20) < 1e-12
    True
    """
    for name, rank in {"first": first, "last": last, "anchor": anchor}.items():
        whole(rank, f"ranks count from 1: {name}")
    number = isinstance(alpha, int | float | np.number) and not isinstance(alpha, bool | np.complexfloating)
    if first > last or not number or not np.isfinite(alpha):
        raise ConfigError(f"ranks count from 1: first {first}, last {last}; alpha, a number, is {alpha!r}")
    eigenvalues = eigenvalues_of(spectrum)
    needed = max(last, anchor)
    if len(eigenvalues) < needed or not (eigenvalues[:needed] > 0).all():
        good = int((eigenvalues > 0).sum())
        raise DataError(f"ranks {first} to {last} were asked for, and the spectrum has {good} positive eigenvalues")
    ranks = np.arange(first, last + 1)
    law = np.log10(eigenvalues[anchor - 1]) + alpha * np.log10(anchor / ranks)
    return float(np.abs(np.log10(eigenvalues[first - 1 : last]) - law).mean())
