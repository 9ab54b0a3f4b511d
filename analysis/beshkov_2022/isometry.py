"""Are the distances within each class kept, as Beshkov et al. (2022) ask for? A table and a figure.

What to run first, and then this program with the folder that the run has printed::

    biorep run beshkov_2022_mnist
    python analysis/beshkov_2022/isometry.py runs/beshkov_2022_mnist

It trains nothing. For each class the distances between the responses to test images are correlated (Pearson) with the
distances between the images; the number of a network is the mean over the classes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

from biorep.lab.report.page import save_figure
from biorep.lab.report.rows import Results
from biorep.lab.report.table import estimate
from biorep.plot.style import new_figure, styled

Rows = Mapping[str, Sequence[xr.DataTree]]


def table(results: Rows, correct: Mapping[str, Sequence[float]]) -> str:
    """Return one line per network, and the correlation of every seed."""
    width = max(map(len, results))
    lines = [f"{'':<{width}}  seeds    test accuracy     correlation  by seed"]
    for name, members in results.items():
        values = [float(one["mean_pearson"]) for one in members]
        cells = estimate(list(correct[name])).text(4), estimate(values).text(3)
        each = " ".join(f"{value:.3f}" for value in values)
        lines.append(f"{name:<{width}}  {len(members):>5}  {cells[0]:>15}  {cells[1]:>14}  {each}")
    return "\n".join(lines)


def draw(results: Rows) -> Figure:
    """Return the correlation of each class: a mark per seed, a line through the means."""
    with styled():
        figure = new_figure(figsize=(5.0, 3.5))
        axes = figure.add_subplot()
        for index, (name, members) in enumerate(results.items()):
            joined = xr.concat([one["pearson"] for one in members], "seed", coords="minimal", join="outer")
            labels = joined["label"].values
            for values in joined.transpose("seed", "label").values:
                axes.plot(labels, values, ".", color=f"C{index}", markersize=4)
            mean = float(joined.mean())
            axes.plot(labels, joined.mean("seed"), color=f"C{index}", label=f"{name}: {mean:.2f}")
        axes.set(xlabel="class", ylabel="correlation of distances within the class", xticks=labels)
        axes.set_ylim(top=1)
        figure.legend(loc="outside upper center", ncols=2, fontsize="small")
    return figure


def main(folder: str) -> None:
    """Print the table of a plan and write the figure beside those of its report."""
    results = Results(folder)
    rows = results.rows("isometry")
    print(table(rows, results.numbers("readout.accuracy")))
    print(save_figure(results.plan, "isometry", draw(rows)))


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(f"usage: python {sys.argv[0]} STORE/PLAN")
    main(sys.argv[1])
