"""How networks of Diehl & Cook (2015) learnt: a table, and the learning curves as a figure.

What to run first, and then this program with the folder that the run has printed, for example::

    biorep run spiking_wta_mnist
    python analysis/diehl_cook_2015/learning.py runs/spiking_wta_mnist

    biorep run analysis/diehl_cook_2015/inhibition.yaml
    python analysis/diehl_cook_2015/learning.py runs/diehl_cook_2015_inhibition

It trains nothing. A winner is the neuron that sent most spikes to an image.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import xarray as xr

from biorep.lab.report.page import save_figure
from biorep.lab.report.rows import Results, by_training
from biorep.lab.report.table import estimate
from biorep.networks.base import report_of
from biorep.plot import learning_curves

#: Column -> digits.
COLUMNS = {
    "test accuracy": 4,
    "slots per image": 3,
    "spikes per image": 1,
    "share of winners": 2,
    "winner's share of the spikes": 2,
}


def numbers(trained: xr.DataTree, accuracy: float) -> dict[str, float]:
    """Return the numbers of one run: of its training (last quarter), and of the frozen network on test images."""
    learnt = report_of(trained.to_dataset())
    response = trained["representation/response"].values
    counts = response.reshape(-1, response.shape[-1])
    answered = counts[counts.sum(1) > 0]
    return {
        "test accuracy": accuracy,
        "slots per image": learnt["slots_per_image"],
        "spikes per image": float(counts.sum(1).mean()),
        "share of winners": len(np.unique(answered.argmax(1))) / counts.shape[1],
        "winner's share of the spikes": float((answered.max(1) / answered.sum(1)).mean()),
    }


def table(results: Results) -> str:
    """Return one line per network, mean and half of the 95 % t-interval over its seeds."""
    rows, correct = results.states(), results.numbers("readout.accuracy")
    width = max(len(name) for name in rows)
    lines = [f"{'':<{width}}  seeds" + "".join(f"  {name}" for name in COLUMNS)]
    for name, members in rows.items():
        found = [numbers(one, accuracy) for one, accuracy in zip(members, correct[name], strict=True)]
        cells = [
            f"  {estimate([one[column] for one in found]).text(digits):>{len(column)}}"
            for column, digits in COLUMNS.items()
        ]
        lines.append(f"{name:<{width}}  {len(members):>5}" + "".join(cells))
    return "\n".join(lines)


def main(folder: str) -> None:
    """Print the table of a plan and write the figure beside those of its report."""
    results = Results(folder)
    print(table(results))
    print(save_figure(results.plan, "learning", learning_curves(results.states(by_training(results.plan)))))


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(f"usage: python {sys.argv[0]} STORE/PLAN")
    main(sys.argv[1])
