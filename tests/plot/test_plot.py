"""Figures show the numbers that they were given."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from biorep import plot
from biorep.errors import ConfigError
from biorep.spectra import fit_powerlaw


def _spectrum(alpha, length=100):
    data = xr.Dataset(
        {
            "eigenvalue": ("component", np.arange(1, length + 1.0) ** -alpha),
            "n_presentations": 10_000,
            "n_neuroids": length,
        },
        coords={"component": np.arange(1, length + 1)},
    )
    data["total_variance"] = data["eigenvalue"].sum()
    return data.merge(fit_powerlaw(data)).assign_attrs(data.attrs)


def test_spectrum_lines_are_shares_and_the_legend_has_the_exponent():
    figure = plot.spectrum_lines({"a": [_spectrum(1.0), _spectrum(1.0)], "b": [_spectrum(2.0)]})
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_legend().get_texts()] == [
        "a: α = 1.00 (11-80)",
        "b: α = 2.00 (11-80)",
        "1/n",
    ]
    shares = np.arange(1, 101.0) ** -1 / (1 / np.arange(1, 101.0)).sum()
    np.testing.assert_allclose(axes.lines[0].get_ydata(), shares)
    # The dashed line of an exact power law lies on it.
    np.testing.assert_allclose(axes.lines[1].get_ydata(), shares[10:80], rtol=1e-9)
    assert axes.get_xscale() == axes.get_yscale() == "log"


def _tree(correct):
    correct = np.asarray(correct)
    group = xr.Dataset(
        {"correct": (("attack", "epsilon", "presentation"), correct)},
        coords={"attack": ["fgsm", "pgd"], "epsilon": [0.0, 0.1]},
    )
    return xr.DataTree.from_dict({"linf": group})


def test_spectra_without_an_exponent_are_drawn_without_one():
    few = _spectrum(1.0)
    for name in ("alpha", "first_rank", "last_rank"):  # as they come from a plan in which others have one
        few[name] = np.nan
    (axes,) = plot.spectrum_lines({"few": [few, few]}).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["few", "1/n"]


def test_accuracy_counts_images_that_withstand_every_attack():
    tree = _tree([[[1, 1, 1, 0], [1, 0, 1, 0]], [[1, 1, 1, 0], [0, 1, 1, 0]]])
    (axes,) = plot.accuracy_curves({"net": [tree]}).axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.75, 0.25])
    (axes,) = plot.accuracy_curves({"net": [tree]}, relative=True).axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [1, 1 / 3])


def test_accuracy_curves_without_a_norm_are_explained():
    with pytest.raises(ConfigError, match="has one of the groups linf, l2, noise"):
        plot.accuracy_curves({"net": [xr.DataTree()]})


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 3), (16,)])
def test_receptive_fields_are_ordered_by_wins(shape):
    size = int(np.prod(shape))
    weights = np.arange(5 * size, dtype=float).reshape(5, size)
    state = xr.Dataset(
        {"weights": (("neuroid", "input"), weights), "wins": ("neuroid", [0, 5, 1, 9, 2])},
        attrs={"image_shape": list(shape)},
    )
    figure = plot.receptive_fields(state, count=3)
    assert len(figure.axes) == 3
    if shape == (4, 4):
        shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
        np.testing.assert_array_equal(shown, weights[[3, 1, 4]].reshape(3, 4, 4))


def test_a_state_without_weights_is_explained():
    with pytest.raises(ConfigError, match="no weights from the pixels"):
        plot.receptive_fields(xr.Dataset())


def test_the_user_s_style_is_left_alone():
    before = dict(mpl.rcParams)
    plot.spectrum_lines({"a": [_spectrum(1.0)]})
    assert dict(mpl.rcParams) == before
