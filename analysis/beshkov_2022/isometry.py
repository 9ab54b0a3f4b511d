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

from biorep import datasets
from biorep.batch.recipe import DatasetChoice
from biorep.geometry import within_class_isometry
from biorep.plot.style import new_figure, styled
from biorep.report import save_figure
from biorep.store import Stages, read_plan
from biorep.store.summary import accuracies, by_network, estimate

Results = Mapping[str, Sequence[xr.Dataset]]


def table(results: Results, correct: Mapping[str, Sequence[float]]) -> str:
    """Return one line per network, and the correlation of every seed."""
    width = max(map(len, results))
    lines = [f"{'':<{width}}  seeds    test accuracy     correlation  by seed"]
    for name, members in results.items():
        values = [float(one["mean_pearson"]) for one in members]
        cells = estimate(list(correct[name])).text(4), estimate(values).text(3)
        each = " ".join(f"{value:.3f}" for value in values)
        lines.append(f"{name:<{width}}  {len(members):>5}  {cells[0]:>15}  {cells[1]:>14}  {each}")
    return "\n".join(lines)


def draw(results: Results) -> Figure:
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
    plan = read_plan(folder)
    stages, groups = Stages(plan.root), by_network(plan)
    results: dict[str, list[xr.Dataset]] = {name: [] for name in groups}
    for name, runs in groups.items():
        for run in runs:
            choice = DatasetChoice.model_validate(run.recipe["dataset"])
            images = datasets.load(choice.name, "test", **choice.options())
            code = stages.load("representation", run.stages["representation"])
            results[name].append(within_class_isometry(code, images))
    print(table(results, {name: accuracies(stages, runs) for name, runs in groups.items()}))
    print(save_figure(plan, "isometry", draw(results)))


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(f"usage: python {sys.argv[0]} STORE/PLAN")
    main(sys.argv[1])
