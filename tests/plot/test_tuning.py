"""The figure of tuning shows the numbers that it was given."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from biorep.datasets import gratings
from biorep.errors import DataError
from biorep.plot.tuning import tuning_summary
from biorep.tuning import fit_gabors, tuning


@pytest.fixture
def measured():
    """Ten neuroids with cosine curves of growing depth, preferring 0, 18, ... degrees; then two silent ones."""
    shown = gratings(size=8, orientations=12, frequencies=[0.125, 0.25], phases=4)
    angle = np.deg2rad(shown["orientation"].values[:, None] - np.arange(10) * 18)
    tuned = 1 + np.linspace(0.1, 1, 10) * np.cos(2 * angle)
    tuned *= np.where(shown["frequency"].values[:, None] == 0.25, 1, np.where(np.arange(10) < 3, 2, 0.5))
    responses = np.concatenate([tuned, np.zeros((len(tuned), 2))], 1)
    coords = {name: shown[name] for name in ("orientation", "frequency", "phase")}
    return tuning(xr.Dataset({"response": (("presentation", "neuroid"), responses)}, coords=coords))


def test_the_panels_hold_the_numbers(measured):
    figure = tuning_summary(measured, title="cells", untuned=0.12)
    orientation, selectivity, curves, frequency = figure.axes
    assert figure.get_suptitle() == "cells: 12 neuroids, 2 of them silent"
    for axes, count in ((orientation, 8), (selectivity, 10), (frequency, 10)):
        assert sum(bar.get_height() for bar in axes.patches) == count
    assert orientation.get_ylabel() == "neuroids (without 2 untuned)"  # selectivities 0.05 and 0.1
    assert [bar.get_height() for bar in frequency.patches] == [3, 7]
    assert [label.get_text() for label in frequency.get_xticklabels()] == ["0.12", "0.25"]
    assert selectivity.get_legend().get_texts()[0].get_text() == "median 0.28"
    assert len(curves.lines) == 5


def test_horizontal_preferences_are_in_one_bin(measured):
    angles = np.where(np.arange(12) < 10, np.where(np.arange(12) % 2, 179.0, 1.0), np.nan)
    axes, *_ = tuning_summary(measured.assign(preferred_orientation=("neuroid", angles)), untuned=0).axes
    heights = [bar.get_height() for bar in axes.patches]
    assert heights[0] == 10
    assert sum(heights) == 10


def test_curves_have_their_peak_in_the_middle(measured):
    axes = tuning_summary(measured, curves=3).axes[2]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["0.05", "0.25", "0.50"]
    for line in axes.lines:
        x, y = line.get_data()
        np.testing.assert_allclose(x, np.arange(-90, 91, 15))
        assert (y[6], y[0]) == (1, y[-1])
        assert y.argmax() == 6


def test_fits_at_a_bound_are_hollow_and_in_no_distribution(measured):
    """Two Gabor functions, and a grating that fills its field: its widths have no end."""
    row, column = np.mgrid[:16, :16]
    bars = np.cos(2 * np.pi * 0.2 * (column - 8))
    blobs = [bars * np.exp(-((column - x) ** 2 + (row - 8) ** 2) / 12) for x in (7, 8)]
    fits = fit_gabors(xr.DataArray([*blobs, bars], dims=("neuroid", "row", "column")))
    assert fits["at_bound"].values.tolist() == [False, False, True]
    widths, frequencies = (tuning_summary(measured, fits=fits).axes[index] for index in (2, 5))
    full, hollow = widths.collections
    np.testing.assert_allclose(full.get_offsets(), np.full((2, 2), 0.2 * np.sqrt(6)), rtol=1e-3)
    assert (len(full.get_facecolors()), len(hollow.get_offsets()), len(hollow.get_facecolors())) == (1, 1, 0)
    assert sum(bar.get_height() for bar in frequencies.patches) == 2
    assert frequencies.get_ylabel() == "neuroids (without 1 at a bound)"


def test_fewer_neuroids_than_curves(measured):
    assert len(tuning_summary(measured.isel(neuroid=[3, 4]), curves=5).axes[2].lines) == 2


def test_results_from_a_file_are_drawn(measured, tmp_path):
    measured.to_netcdf(tmp_path / "tuning.nc")
    with xr.open_dataset(tmp_path / "tuning.nc") as stored:
        assert len(tuning_summary(stored).axes) == 4


def test_silent_networks_are_explained(measured):
    with pytest.raises(DataError, match="all 2 neuroids are silent"):
        tuning_summary(measured.isel(neuroid=[10, 11]))
