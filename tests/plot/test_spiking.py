"""Figures of spiking networks show the numbers that they were given."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from biorep import plot
from biorep.errors import ConfigError


def test_learning_curves_show_every_history():
    state = xr.Dataset(
        {"online_accuracy": ("shown", [0.2, 0.5]), "mean_spikes": ("shown", [9.0, 8.0])}, coords={"shown": [100, 200]}
    )
    figure = plot.learning_curves({"a": [state, state], "b": [state]})
    first, second = figure.axes
    assert first.get_ylabel() == "online accuracy"
    assert len(first.lines) == 3
    np.testing.assert_allclose(second.lines[0].get_ydata(), [9.0, 8.0])
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["a", "b"]


def test_occupancy_sorts_neurons_by_their_class():
    counts = np.array([[0.0, 4.0, 1.0], [0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])
    data = xr.Dataset(
        {"response": (("presentation", "neuroid"), counts)},
        coords={"object_name": ("presentation", ["one", "one", "two"])},
    )
    picture = plot.occupancy(data).axes[0].images[0]
    np.testing.assert_allclose(picture.get_array(), [[3.0, 1.0, 0.0], [0.0, 0.0, 3.0]])


def test_raster_places_spikes_after_the_onset_of_their_image():
    recording = xr.Dataset(
        {
            "spike_time": ("spike", [1.0, 2.0, 0.5]),
            "spike_neuroid": ("spike", [4, 1, 4]),
            "spike_presentation": ("spike", [0, 1, 9]),
            "v": (("presentation", "neuroid", "time"), np.arange(16.0).reshape(2, 2, 4)),
        },
        coords={"neuroid_id": ("neuroid", [1, 4]), "time": np.arange(4) * 0.5},
    )
    figure = plot.raster(recording, count=2)
    np.testing.assert_allclose(figure.axes[0].lines[0].get_xdata(), [1.0, 4.0])
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [4, 1])
    assert len(figure.axes[1].lines[0].get_ydata()) == 8
    with pytest.raises(ConfigError, match="has no spikes"):
        plot.raster(recording.drop_vars("spike_time"))
