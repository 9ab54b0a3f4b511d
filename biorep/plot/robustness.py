"""Accuracy against the size of the perturbation."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from biorep.errors import ConfigError
from biorep.plot.given import Results, by_name, listed
from biorep.plot.style import new_figure, styled

PANELS = {
    "linf": "L∞ perturbation, worst of all attacks",
    "l2": "L2 perturbation, worst of all attacks",
    "noise": "SD of Gaussian noise",
}


WHAT = "results of robustness, trees as biorep.robustness.evaluate returns them"
UNION = {"correct": ("attack", "epsilon", "presentation")}


def accuracy_curves(results: Results, *, relative: bool = False) -> Figure:
    """Draw accuracy against epsilon, one panel per norm.

    Parameters
    ----------
    results : mapping of str to xr.DataTree or a list of them
        Network -> its robustness trees, one per seed or over `seed`.
    relative : bool
        Divide by the clean accuracy.

    Returns
    -------
    Figure
        Lines: mean over seeds of the accuracy under the union of all attacks (an image counts only if it
        withstands each of them); bands: range over seeds.

    Raises
    ------
    ConfigError
        If there is nothing to draw, or epsilons differ.
    DataError
        If a result has other dims than its own and `seed`.
    """
    trees = listed(results, WHAT)
    if any(not isinstance(tree, xr.DataTree) for several in trees.values() for tree in several):
        raise ConfigError(f"needs {WHAT}; of biorep.open(folder) the node 'robustness'")
    panels = [name for name in PANELS if any(name in tree.children for several in trees.values() for tree in several)]
    if not panels:
        raise ConfigError(f"no result of robustness has one of the groups {', '.join(PANELS)}: nothing to draw")
    with styled():
        figure = new_figure(figsize=(3.4 * len(panels), 3.1))
        for column, panel in enumerate(panels):
            axes = figure.add_subplot(1, len(panels), column + 1)
            groups = {name: [t[panel] for t in several if panel in t.children] for name, several in trees.items()}
            found = by_name(groups, {"accuracy": ("epsilon",)} if panel == "noise" else UNION, WHAT)
            for index, name in enumerate(trees):
                if name not in found:
                    continue
                curves = [_curve(group, relative) for group in found[name]]
                epsilon = curves[0][0]
                if any(not np.array_equal(other, epsilon) for other, _ in curves):
                    raise ConfigError(f"'{name}': the epsilons of {panel} differ between its results")
                accuracy = np.stack([curve for _, curve in curves])
                axes.plot(epsilon, accuracy.mean(0), color=f"C{index}", label=name, marker="o", markersize=2.5)
                axes.fill_between(epsilon, accuracy.min(0), accuracy.max(0), color=f"C{index}", alpha=0.2, linewidth=0)
            axes.set(xlabel=PANELS[panel], ylim=(-0.02, 1.02))
            if column == 0:
                axes.set_ylabel("relative accuracy" if relative else "accuracy")
                axes.legend()
    return figure


def _curve(group: xr.Dataset, relative: bool) -> tuple[np.ndarray, np.ndarray]:
    if "attack" in group.dims:
        accuracy = group["correct"].min("attack").mean("presentation").values
    else:
        accuracy = group["accuracy"].values
    clean = accuracy[0] or np.nan  # nothing is relative to an accuracy of 0
    return group["epsilon"].values, accuracy / clean if relative else accuracy
