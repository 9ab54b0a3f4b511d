"""Tuning of units for orientation and spatial frequency, measured with gratings."""

from __future__ import annotations

import numpy as np
import xarray as xr

from biorep.errors import DataError, NumericalError
from biorep.schema import check_finite, describe, responses_of

COORDINATES = ("orientation", "frequency", "phase")
#: Below this selectivity the preferred orientation is rounding error.
UNTUNED = 1e-6
LARGEST = 1e290
_DESCRIPTIONS = {
    "curve": ("response at the preferred frequency, mean over phases", "1"),
    "orientation": ("orientation of the bars", "degree"),
    "preferred_orientation": ("preferred orientation of the bars", "degree"),
    "preferred_frequency": ("preferred spatial frequency", "cycles/pixel"),
    "selectivity": ("1 - circular variance of the tuning curve", "1"),
    "osi": ("orientation selectivity index, (preferred - orthogonal) / (preferred + orthogonal)", "1"),
    "modulation_ratio": ("modulation of the response by the phase, F1 / F0", "1"),
    "frequency": ("spatial frequency that was shown", "cycles/pixel"),
    "n_presentations": ("gratings shown", "1"),
    "n_neuroids": ("neuroids shown gratings", "1"),
    "n_silent": ("silent neuroids shown gratings", "1"),
}


def tuning(representation: xr.Dataset) -> xr.Dataset:
    """Measure tuning curves and their summary numbers from responses to gratings.

    Parameters
    ----------
    representation : xr.Dataset
        ``response(presentation, neuroid)`` >= 0 to `biorep.datasets.gratings`, with the coordinates ``orientation``
        (degrees), ``frequency`` (cycles/pixel) and ``phase`` (degrees) along `presentation`; the mean is taken over
        a dim `repeat` and over presentations of the same grating.

    Returns
    -------
    xr.Dataset
        ``curve(neuroid, orientation)``, the mean response over phases at the preferred frequency, and per neuroid

        * ``preferred_frequency`` (cycles/pixel): the shown one with the largest mean response over phases,
        * ``preferred_orientation`` (degrees, 0 to 180): direction of the vector sum, ``arg(sum r exp(2i theta)) / 2``;
          NaN for a curve without direction (selectivity below 1e-6),
        * ``selectivity``: 1 - circular variance, ``|sum r exp(2i theta)| / sum r``; 0 flat, 1 a single orientation,
        * ``osi``: ``(preferred - orthogonal) / (preferred + orthogonal)`` at the peak of the curve,
        * ``modulation_ratio``: F1 / F0 over phases at the peak; above 1 for simple cells (half-wave rectified:
          pi / 2), 0 for ideal complex cells; NaN for fewer than three phases.

        All are NaN for silent neuroids, which respond to no grating. ``n_silent``, ``n_neuroids`` and
        ``n_presentations`` count them; the coordinate ``frequency`` has the frequencies that were shown.

    Raises
    ------
    DataError
        If coordinates are missing, gratings are missing or unevenly spaced, or a response is negative.
    NumericalError
        If a response is NaN or infinite.

    References
    ----------
    Ringach, D. L., Shapley, R. M. & Hawken, M. J. (2002). Orientation selectivity in macaque V1: diversity and laminar
    dependence. Journal of Neuroscience 22, 5639-5651.

    Examples
    --------
    >>> from biorep.datasets import gratings
    >>> shown = gratings(size=8, orientations=8, frequencies=[0.125], phases=4)
    >>> curve = 1 + np.cos(2 * np.deg2rad(shown.orientation - 45))
    >>> found = tuning(xr.Dataset({"response": curve.expand_dims(neuroid=1)}))
    >>> round(float(found.preferred_orientation[0]), 6), round(float(found.selectivity[0]), 6)
    (45.0, 0.5)
    """
    response = _response(representation)
    values, (orientations, frequencies, phases) = _grid(response)
    silent = values.max(axis=(0, 1, 2)) == 0
    units = np.arange(values.shape[3])
    mean = values.mean(2)
    best = mean.max(0).argmax(0)
    curve = mean[:, best, units]
    peak = curve.argmax(0)
    vector = np.exp(2j * np.deg2rad(orientations)) @ (curve / np.where(silent, np.nan, curve.sum(0)))
    selectivity = np.abs(vector)
    preferred = np.rad2deg(np.angle(vector)) / 2 % 180
    columns = {
        "preferred_orientation": np.where(selectivity < UNTUNED, np.nan, preferred),
        "preferred_frequency": np.where(silent, np.nan, frequencies[best]),
        "selectivity": selectivity,
        "osi": _osi(curve, peak, silent),
        "modulation_ratio": _modulation(values[peak, best, :, units], phases, silent),
    }
    result = xr.Dataset(
        {
            "curve": (("neuroid", "orientation"), curve.T),
            **{name: ("neuroid", c) for name, c in columns.items()},
            "n_presentations": response.sizes["presentation"],
            "n_neuroids": len(units),
            "n_silent": int(silent.sum()),
        },
        coords={n: c for n, c in response.coords.items() if c.dims == ("neuroid",) and n not in _DESCRIPTIONS}
        | {"orientation": orientations, "frequency": frequencies},
    )
    return describe(result, _DESCRIPTIONS)


