"""Accuracy and value of a penalty against its strength."""

from __future__ import annotations

import math
from collections.abc import Mapping

import xarray as xr
from matplotlib.figure import Figure

from biorep.errors import ConfigError, whole
from biorep.plot.style import new_figure, styled
from biorep.schema import require_variables

NEEDS = {"accuracy": ("strength", "seed"), "value": ("strength", "seed"), "strength": ("strength",),
         "plain_accuracy": ("seed",), "plain_value": ("seed",)}  # fmt: skip


def strength_curves(penalties: Mapping[str, xr.Dataset], *, columns: int = 4) -> Figure:
    """Draw, for each penalty, accuracy and value against strength.

    Parameters
    ----------
    penalties : mapping of str to xr.Dataset
        Penalty -> ``accuracy(strength, seed)``, ``value(strength, seed)``, and the same without it, as
        ``plain_accuracy(seed)`` and ``plain_value(seed)``.
    columns : int
        Panels side by side.

    Returns
    -------
    Figure
        Blue, left: accuracy; red, right: value of the penalty; lines through the means over seeds, bands their ranges;
        dashes: without the penalty.

    Raises
    ------
    ConfigError, DataError
        If there is no penalty, or one has other variables.
    """
    columns = whole(columns, "columns")
    if not isinstance(penalties, Mapping) or not penalties:
        raise ConfigError("needs a mapping of penalties to accuracy and value by strength: there is nothing to draw")
    penalties = {
        name: require_variables(found, NEEDS, "accuracy and value by strength", numbers=True)
        for name, found in penalties.items()
    }
    if wrong := [name for name, found in penalties.items() if not (found["strength"] > 0).all()]:
        raise ConfigError(f"the strengths of '{wrong[0]}' must be positive: the axis is logarithmic")
    rows = math.ceil(len(penalties) / columns)
    with styled():
        figure = new_figure(figsize=(2.9 * min(columns, len(penalties)), 2.4 * rows))
        for number, (name, found) in enumerate(penalties.items()):
            axes = figure.add_subplot(rows, min(columns, len(penalties)), number + 1)
            twin = axes.twinx()
            for side, quantity, colour in ((axes, "accuracy", "C0"), (twin, "value", "C3")):
                values = found[quantity].transpose("strength", "seed")
                side.plot(found["strength"], values.mean("seed"), color=colour, marker="o", markersize=3)
                side.fill_between(
                    found["strength"], values.min("seed"), values.max("seed"), color=colour, alpha=0.2, linewidth=0
                )
                plain = float(found[f"plain_{quantity}"].mean())
                side.axhline(plain, color=colour, linestyle=(0, (4, 3)), linewidth=0.8)
                side.tick_params(axis="y", colors=colour, which="both")
            axes.set(xscale="log", title=name, xticks=found["strength"].values)
            axes.minorticks_off()
            if (found["value"] > 0).any():
                twin.set_yscale("log")
            if number % columns == 0:
                axes.set_ylabel("accuracy", color="C0")
            if number % columns == columns - 1 or number == len(penalties) - 1:
                twin.set_ylabel("value of the penalty", color="C3")
            if number >= len(penalties) - columns:
                axes.set_xlabel("strength")
    return figure
