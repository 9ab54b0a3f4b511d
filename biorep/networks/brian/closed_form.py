"""What the competing rates of Krotov & Hopfield (2019) settle to, in closed form, and what their simulation needs.

For ``tau dh_i/dt = I_i - w (R - r_i) - h_i``, with ``r = max(h, 0)``, ``R = sum r`` and the start h = 0, the units stay
in the order of their currents, so the m strongest are those that remain active. Sorted, strongest first::

    w < 1:  R = sum_{j <= m} I_j / (1 - w + m w),   m = the smallest number with I_{m+1} <= w R
            h_i = (I_i - w R) / (1 - w) for the active units,   h_i = I_i - w R <= 0 for all others
    w >= 1: one winner with h = I,   h_i = I_i - w I_winner for all others

Differences between active units settle with the rate (1 - w) / tau, their sum with (1 + (m - 1) w) / tau.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

#: Largest share of the slowest deviation from the steady state that may be left at the end of a presentation.
SETTLED = 0.01


def steady_state(current: np.ndarray, w_inh: float) -> np.ndarray:
    """Return the steady state of competing rates that start at 0.

    Parameters
    ----------
    current : (..., neuroid) array
        Input currents I; if none is positive, all units are silent.
    w_inh : float
        Strength of the lateral inhibition, not negative.

    Returns
    -------
    (..., neuroid) array
        h of all units, float64; the rates are its positive part. Of equal currents above a `w_inh` of 1 the first
        wins, where a simulation would keep the tie.

    Examples
    --------
    >>> steady_state(np.array([3.0, 2.0, 0.5]), 0.5)
    array([ 2.66666667,  0.66666667, -1.16666667])
    >>> steady_state(np.array([3.0, 2.0, 0.5]), 2.0)
    array([ 3. , -4. , -5.5])
    """
    if w_inh < 0:
        raise ValueError(f"w_inh must not be negative, got {w_inh}")
    current = np.asarray(current, np.float64)
    if w_inh >= 1:
        return _single_winner(current, w_inh)
    ordered = -np.sort(-current, axis=-1)
    edge = np.zeros((*current.shape[:-1], 1))
    pooled = np.concatenate([edge, ordered.cumsum(-1)], -1) / (1 - w_inh + w_inh * np.arange(current.shape[-1] + 1))
    following = np.concatenate([ordered, edge - np.inf], -1)
    active = (following <= w_inh * pooled).argmax(-1)[..., None]
    inhibition = w_inh * np.take_along_axis(pooled, active, -1)
    rest = current - inhibition
    return np.where(rest > 0, rest / (1 - w_inh), rest)


def _single_winner(current: np.ndarray, w_inh: float) -> np.ndarray:
    winner = current.argmax(-1)[..., None]
    largest = np.take_along_axis(current, winner, -1)
    result = current - w_inh * np.maximum(largest, 0)
    np.put_along_axis(result, winner, largest, -1)
    return result


def euler_number(dt: float, tau: float, w_inh: float, active: int) -> float:
    """Return the time step times the fastest rate of the dynamics: explicit Euler is unstable above 2.

    The units that stay active decide whether the steady state is stable, all of them whether rates that start together
    can overshoot together and never get there.

    Parameters
    ----------
    dt, tau : float
        Time step and time constant in the same unit.
    w_inh : float
        Strength of the lateral inhibition.
    active : int
        Units that are active at once.

    Examples
    --------
    >>> round(euler_number(1.0, 5.0, 0.2, active=57), 2)
    2.44
    """
    return dt / tau * (1 + max(active - 1, 0) * w_inh)


def unsettled(stimulus_duration: float, tau: float, w_inh: float) -> float:
    """Return the share of the slowest deviation from the steady state that is left after that time.

    Parameters
    ----------
    stimulus_duration, tau : float
        Time and time constant in the same unit.
    w_inh : float
        Strength of the lateral inhibition. Above 1 a tie is left with the rate (w_inh - 1) / tau, and how long that
        takes depends on the currents as well: the share is then a lower bound.

    Examples
    --------
    >>> round(unsettled(60.0, 5.0, 0.6), 3)
    0.008
    """
    return float(np.exp(-stimulus_duration / tau * min(1.0, abs(1 - w_inh))))


def bounds_report(
    dt: float, stimulus_duration: float, tau: float, w_inh: float, units: int, active: int | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Check that a simulation is stable and long enough.

    Parameters
    ----------
    dt, stimulus_duration, tau : float
        Time step, time of a presentation and time constant in ms.
    w_inh : float
        Strength of the lateral inhibition.
    units : int
        Number of units, the most that can be active.
    active : int, optional
        Largest number of units found to be active at once; None: not known yet.

    Returns
    -------
    report : dict
        The numbers.
    warnings : list of str
        Sentences for the user with the numbers; empty if all is well.
    """
    worst, left = euler_number(dt, tau, w_inh, units), unsettled(stimulus_duration, tau, w_inh)
    report: dict[str, Any] = {"euler_number_all_active": worst, "unsettled": left}
    found = ""
    if active is not None:
        now = euler_number(dt, tau, w_inh, active)
        report |= {"most_active_units": active, "euler_number": now}
        found = f", and {now:.2f} with the m = {active} that stay active at most after the training"
    warnings = []
    if worst > 2:
        warnings.append(
            f"Euler's method is unstable where (dt / tau) (1 + (m - 1) w_inh) exceeds 2: it is {worst:.2f} with all "
            f"m = {units} units active, as at the onset of an image{found}. A step of {2 * dt / worst:.2g} ms is "
            "stable with any number."
        )
    if left == 1:
        warnings.append("with w_inh = 1 the rates of two units part linearly in time and never settle: choose another")
    elif left > SETTLED:
        needed = stimulus_duration * np.log(SETTLED) / np.log(left)
        warnings.append(
            f"{100 * left:.1f} % of the slowest deviation from the steady state are left after "
            f"{stimulus_duration:g} ms: {100 * SETTLED:g} % need {np.ceil(needed):g} ms (or a smaller tau, now "
            f"{tau:g} ms)."
        )
    return report, warnings


def distance_report(
    rates: np.ndarray, currents: Iterable[np.ndarray], w_inh: float
) -> tuple[dict[str, Any], list[str]]:
    """Check simulated rates against the steady state.

    Parameters
    ----------
    rates : (presentation, neuroid) array
        At the end of the presentations.
    currents : iterable of (presentation, neuroid) array
        Input currents of the same presentations, batch by batch.
    w_inh : float
        Strength of the lateral inhibition.

    Returns
    -------
    report : dict
        ``distance_to_steady_state`` is the largest difference, as a share of the largest rate.
    warnings : list of str
    """
    error = largest = 0.0
    first = 0
    for current in currents:
        expected = np.maximum(steady_state(current, w_inh), 0)
        error = max(error, float(np.abs(rates[first : first + len(current)] - expected).max()))
        largest = max(largest, float(expected.max()))
        first += len(current)
    error = error / largest if largest > 0 else error
    report = {
        "mean_active_units": float((rates > 0).sum(1).mean()),
        "share_silent_images": float((rates.max(1) <= 0).mean()),
        "distance_to_steady_state": error,
    }
    if error <= 5 * SETTLED:
        return report, []
    return report, [
        f"the rates end up to {100 * error:.0f} % of the largest rate away from their steady state: lower 'dt' if "
        "they oscillate, raise 'stimulus_duration' if they have not settled. The report of the training has the bounds."
    ]
