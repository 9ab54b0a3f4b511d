"""Accuracy against the size of the perturbation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from biorep.errors import ConfigError
from biorep.plot.style import new_figure, styled

PANELS = {
    "linf": "L∞ perturbation, worst of all attacks",
    "l2": "L2 perturbation, worst of all attacks",
    "noise": "SD of Gaussian noise",
}


def accuracy_curves(results: Mapping[str, Sequence[xr.DataTree]], *, relative: bool = False) -> Figure:
    """Draw accuracy against epsilon, one panel per norm.

    Parameters
    ----------
    results : mapping of str to sequence of xr.DataTree
        Network -> its robustness trees, one per seed.
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
        If there is nothing to draw.
    """
    panels = [name for name in PANELS if any(name in tree.children for trees in results.values() for tree in trees)]
    if not panels:
        raise ConfigError(f"no result of robustness has one of the groups {', '.join(PANELS)}: nothing to draw")
    with styled():
        figure = new_figure(figsize=(3.4 * len(panels), 3.1))
        for column, panel in enumerate(panels):
            axes = figure.add_subplot(1, len(panels), column + 1)
            for index, (name, trees) in enumerate(results.items()):
                curves = [_curve(tree[panel].to_dataset(), relative) for tree in trees if panel in tree.children]
                if not curves:
                    continue
                epsilon, accuracy = curves[0][0], np.stack([curve for _, curve in curves])
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
    return group["epsilon"].values, accuracy / accuracy[0] if relative else accuracy
