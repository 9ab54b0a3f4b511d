"""Tuning for gratings: what the units of a network prefer, and how much they care."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from biorep.errors import DataError
from biorep.plot.style import new_figure, styled


def tuning_summary(tuning: xr.Dataset, *, curves: int = 5, title: str = "") -> Figure:
    """Draw the preferred orientations and frequencies, the selectivities, and some tuning curves.

    Parameters
    ----------
    tuning : xr.Dataset
        What `biorep.tuning.tuning` returned.
    curves : int
        Number of tuning curves, of neuroids from the least to the most selective one.
    title : str

    Returns
    -------
    Figure
        Four panels: histograms of the preferred orientation (without those that have none) and of 1 - circular
        variance (dashes: the median); tuning curves around their peaks, each divided by it; and how many neuroids
        prefer each frequency shown. Silent neuroids are counted in the heading and left out.

    Raises
    ------
    DataError
        If all neuroids are silent.
    """
    active = tuning.isel(neuroid=np.flatnonzero(np.isfinite(tuning["selectivity"].values)))
    total, left = tuning.sizes["neuroid"], active.sizes["neuroid"]
    if left == 0:
        raise DataError(f"all {total} neuroids are silent: there is no tuning to draw")
    heading = f"{total} neuroids" + (f", {total - left} of them silent" if left < total else "")
    with styled():
        figure = new_figure(figsize=(6.6, 4.8))
        panels = figure.subplots(2, 2)
        _orientations(panels[0, 0], active["preferred_orientation"].values)
        _selectivities(panels[0, 1], active["selectivity"].values)
        _curves(panels[1, 0], active, curves)
        shown = np.atleast_1d(tuning.attrs["frequencies"])
        _frequencies(panels[1, 1], active["preferred_frequency"].values, shown)
        figure.suptitle(f"{title}: {heading}" if title else heading, fontsize=9)
    return figure


def _orientations(axes: Axes, preferred: np.ndarray) -> None:
    # Bins around 0, 15, ... degrees, so that those who prefer horizontal bars are in one bin.
    wrapped = (preferred[np.isfinite(preferred)] + 7.5) % 180 - 7.5
    axes.hist(wrapped, bins=12, range=(-7.5, 172.5), edgecolor="white", linewidth=0.5)
    axes.set(xlabel="preferred orientation (degrees; 90: vertical)", ylabel="neuroids", xlim=(-7.5, 172.5))
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
