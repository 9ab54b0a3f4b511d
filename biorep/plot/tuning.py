"""Tuning for gratings: what the units of a network prefer, and how much they care."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from biorep.errors import ConfigError, DataError, whole
from biorep.plot.style import new_figure, styled
from biorep.schema import require_variables

NEEDS = {"curve": ("neuroid", "orientation"), "selectivity": ("neuroid",), "frequency": ("frequency",),
         "preferred_orientation": ("neuroid",), "preferred_frequency": ("neuroid",)}  # fmt: skip
FITS = dict.fromkeys(("at_bound", "frequency", "width_across", "width_along"), ("neuroid",))


def tuning_summary(
    tuning: xr.Dataset | xr.DataTree,
    *,
    fits: xr.Dataset | None = None,
    curves: int = 5,
    untuned: float = 0.1,
    title: str = "",
) -> Figure:
    """Draw the preferred orientations and frequencies, the selectivities, and some tuning curves.

    Parameters
    ----------
    tuning : xr.Dataset or xr.DataTree
        What `biorep.tuning.tuning` returned.
    fits : xr.Dataset, optional
        What `biorep.tuning.fit_gabors` returned, for two more panels.
    curves : int
        Number of tuning curves, of neuroids from the least to the most selective one.
    untuned : float
        Neuroids of less selectivity have no preferred orientation worth the name, and are not in its histogram.
    title : str

    Returns
    -------
    Figure
        Four panels: histograms of the preferred orientation (of tuned neuroids) and of 1 - circular variance (dashes:
        the median); tuning curves around their peaks, each divided by it; and how many neuroids prefer each frequency
        shown. Silent neuroids are counted in the heading and left out. With `fits` two more: the widths of the fitted
        Gabor functions in cycles, hollow where a parameter is at its bound and so no estimate, and a histogram of the
        fitted frequencies without these.

    Raises
    ------
    ConfigError, DataError
        If it is no tuning of one network, or all neuroids are silent.
    """
    tuning = require_variables(tuning, NEEDS, "a tuning, as biorep.tuning.tuning returns it", numbers=True)
    if fits is not None:
        fits = require_variables(fits, FITS, "Gabor fits, as biorep.tuning.fit_gabors returns them", numbers=True)
    curves = whole(curves, "curves")
    if isinstance(untuned, bool) or not isinstance(untuned, int | float) or not untuned >= 0:
        raise ConfigError(f"untuned must be a selectivity of at least 0, got {untuned!r}")
    active = tuning.isel(neuroid=np.flatnonzero(np.isfinite(tuning["selectivity"].values)))
    total, left = tuning.sizes["neuroid"], active.sizes["neuroid"]
    if left == 0:
        raise DataError(f"all {total} neuroids are silent: there is no tuning to draw")
    heading = f"{total} neuroids" + (f", {total - left} of them silent" if left < total else "")
    with styled():
        figure = new_figure(figsize=(6.6, 4.8) if fits is None else (9.9, 4.8))
        panels = figure.subplots(2, 2 if fits is None else 3)
        tuned = active["selectivity"].values >= untuned
        _orientations(panels[0, 0], active["preferred_orientation"].values[tuned], int((~tuned).sum()))
        _selectivities(panels[0, 1], active["selectivity"].values)
        _curves(panels[1, 0], active, curves)
        _frequencies(panels[1, 1], active["preferred_frequency"].values, tuning["frequency"].values)
        if fits is not None:
            _fits(panels[0, 2], panels[1, 2], fits)
        figure.suptitle(f"{title}: {heading}" if title else heading, fontsize=9)
    return figure


def _orientations(axes: Axes, preferred: np.ndarray, left_out: int) -> None:
    # Bins around 0, 15, ... degrees, so that those who prefer horizontal bars are in one bin.
    wrapped = (preferred[np.isfinite(preferred)] + 7.5) % 180 - 7.5
    axes.hist(wrapped, bins=12, range=(-7.5, 172.5), edgecolor="white", linewidth=0.5)
    without = f" (without {left_out} untuned)" if left_out else ""
    axes.set(xlabel="preferred orientation (degrees; 90: vertical)", ylabel=f"neuroids{without}", xlim=(-7.5, 172.5))
    axes.set_xticks(np.arange(0, 180, 45))


def _selectivities(axes: Axes, selectivity: np.ndarray) -> None:
    axes.hist(selectivity, bins=20, range=(0, 1), edgecolor="white", linewidth=0.5)
    middle = float(np.median(selectivity))
    axes.axvline(middle, color="0.3", linestyle="--", linewidth=1, label=f"median {middle:.2f}")
    axes.set(xlabel="selectivity (1 − circular variance)", ylabel="neuroids", xlim=(0, 1))
    axes.legend(loc="best")


def _curves(axes: Axes, active: xr.Dataset, count: int) -> None:
    """Draw curves at evenly spaced ranks of the selectivity, with their peaks at 0."""
    order = np.argsort(active["selectivity"].values, kind="stable")
    ranks = np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))
    values, selectivity = active["curve"].values, active["selectivity"].values
    half, length = values.shape[1] // 2, values.shape[1]
    shift = np.arange(-half, half + 1)
    for neuroid, shade in zip(order[ranks], np.linspace(0.85, 0.0, len(ranks)), strict=True):
        curve = values[neuroid]
        around = curve[(curve.argmax() + shift) % length] / curve.max()
        colour = mpl.colormaps["viridis"](shade)
        axes.plot(shift * 180 / length, around, color=colour, label=f"{selectivity[neuroid]:.2f}")
    axes.set(xlabel="orientation from the peak (degrees)", ylabel="response / peak", xlim=(-90, 90), ylim=(0, 1.4))
    axes.set_xticks(np.arange(-90, 91, 45))
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.legend(
        title="selectivity", title_fontsize=8, loc="upper center", ncols=5, handlelength=0.9, columnspacing=0.8
    )  # above the curves


def _frequencies(axes: Axes, preferred: np.ndarray, shown: np.ndarray) -> None:
    counts = [int(np.isclose(preferred, frequency).sum()) for frequency in shown]
    axes.bar(np.arange(len(shown)), counts, width=0.9)
    labels = [f"{frequency:.2g}" for frequency in shown]
    axes.set_xticks(np.arange(len(shown)), labels, rotation=0 if len(shown) <= 7 else 90)
    axes.set(xlabel="preferred frequency (cycles/pixel)", ylabel="neuroids")


def _fits(widths: Axes, frequencies: Axes, fits: xr.Dataset) -> None:
    """Draw widths in cycles (Ringach 2002), hollow where a fit is at a bound, and the frequencies of the other fits."""
    bound, frequency = fits["at_bound"].values.astype(bool), fits["frequency"].values
    cycles = fits["width_across"].values * frequency, fits["width_along"].values * frequency
    for chosen, fill, label in ((~bound, "C0", "estimates"), (bound, "none", "at a bound")):
        chosen = chosen & np.isfinite(frequency)
        label = f"{label}: {int(chosen.sum())}"
        widths.scatter(cycles[0][chosen], cycles[1][chosen], s=9, facecolors=fill, edgecolors="C0", label=label)
    widths.set(xlabel="width across the bars (cycles)", ylabel="width along the bars (cycles)")
    widths.legend(loc="best")
    frequencies.hist(frequency[~bound & np.isfinite(frequency)], bins=20, range=(0, 0.5), edgecolor="white")
    frequencies.set(
        xlabel="frequency of the Gabor fit (cycles/pixel)", ylabel=f"neuroids (without {bound.sum()} at a bound)"
    )
