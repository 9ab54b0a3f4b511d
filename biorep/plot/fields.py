"""Receptive fields: the weights of units as small images."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from biorep.errors import ConfigError, DataError, whole
from biorep.plot.style import new_figure, styled
from biorep.schema import check_finite, check_real, require_variables


def receptive_fields(state: xr.Dataset | xr.DataTree, *, count: int = 40, columns: int = 10, title: str = "") -> Figure:
    """Draw the weights of the units that win most often (or the first ones, if wins are not known).

    Parameters
    ----------
    state : xr.Dataset or xr.DataTree
        With ``weights(neuroid, input)`` (or ``weights_0``) and the attribute `image_shape`.
    count : int
        Number of units.
    columns : int
        Units per row.
    title : str

    Returns
    -------
    Figure
        Grey images: red positive, blue negative, each on its own symmetric scale. Colour images: each scaled
        to [0, 1].

    Raises
    ------
    ConfigError
        If the state has no weights from the pixels.
    DataError, NumericalError
        If they are not of one network, do not have the size of the images, or are not finite.
    """
    state, count, columns = require_variables(state, {}, "a state"), whole(count, "count"), whole(columns, "columns")
    name = next((n for n in ("weights", "weights_0") if n in state), None)
    if name is None:
        raise ConfigError(f"this state has no weights from the pixels (it has {', '.join(map(str, state.data_vars))})")
    if "wins" in state:
        require_variables(state, {"wins": ("neuroid",)}, "how often each unit wins", numbers=True)
    if state[name].ndim != 2 or "neuroid" not in state[name].dims:
        raise DataError(f"'{name}' must be (neuroid, input), got {state[name].dims}: select one network")
    weights = state[name].transpose("neuroid", ...).values
    check_finite(weights, name)
    order = np.argsort(-state["wins"].values, kind="stable") if "wins" in state else np.arange(len(weights))
    chosen = order[:count]
    stated = state.attrs["image_shape"] if "image_shape" in state.attrs else weights.shape[1]
    check_real(np.asarray(stated), "image_shape")
    shape = tuple(int(s) for s in np.atleast_1d(stated))
    if not weights.size or math.prod(shape) != weights.shape[1]:
        raise DataError(f"the state says that images are {shape}, and '{name}' has {weights.shape[1]} inputs")
    if len(shape) == 1:
        side = math.isqrt(shape[0])
        shape = (side, side) if side * side == shape[0] else (1, shape[0])
    rows = math.ceil(len(chosen) / columns)
    with styled():
        figure = new_figure(figsize=(0.5 * columns, 0.5 * rows + (0.25 if title else 0)))
        for index, unit in enumerate(chosen):
            axes = figure.add_subplot(rows, columns, index + 1)
            field = weights[unit].reshape(shape)
            if len(shape) == 3 and shape[2] not in (3, 4):
                field = field.mean(2)
            if field.ndim == 3:
                axes.imshow((field - field.min()) / max(np.ptp(field), 1e-12), interpolation="nearest")
            else:
                bound = max(float(np.abs(field).max()), 1e-12)
                axes.imshow(field, cmap="RdBu_r", vmin=-bound, vmax=bound, interpolation="nearest")
            axes.set_axis_off()
        if title:
            figure.suptitle(title, fontsize=9)
    return figure
