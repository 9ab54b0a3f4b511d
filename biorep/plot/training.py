"""How backprop networks learnt."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from biorep.errors import ConfigError
from biorep.plot.given import Results, by_name
from biorep.plot.style import new_figure, styled
from biorep.schema import require_variables

#: Label -> variable on the training batches, variable on images that are not learnt from.
PANELS = {
    "loss": ("loss", "evaluation_loss"),
    "accuracy": ("accuracy", "validation_accuracy"),
    "exponent of the spectrum": (None, "evaluation_exponent"),
}


def training_curves(groups: Results) -> Figure:
    """Draw the histories of trainings.

    Parameters
    ----------
    groups : mapping of str to xr.Dataset, xr.DataTree, or a list of them
        Name -> states of backprop networks, or histories, one per seed or over `seed`: the history lies over `epoch`.

    Returns
    -------
    Figure
        Loss, accuracy and exponent of the spectrum against the epoch; one line per state. Solid: on the training
        batches, dashes: on the evaluation batch or the validation images.
    """
    histories = by_name(groups, {}, "states or histories of backprop networks")
    states = [state for several in histories.values() for state in several]
    shown = {
        label: names
        for label, names in PANELS.items()
        if any(name in state and state[name].notnull().any() for name in names if name for state in states)
    }
    if not shown:
        raise ConfigError(
            f"no state has a history: one of {', '.join(n for names in PANELS.values() for n in names if n)}"
        )
    with styled():
        figure = new_figure(figsize=(2.8 * len(shown), 2.6))
        for column, (label, names) in enumerate(shown.items()):
            axes = figure.add_subplot(1, len(shown), column + 1)
            for index, several in enumerate(histories.values()):
                for state in several:
                    for name, line in zip(names, ("-", "--"), strict=True):
                        if name in state:
                            require_variables(state, {str(name): ("epoch",)}, "histories over epoch", numbers=True)
                            known = state[name].dropna("epoch")
                            axes.plot(known["epoch"], known, line, color=f"C{index}", linewidth=0.9)
            axes.set(xlabel="epoch", ylabel=label)
            if label == "loss" and any(np.any(np.asarray(line.get_ydata()) > 0) for line in axes.get_lines()):
                axes.set_yscale("log")
        handles = [Line2D([], [], color=f"C{index}", label=name) for index, name in enumerate(histories)]
        figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize="small")
    return figure
