"""Whether a winner-takes-all layer has converged, and how many of its units are used.

A unit *counts as used* only if it wins and its norm is within 1e-2 of R: untrained N(0, 1) units win too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from biorep.schema import describe

TOLERANCE = 1e-2


def convergence(
    weights: np.ndarray, wins: np.ndarray, p: float, radius: float
) -> tuple[xr.Dataset, dict[str, Any], list[str]]:
    """Judge the weights of a trained layer.

    Parameters
    ----------
    weights : (neuroid, input) array
    wins : (neuroid,) int array
        How many training images each unit won.
    p, radius : float
        Converged units have the Lp norm `radius`.

    Returns
    -------
    per_unit : xr.Dataset
        ``norm(neuroid)``, ``wins(neuroid)``, ``used(neuroid)``.
    report : dict
        Shares of converged, used, never winning and mean-negative units; the winners' entropy in bits and
        ``effective_winners``, 2 to that power.
    warnings : list of str
        Sentences for the user; empty if all is well.
    """
    norm = (np.abs(weights, dtype=np.float64) ** p).sum(1) ** (1 / p)
    converged = np.abs(norm - radius) < TOLERANCE
    used = converged & (wins > 0)
    share = wins[wins > 0] / max(wins.sum(), 1)
    entropy = float(-(share * np.log2(share)).sum())
    units = len(weights)
    report = {
        "units": units,
        "share_converged": float(converged.mean()),
        "share_used": float(used.mean()),
        "share_never_won": float((wins == 0).mean()),
        "share_mean_negative": float((weights.mean(1) < 0).mean()),
        "winner_entropy_bits": entropy,
        "effective_winners": float(2**entropy),
    }
    per_unit = xr.Dataset(
        {"norm": ("neuroid", norm), "wins": ("neuroid", wins), "used": ("neuroid", used.astype(np.int8))}
    )
    describe(per_unit, {"norm": (f"L{p:g} norm of the weights", "1"), "wins": ("training images won", "1")})
    describe(per_unit, {"used": ("1 if the unit wins and its norm is within 1e-2 of R", "1")})
    return per_unit, report, _warnings(report)


def _warnings(report: dict[str, Any]) -> list[str]:
    units, effective, used = report["units"], report["effective_winners"], report["share_used"]
    if effective < max(2.0, 0.05 * units):
        return [
            f"the network has collapsed: {effective:.1f} effective winners among {units} units, "
            f"{100 * used:.0f} % of the units are used. Try more epochs, init: images, a larger k or a smaller delta."
        ]
    if used < 0.5:
        return [
            f"only {100 * used:.0f} % of the {units} units are used (they win and their norm has converged); "
            f"{100 * report['share_converged']:.0f} % have converged, "
            f"{100 * report['share_never_won']:.0f} % never win. The spectrum of an unconverged network is not the "
            "rule's. Try more epochs, fewer units or init: images."
        ]
    return []
