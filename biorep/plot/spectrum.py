"""Eigenspectra on logarithmic axes, with the fitted window and exponent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from biorep.errors import DataError
from biorep.plot.given import Results, by_name
from biorep.plot.style import new_figure, styled
from biorep.schema import check_finite

WHAT = "spectra with eigenvalue(component), as biorep.spectra.eigenspectrum returns them"


def spectrum_lines(spectra: Results, *, title: str = "") -> Figure:
    """Draw the eigenspectra of several networks, each divided by its total variance.

    Parameters
    ----------
    spectra : mapping of str to xr.Dataset, xr.DataTree, or a list of them
        Network -> its spectra, one per seed or over `seed`: ``eigenvalue(component)`` and, if there is one, the fit
        (``alpha``, ...).
    title : str

    Returns
    -------
    Figure
        Lines: the geometric mean over seeds; band: their range; dashes: the fitted line in its window, with
        the mean exponent and the ranks in the legend; grey: 1/n.

    Raises
    ------
    ConfigError, DataError
        If there is no spectrum, or they have other dims than `component` and `seed`.
    """
    shown = by_name(spectra, {"eigenvalue": ("component",)}, WHAT)
    with styled():
        figure = new_figure(figsize=(5.0, 3.8))
        axes = figure.add_subplot()
        top = 0.0
        for index, (name, members) in enumerate(shown.items()):
            shares = _shares(members)
            ranks = np.arange(1, shares.shape[1] + 1)
            middle = np.exp(np.log(shares).mean(0))
            top = max(top, float(middle[0]))
            fitted = [m for m in members if "alpha" in m and np.isfinite(float(m["alpha"]))]  # some have too few ranks
            alpha = float(np.mean([float(m["alpha"]) for m in fitted])) if fitted else np.nan
            colour = f"C{index}"
            axes.plot(
                ranks, middle, color=colour, label=f"{name}: α = {alpha:.2f}{_window(fitted)}" if fitted else name
            )
            axes.fill_between(ranks, shares.min(0), shares.max(0), color=colour, alpha=0.2, linewidth=0)
            if fitted and _window(fitted):
                last = min(int(fitted[0]["last_rank"]), len(middle))
                window = np.arange(int(fitted[0]["first_rank"]), last + 1)
                if len(window) < 2:
                    continue
                inside = np.log(middle[window[0] - 1 : window[-1]])
                level = np.exp(np.average(inside + alpha * np.log(window), weights=1 / window))
                axes.plot(window, level * window**-alpha, color=colour, linestyle=(0, (4, 3)), linewidth=0.9)
        longest = max(int(m.sizes["component"]) for members in shown.values() for m in members)
        ranks = np.array([1, longest])
        axes.plot(ranks, top / ranks, color="0.6", linewidth=0.9, zorder=0, label="1/n")
        axes.set(xscale="log", yscale="log", xlabel="rank n of the component", ylabel="share of the variance")
        lowest = min(float(_shares(members)[:, : max(1, int(0.9 * m.sizes["component"]))].min())
                     for members in shown.values() for m in members[:1])  # fmt: skip
        axes.set_ylim(max(lowest / 2, 1e-12), top * 2)
        axes.legend(loc="lower left")
        axes.set_title(title)
    return figure


def _window(fitted: Sequence[xr.Dataset]) -> str:
    """Return the ranks of the fits, those of the first of them."""
    first = fitted[0]
    return f" ({int(first['first_rank'])}-{int(first['last_rank'])})" if "last_rank" in first else ""


def _length(member: xr.Dataset) -> int:
    rank = float(member["numerical_rank"]) if "numerical_rank" in member else np.inf
    return int(min(rank if np.isfinite(rank) else np.inf, member.sizes["component"]))


def _shares(members: Sequence[xr.Dataset]) -> np.ndarray:
    """Return positive shares of the variance, (seed, component), cut where the numerical rank ends."""
    length = min(_length(member) for member in members)
    totals = [float(m["total_variance"] if "total_variance" in m else m["eigenvalue"].sum()) for m in members]
    if length < 1 or not all(0 < total < np.inf for total in totals):
        raise DataError(f"needs {WHAT}: one of them has no variance")
    values = [m["eigenvalue"].values[:length] / total for m, total in zip(members, totals, strict=True)]
    check_finite(np.stack(values), "eigenvalue")
    return np.maximum(np.stack(values), np.finfo(float).tiny)
