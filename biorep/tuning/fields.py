"""Gabor fits: how much of a receptive field a Gabor function explains, and the parameters of that function.

A good fit alone proves nothing: round blobs are Gabor functions of low frequency. Measure the tuning as well.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.optimize import least_squares

from biorep.errors import ConfigError, DataError, whole
from biorep.schema import check_finite, describe

#: Envelope widths of the starting points, as shares of the longer side of a field.
WIDTHS = (1 / 16, 1 / 10, 1 / 6, 1 / 4)
PEAKS = 4  # of the amplitude spectrum: the carriers of the starting points
MAX_EVALUATIONS = 200
_DESCRIPTIONS = {
    "centre_row": ("row of the centre, counted from 0", "pixel"),
    "centre_column": ("column of the centre, counted from 0", "pixel"),
    "width_across": ("standard deviation of the envelope across the bars", "pixel"),
    "width_along": ("standard deviation of the envelope along the bars", "pixel"),
    "orientation": ("orientation of the bars", "degree"),
    "frequency": ("spatial frequency", "cycles/pixel"),
    "phase": ("phase at the centre", "degree"),
    "amplitude": ("largest value of the envelope", "1"),
    "r2": ("share of the variance of the field explained", "1"),
    "success": ("the least squares converged", "1"),
    "at_bound": ("a parameter is at its bound", "1"),
}
_COUNTS = {
    "n_neuroids": ("neuroids", "1"),
    "n_flat": ("neuroids whose fields are flat", "1"),
    "n_at_bound": ("neuroids whose fit is at a bound", "1"),
}


def fit_gabors(fields: xr.DataArray, *, starts: int = PEAKS) -> xr.Dataset:
    """Fit a Gabor function without offset to the receptive field of every unit, by least squares.

    Parameters
    ----------
    fields : xr.DataArray, (neuroid, row, column)
        Receptive fields, in any unit.
    starts : int
        Number of starting points, of the 16 that 4 peaks of the spectrum and 4 widths of the envelope make; the
        best fit is kept. Each takes about 4 ms for 16 x 16 pixels.

    Returns
    -------
    xr.Dataset
        Per neuroid the parameters of

            amplitude exp(-(u^2 / width_across^2 + v^2 / width_along^2) / 2) cos(2 pi frequency u + phase)

        with u across and v along the bars, ``u = y cos(orientation) - x sin(orientation)``, x to the right and y
        upwards from the centre, as in `biorep.datasets.gratings`: ``centre_row``, ``centre_column`` (pixels, inside
        the field), ``width_across``, ``width_along`` (pixels, from 0.5 to twice the longer side), ``orientation``
        (degrees, 0 to 180), ``frequency`` (cycles/pixel, from a quarter of a cycle across the longer side to 0.5),
        ``phase`` (degrees, 0 to 360), ``amplitude`` (unit of the fields). ``r2`` is the share of the variance
        explained (negative if the mean of a field is far from 0: there is no offset), ``success`` tells that the
        least squares converged, ``at_bound`` that a parameter is at a bound given above and so no estimate. All are
        NaN or false for flat fields, where nothing varies. ``n_neuroids``, ``n_flat`` and ``n_at_bound`` count them;
        attribute `starts`. Leave units at a bound out of distributions of frequency and width.

    Raises
    ------
    DataError
        If the fields are not images of at least 4 x 4 pixels.
    NumericalError
        If a value is NaN or infinite.
    ConfigError
        If `starts` is out of bounds.

    Notes
    -----
    Amplitude and phase are linear in the cosine and the sine part and are eliminated (variable projection), so that
    six parameters are searched. A start takes the carrier from a peak of the spectrum, and the centre from where the
    field resembles a Gabor function with this carrier and a round envelope most.

    References
    ----------
    Ringach, D. L. (2002). Spatial structure and symmetry of simple-cell receptive fields in macaque primary visual
    cortex. Journal of Neurophysiology 88, 455-463.

    Examples
    --------
    >>> row, column = np.mgrid[:12, :12]
    >>> bars = np.cos(2 * np.pi * 0.2 * (column - 6)) * np.exp(-((column - 6) ** 2 + (row - 5) ** 2) / 8)
    >>> fit = fit_gabors(xr.DataArray(bars[None], dims=("neuroid", "row", "column")))
    >>> [round(float(fit[name][0]), 3) for name in ("orientation", "frequency", "width_along", "r2")]
    [90.0, 0.2, 2.0, 1.0]
    """
    if not 1 <= whole(starts, "starts", least=0) <= PEAKS * len(WIDTHS):
        raise ConfigError(f"starts must be from 1 to {PEAKS * len(WIDTHS)}, got {starts}")
    values = _checked(fields)
    rows = [_fitted(field, starts) for field in values]
    columns = {name: np.array([row.get(name, np.nan) for row in rows]) for name in _DESCRIPTIONS}
    columns |= {name: np.array([row.get(name, False) for row in rows], bool) for name in ("success", "at_bound")}
    result = xr.Dataset(
        {
            **{name: ("neuroid", column) for name, column in columns.items()},
            "n_neuroids": len(rows),
            "n_flat": sum(not row for row in rows),
            "n_at_bound": int(columns["at_bound"].sum()),
        },
        coords={n: c for n, c in fields.coords.items() if c.dims == ("neuroid",) and n not in _DESCRIPTIONS},
        attrs={"starts": starts},
    )
    return describe(result, _DESCRIPTIONS | _COUNTS)


def _checked(fields: xr.DataArray) -> np.ndarray:
    """Return the fields as (neuroid, row, column) float64."""
    if not isinstance(fields, xr.DataArray):
        raise DataError(f"fields must be a DataArray (neuroid, row, column), got {type(fields).__name__}")
    check_finite(fields.values, "fields")
    if set(fields.dims) != {"neuroid", "row", "column"}:
        raise DataError(
            f"fields must be (neuroid, row, column), got ({', '.join(map(str, fields.dims))}); reshape weights to the "
            "image_shape of their state"
        )
    values = fields.transpose("neuroid", "row", "column").values.astype(np.float64)
    if min(values.shape[1:]) < 4:
        raise DataError(f"a field must have at least 4 x 4 pixels, got {values.shape[1]} x {values.shape[2]}")
    return values


def _fitted(field: np.ndarray, starts: int) -> dict[str, float]:
    """Return the parameters of one field, (row, column); nothing if it is flat."""
    if field.max() == field.min():
        return {}
    scale = np.abs(field).max()
    scale *= np.linalg.norm(field / scale)  # in two steps, so that squares neither overflow nor vanish
    values = (field / scale).ravel()  # of norm 1: the tolerances of the optimiser become relative
    row, column = np.indices(field.shape).reshape(2, -1).astype(np.float64)
    bounds = _bounds(field.shape)
    # The angle has no bounds: it may turn freely.
    results = [
        least_squares(_residual, start, _jacobian, bounds, args=(values, column, -row), max_nfev=MAX_EVALUATIONS)
        for start in _starts(field / scale)[:starts]
    ]
    best = min(results, key=lambda result: result.cost)
    even, odd = _amplitudes(_basis(best.x, column, -row)[0], values)
    x, y, across, along, angle, frequency = best.x
    half_turns, orientation = divmod(np.rad2deg(angle), 180)
    phase = np.rad2deg(np.arctan2(-odd, even))
    return {
        "centre_row": -y,
        "centre_column": x,
        "width_across": np.exp(across),
        "width_along": np.exp(along),
        "orientation": orientation,
        "frequency": np.exp(frequency),
        "phase": (-phase if half_turns % 2 else phase) % 360,  # half a turn takes u to -u
        "amplitude": np.hypot(even, odd) * scale,
        "r2": 1 - 2 * best.cost / np.square(values - values.mean()).sum(),
        "success": best.status > 0,
        "at_bound": bool(np.any(best.active_mask)),
    }


def _bounds(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return lowest and highest x, y, logarithms of the widths, angle and logarithm of the frequency."""
    height, width = shape
    side = max(shape)
    lowest = [-0.5, 0.5 - height, np.log(0.5), np.log(0.5), -np.inf, np.log(0.25 / side)]
    highest = [width - 0.5, 0.5, np.log(2 * side), np.log(2 * side), np.inf, np.log(0.5)]
    return np.array(lowest), np.array(highest)


