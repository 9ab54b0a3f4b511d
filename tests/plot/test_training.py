"""Curves of trainings and of penalties by strength: the lines are the numbers."""

from __future__ import annotations

import numpy as np
import xarray as xr

from biorep.plot import strength_curves, training_curves


def history(seed):
    epochs = np.arange(1, 5)
    return xr.Dataset(
        {
            "loss": ("epoch", 1 / (epochs + seed)),
            "evaluation_loss": ("epoch", [np.nan, 0.4, np.nan, 0.2]),
            "accuracy": ("epoch", epochs / 5),
            "evaluation_exponent": ("epoch", [np.nan] * 4),
        },
        coords={"epoch": epochs},
    )


def test_training_curves_show_what_there_is_and_skip_gaps():
    figure = training_curves({"a": [history(0), history(1)], "b": [history(2)]})
    loss, accuracy = figure.axes  # no exponent was recorded
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy")
    lines = loss.get_lines()
    assert len(lines) == 6
    np.testing.assert_array_equal(lines[0].get_ydata(), 1 / np.arange(1, 5))
    np.testing.assert_array_equal(lines[1].get_xdata(), [2, 4])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_training_curves_take_trees():
    plain, trees = ({"a": [make(history(0)), make(history(1))]} for make in (lambda data: data, xr.DataTree))
    lines = [
        [line.get_ydata().tolist() for axes in training_curves(groups).axes for line in axes.get_lines()]
        for groups in (plain, trees)
    ]
    assert lines[0] == lines[1]


def test_strength_curves_draw_means_ranges_and_the_plain_network():
    found = xr.Dataset(
        {
            "accuracy": (("strength", "seed"), [[0.9, 0.92], [0.8, 0.84]]),
            "value": (("strength", "seed"), [[10.0, 12.0], [1.0, 1.0]]),
            "plain_accuracy": ("seed", [0.95, 0.97]),
            "plain_value": ("seed", [100.0, 100.0]),
        },
        coords={"strength": [0.1, 1.0]},
    )
    figure = strength_curves({"l2": found, "jacobian": found})
    assert len(figure.axes) == 4
    accuracy, value = figure.axes[:2]
    np.testing.assert_allclose(accuracy.get_lines()[0].get_ydata(), [0.91, 0.82])
    np.testing.assert_allclose(accuracy.get_lines()[1].get_ydata(), 0.96)
    np.testing.assert_allclose(value.get_lines()[0].get_ydata(), [11, 1])
    assert (accuracy.get_xscale(), value.get_yscale()) == ("log", "log")
