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

from biorep.networks.base import report_of
from biorep.plot import learning_curves
from biorep.report import save_figure
from biorep.store import PlanRecord, RunRecord, Stages, read_plan
from biorep.store.summary import by_network, by_training, estimate

#: Column -> digits.
COLUMNS = {
    "test accuracy": 4,
    "slots per image": 3,
    "spikes per image": 1,
    "share of winners": 2,
    "winner's share of the spikes": 2,
}


def numbers(stages: Stages, run: RunRecord) -> dict[str, float]:
    """Return the numbers of one run: of its training (last quarter), and of the frozen network on test images."""
    learnt = report_of(stages.load("state", run.stages["state"]))
    response = stages.load("representation", run.stages["representation"])["response"].values
    counts = response.reshape(-1, response.shape[-1])
    answered = counts[counts.sum(1) > 0]
    return {
        "test accuracy": float(stages.load("readout", run.stages["readout"])["test_accuracy"]),
        "slots per image": learnt["slots_per_image"],
        "spikes per image": float(counts.sum(1).mean()),
        "share of winners": len(np.unique(answered.argmax(1))) / counts.shape[1],
        "winner's share of the spikes": float((answered.max(1) / answered.sum(1)).mean()),
    }


def table(plan: PlanRecord) -> str:
    """Return one line per network, mean and half of the 95 % t-interval over its seeds."""
    stages, groups = Stages(plan.root), by_network(plan)
    width = max(len(name) for name in groups)
    lines = [f"{'':<{width}}  seeds" + "".join(f"  {name}" for name in COLUMNS)]
    for name, runs in groups.items():
        found = [numbers(stages, run) for run in runs]
        cells = [
            f"  {estimate([one[column] for one in found]).text(digits):>{len(column)}}"
            for column, digits in COLUMNS.items()
        ]
        lines.append(f"{name:<{width}}  {len(runs):>5}" + "".join(cells))
    return "\n".join(lines)


def main(folder: str) -> None:
    """Print the table of a plan and write the figure beside those of its report."""
    plan = read_plan(folder)
    print(table(plan))
    stages = Stages(plan.root)
    groups = {
        name: [stages.load("state", run.stages["state"]) for run in runs] for name, runs in by_training(plan).items()
    }
    print(save_figure(plan, "learning", learning_curves(groups)))


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(f"usage: python {sys.argv[0]} STORE/PLAN")
    main(sys.argv[1])