def _basis(parameters: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the even and the odd Gabor function, (2, pixel), and the coordinates u and v of the pixels."""
    centre_x, centre_y, across, along, angle, frequency = parameters
    sine, cosine = np.sin(angle), np.cos(angle)
    u = cosine * (y - centre_y) - sine * (x - centre_x)
    v = cosine * (x - centre_x) + sine * (y - centre_y)
    envelope = np.exp(-((u * np.exp(-across)) ** 2 + (v * np.exp(-along)) ** 2) / 2)
    cycles = 2 * np.pi * np.exp(frequency) * u
    return np.stack([envelope * np.cos(cycles), envelope * np.sin(cycles)]), u, v


def _amplitudes(basis: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the least-squares coefficients of the even and the odd function, (2, ...)."""
    gram = basis @ basis.T
    # At the sampling limit the odd function can vanish; a little ridge gives it the amplitude zero.
    gram[[0, 1], [0, 1]] += 1e-13 * np.trace(gram)
    return np.linalg.solve(gram, basis @ values)


def _residual(parameters: np.ndarray, values: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    basis, _, _ = _basis(parameters, x, y)
    return np.asarray(_amplitudes(basis, values) @ basis - values)


def _jacobian(parameters: np.ndarray, values: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the derivative of the residual, (pixel, 6), in Kaufman's approximation: the gradient is exact."""
    basis, u, v = _basis(parameters, x, y)
    amplitudes = _amplitudes(basis, values)
    model, quadrature = amplitudes @ basis, amplitudes[1] * basis[0] - amplitudes[0] * basis[1]
    _, _, across, along, angle, frequency = parameters
    wave = 2 * np.pi * np.exp(frequency)
    slope_u, slope_v = u * np.exp(-2 * across), v * np.exp(-2 * along)
    columns = [
        # A shift also turns the phase, but the projection below takes out all that the amplitudes can do.
        model * (np.cos(angle) * slope_v - np.sin(angle) * slope_u),
        model * (np.cos(angle) * slope_u + np.sin(angle) * slope_v),
        model * u * slope_u,
        model * v * slope_v,
        model * (slope_u * v - slope_v * u) - quadrature * wave * v,
        quadrature * wave * u,
    ]
    derivative = np.stack(columns, 1)
    return np.asarray(derivative - basis.T @ _amplitudes(basis, derivative))


def _starts(field: np.ndarray) -> list[np.ndarray]:
    """Return starting points: the best width for every peak of the spectrum, then the others, each best first."""
    first: list[tuple[float, np.ndarray]] = []
    others: list[tuple[float, np.ndarray]] = []
    for wave_y, wave_x in _peaks(field):
        rows, columns = (np.arange(length) for length in field.shape)
        shifted = field * np.exp(-2j * np.pi * (wave_y * rows[:, None] + wave_x * columns))
        # Away from the bounds, which a search that starts there is slow to leave.
        frequency = np.clip(np.hypot(wave_y, wave_x), 0.5 / max(field.shape), 0.45)
        carrier = [np.arctan2(-wave_x, -wave_y), np.log(frequency)]  # rows count downwards, y points upwards
        found = []
        for width in np.maximum(np.multiply(WIDTHS, max(field.shape)), 0.6):
            share, centre = _matched(shifted, width)
            found.append((share, np.array([centre[1], -centre[0], np.log(width), np.log(width), *carrier])))
        found.sort(key=lambda pair: -pair[0])
        first.append(found[0])
        others += found[1:]
    return [start for group in (first, others) for _, start in sorted(group, key=lambda pair: -pair[0])]


def _peaks(field: np.ndarray) -> list[tuple[float, float]]:
    """Return the wave vectors (along rows, along columns; cycles/pixel) of the largest peaks of the spectrum."""
    height, width = (2 * length for length in field.shape)
    amplitude = np.abs(np.fft.rfft2(field, (height, width)))
    wave_y, wave_x = np.broadcast_arrays(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    amplitude[np.hypot(wave_y, wave_x) > 0.5] = 0
    peaks = []
    for _ in range(PEAKS):
        at = np.unravel_index(amplitude.argmax(), amplitude.shape)
        peak = (float(wave_y[at]), float(wave_x[at]))
        peaks.append(peak)
        for sign in (1, -1):  # the two waves of a real field
            amplitude[np.hypot(wave_y - sign * peak[0], wave_x - sign * peak[1]) < 1.5 / max(field.shape)] = 0
    return peaks


def _matched(shifted: np.ndarray, width: float) -> tuple[float, tuple[int, int]]:
    """Return where a round envelope matches a demodulated field best, and its share of the field's energy."""
    rows, columns = (
        np.exp(-(np.subtract.outer(np.arange(length), np.arange(length)) ** 2) / (2 * width**2))
        for length in shifted.shape
    )
    energy = np.abs(rows @ shifted @ columns) ** 2 / np.outer((rows**2).sum(1), (columns**2).sum(1))
    at = np.unravel_index(energy.argmax(), energy.shape)
    return float(energy[at]), (int(at[0]), int(at[1]))
