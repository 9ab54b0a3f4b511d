"""The figure of tuning shows the numbers that it was given."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from biorep.datasets import gratings
from biorep.errors import DataError
from biorep.plot.tuning import tuning_summary
from biorep.tuning import tuning


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
    figure = tuning_summary(measured, title="cells")
    orientation, selectivity, curves, frequency = figure.axes
    assert figure.get_suptitle() == "cells: 12 neuroids, 2 of them silent"
    for axes in (orientation, selectivity, frequency):
        assert sum(bar.get_height() for bar in axes.patches) == 10
    assert [bar.get_height() for bar in frequency.patches] == [3, 7]
    assert [label.get_text() for label in frequency.get_xticklabels()] == ["0.12", "0.25"]
    assert selectivity.get_legend().get_texts()[0].get_text() == "median 0.28"
    assert len(curves.lines) == 5


def test_horizontal_preferences_are_in_one_bin(measured):
    angles = np.where(np.arange(12) < 10, np.where(np.arange(12) % 2, 179.0, 1.0), np.nan)
    axes, *_ = tuning_summary(measured.assign(preferred_orientation=("neuroid", angles))).axes
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


def test_fewer_neuroids_than_curves(measured):
    assert len(tuning_summary(measured.isel(neuroid=[3, 4]), curves=5).axes[2].lines) == 2


def test_results_from_a_file_are_drawn(measured, tmp_path):
    measured.to_netcdf(tmp_path / "tuning.nc")
    with xr.open_dataset(tmp_path / "tuning.nc") as stored:
        assert len(tuning_summary(stored).axes) == 4


def test_silent_networks_are_explained(measured):
    with pytest.raises(DataError, match="all 2 neuroids are silent"):
        tuning_summary(measured.isel(neuroid=[10, 11]))
