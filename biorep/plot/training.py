"""How backprop networks learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from biorep.plot.style import new_figure, styled

#: Label -> variable on the training batches, variable on images that are not learnt from.
PANELS = {
    "loss": ("loss", "evaluation_loss"),
    "accuracy": ("accuracy", "validation_accuracy"),
    "exponent of the spectrum": (None, "evaluation_exponent"),
}


def training_curves(groups: Mapping[str, Sequence[xr.Dataset | xr.DataTree]]) -> Figure:
    """Draw the histories of trainings.

    Parameters
    ----------
    groups : mapping of str to sequence of xr.Dataset or xr.DataTree
        Name -> states of backprop networks, one per seed: the history lies over `epoch`.

    Returns
    -------
    Figure
        Loss, accuracy and exponent of the spectrum against the epoch; one line per state. Solid: on the training
        batches, dashes: on the evaluation batch or the validation images.
    """
    histories = {name: [_dataset(state) for state in members] for name, members in groups.items()}
    states = [state for members in histories.values() for state in members]
    shown = {
        label: names
        for label, names in PANELS.items()
        if any(name in state and np.isfinite(state[name]).any() for name in names if name for state in states)
    }
    with styled():
        figure = new_figure(figsize=(2.8 * len(shown), 2.6))
        for column, (label, names) in enumerate(shown.items()):
            axes = figure.add_subplot(1, len(shown), column + 1)
            for index, members in enumerate(histories.values()):
                for state in members:
                    for name, line in zip(names, ("-", "--"), strict=True):
                        if name in state:
                            known = state[name].dropna("epoch")
                            axes.plot(known["epoch"], known, line, color=f"C{index}", linewidth=0.9)
            axes.set(xlabel="epoch", ylabel=label)
            if label == "loss":
                axes.set_yscale("log")
        handles = [Line2D([], [], color=f"C{index}", label=name) for index, name in enumerate(groups)]
        figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize="small")
    return figure


def _dataset(state: xr.Dataset | xr.DataTree) -> xr.Dataset:
    return state.to_dataset() if isinstance(state, xr.DataTree) else state
