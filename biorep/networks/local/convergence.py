"""Whether a winner-takes-all layer has converged, and how many of its units are used.

A unit is *dead* if no training image drives it: its current is at most 0 for all of them, and its response is 0. It
wins no more as long as any other unit is driven, and as the k-th of a ranking it is pushed further. The rule takes its
weights to the norm R all the same, so the norm alone would call it converged. A unit *counts as used* only if it is
alive, wins, and its norm is within 1e-2 of R: untrained N(0, 1) units win too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from biorep.schema import describe

TOLERANCE = 1e-2
#: Share of dead units that is warned of: above what random initial weights have, far below what a large delta leaves.
DEADLY = 0.25


def convergence(
    weights: np.ndarray, wins: np.ndarray, peak: np.ndarray, p: float, radius: float, remedy: str
) -> tuple[xr.Dataset, dict[str, Any], list[str]]:
    """Judge the weights of a trained layer.

    Parameters
    ----------
    weights : (neuroid, input) array
    wins : (neuroid,) int array
        How many training images each unit won.
    peak : (neuroid,) array
        The largest current of each unit over the training images.
    p, radius : float
        Converged units have the Lp norm `radius`.
    remedy : str
        What to do against dead units and a collapse.

    Returns
    -------
    per_unit : xr.Dataset
        ``norm(neuroid)``, ``wins(neuroid)``, ``dead(neuroid)``, ``used(neuroid)``.
    report : dict
        Shares of converged (dead ones do not count), used, dead, never winning and mean-negative units; the winners'
        entropy in bits and ``effective_winners``, 2 to that power.
    warnings : list of str
        Sentences for the user; empty if all is well.
    """
    norm = (np.abs(weights, dtype=np.float64) ** p).sum(1) ** (1 / p)
    dead = peak <= 0
    converged = (np.abs(norm - radius) < TOLERANCE) & ~dead
    used = converged & (wins > 0)
    share = wins[wins > 0] / max(wins.sum(), 1)
    entropy = float(-(share * np.log2(share)).sum())
    units = len(weights)
    report = {
        "units": units,
        "share_converged": float(converged.mean()),
        "share_used": float(used.mean()),
        "share_dead": float(dead.mean()),
        "share_never_won": float((wins == 0).mean()),
        "share_mean_negative": float((weights.mean(1) < 0).mean()),
        "winner_entropy_bits": entropy,
        "effective_winners": float(2**entropy),
    }
    per_unit = xr.Dataset({"norm": ("neuroid", norm), "wins": ("neuroid", wins)})
    per_unit = per_unit.assign({"dead": ("neuroid", dead.astype(np.int8)), "used": ("neuroid", used.astype(np.int8))})
    describe(per_unit, {"norm": (f"L{p:g} norm of the weights", "1"), "wins": ("training images won", "1")})
    describe(per_unit, {"dead": ("1 if no training image drives the unit", "1")})
    describe(per_unit, {"used": ("1 if the unit is alive, wins, and its norm is within 1e-2 of R", "1")})
    return per_unit, report, _warnings(report, remedy)


def death(share: float, units: int) -> str:
    """Return in words that a share of the units is dead; empty below `DEADLY`."""
    if share < DEADLY:
        return ""
    told = f"{100 * share:.0f} % of the {units} units are dead: no training image drives them"
    return told + ", and more epochs do not bring them back. "


def _warnings(report: dict[str, Any], remedy: str) -> list[str]:
    units, effective, used = report["units"], report["effective_winners"], report["share_used"]
    dead = death(report["share_dead"], units)
    if effective < max(2.0, 0.05 * units):
        return [
            f"the network has collapsed: {effective:.1f} effective winners among {units} units, "
            f"{100 * used:.0f} % of the units are used. {dead}{remedy}"
        ]
    warnings = [dead + remedy] if dead else []
    if used < 0.5:
        warnings.append(
            f"only {100 * used:.0f} % of the {units} units are used (they win and their norm has converged); "
            f"{100 * report['share_converged']:.0f} % have converged, "
            f"{100 * report['share_never_won']:.0f} % never win. The spectrum of an unconverged network is not the "
            "rule's. Try more epochs, fewer units or init: images."
        )
    return warnings