def _response(representation: xr.Dataset) -> xr.DataArray:
    """Return checked responses, (presentation, neuroid), float64."""
    if not isinstance(representation, xr.Dataset | xr.DataArray):
        raise DataError(f"tuning needs a representation, an xarray Dataset, got {type(representation).__name__}")
    along = [str(name) for name, coord in representation.coords.items() if coord.dims == ("presentation",)]
    if missing := [name for name in COORDINATES if name not in along]:
        raise DataError(
            f"the representation has no coordinate {', '.join(map(repr, missing))} along presentation (it has "
            f"{', '.join(along) or 'none'}). Tuning is measured with gratings: encode biorep.datasets.gratings()."
        )
    for name in COORDINATES:
        check_finite(representation[name].values, name)
    response = responses_of(representation).astype(np.float64)
    if (largest := float(response.max())) > LARGEST:
        raise NumericalError(f"the largest response is {largest:g}: sums of them leave the range of float64")
    if (smallest := float(response.min())) < 0:
        raise DataError(
            f"tuning needs responses >= 0, the smallest is {smallest:g}: the circular variance of signed numbers means "
            "nothing. Rectify them, or encode with quantity='response'."
        )
    return response


def _grid(response: xr.DataArray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return mean responses, (orientation, frequency, phase, neuroid), and the sorted values of the three axes."""
    found = [np.unique(response[name].values, return_inverse=True) for name in COORDINATES]
    axes = [values for values, _ in found]
    shape = tuple(len(values) for values in axes)
    cell = np.ravel_multi_index(tuple(index for _, index in found), shape)
    counts = np.bincount(cell, minlength=int(np.prod(shape)))
    if not counts.all():
        raise DataError(
            f"{int((counts == 0).sum())} of the {len(counts)} gratings of {shape[0]} orientations x {shape[1]} "
            f"frequencies x {shape[2]} phases were not shown. Encode all of biorep.datasets.gratings()."
        )
    _require_even(axes[0], 180, "orientations")
    if shape[0] < 3:
        raise DataError(f"a tuning curve needs at least 3 orientations, got {shape[0]}")
    _require_even(axes[2], 360, "phases")
    total = np.zeros((len(counts), response.sizes["neuroid"]))
    np.add.at(total, cell, response.values)
    return (total / counts[:, None]).reshape(*shape, -1), axes


def _require_even(values: np.ndarray, period: int, name: str) -> None:
    # A vector sum over uneven angles points to where they are dense.
    expected = values[0] + np.arange(len(values)) * (period / len(values))
    if not np.allclose(values, expected, rtol=0, atol=1e-4 * period / len(values)):
        raise DataError(
            f"{name} must be evenly spaced over {period} degrees (the first one not repeated at the end), got "
            f"{', '.join(f'{value:g}' for value in values[:8])}{', ...' if len(values) > 8 else ''}"
        )


def _osi(curve: np.ndarray, peak: np.ndarray, silent: np.ndarray) -> np.ndarray:
    """Return the orientation selectivity index of curves, (orientation, neuroid)."""
    count, units = len(curve), np.arange(curve.shape[1])
    # For an odd number of orientations the orthogonal one lies in the middle between two neighbours.
    sides = [curve[(peak + shift) % count, units] for shift in (count // 2, (count + 1) // 2)]
    orthogonal = (sides[0] + sides[1]) / 2
    largest = np.where(silent, np.nan, curve[peak, units])
    return np.asarray((largest - orthogonal) / (largest + orthogonal))


def _modulation(responses: np.ndarray, phases: np.ndarray, silent: np.ndarray) -> np.ndarray:
    """Return F1 / F0 of responses, (neuroid, phase): the amplitude of the first harmonic over the mean."""
    if len(phases) < 3:
        return np.full(len(responses), np.nan)
    first = 2 * np.abs(responses @ np.exp(1j * np.deg2rad(phases))) / len(phases)
    return np.asarray(first / np.where(silent, np.nan, responses.mean(1)))
