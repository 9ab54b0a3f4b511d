"""What each penalty costs at which strength: a table, and curves of accuracy and value as a figure.

What to run first, and then this program with the folder that it has printed::

    biorep sweep study_penalties --workers 2
    python analysis/penalties/strengths.py runs/study_penalties

It trains nothing. Values are exact ones on the fixed evaluation batch after the last epoch. Marked is the strongest of
each penalty whose mean validation accuracy is within one point of the plain network's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import xarray as xr

from biorep.plot import strength_curves
from biorep.report import save_figure
from biorep.store import PlanRecord, RunRecord, Stages, read_plan
from biorep.store.summary import accuracies, by_network, estimate

#: Points of accuracy that the chosen strength may cost.
COST = 0.01


def penalty(run: RunRecord) -> tuple[str, str, float]:
    """Return the name and the kind of the only penalty of a run, and its strength; empty names for a plain run."""
    given = run.recipe["network"]["penalties"]
    if not given:
        return "", "", 0.0
    name = given[0]["kind"]
    if given[0].get("layers") == "representation":
        name = "representation-norm"
    return name, given[0]["kind"], float(given[0]["strength"])


def final(stages: Stages, runs: list[RunRecord], variable: str) -> list[float]:
    """Return the last recorded value of a variable of the history, by seed."""
    return [float(stages.load("state", run.stages["state"])[variable][-1]) for run in runs]


def curves(plan: PlanRecord) -> dict[str, xr.Dataset]:
    """Return what `strength_curves` draws, and the validation accuracies."""
    stages = Stages(plan.root)
    groups = sorted(by_network(plan).values(), key=lambda runs: penalty(runs[0])[2])
    (plain,) = (runs for runs in groups if not penalty(runs[0])[0])
    found = {}
    for name in dict.fromkeys(penalty(run)[0] for run in plan.runs if penalty(run)[0]):
        members = [runs for runs in groups if penalty(runs[0])[0] == name]
        value = f"value_{penalty(members[0][0])[1]}"
        found[name] = xr.Dataset(
            {
                "accuracy": (("strength", "seed"), [accuracies(stages, runs) for runs in members]),
                "validation": (("strength", "seed"), [final(stages, runs, "validation_accuracy") for runs in members]),
                "value": (("strength", "seed"), [final(stages, runs, value) for runs in members]),
                "plain_accuracy": ("seed", accuracies(stages, plain)),
                "plain_validation": ("seed", final(stages, plain, "validation_accuracy")),
                "plain_value": ("seed", whole_or_part(stages, plain, value, members[0])),
            },
            coords={"strength": [penalty(runs[0])[2] for runs in members]},
        )
    return found


def whole_or_part(stages: Stages, plain: list[RunRecord], value: str, like: list[RunRecord]) -> list[float]:
    """Return the values of the plain networks; of the hidden layer alone if the penalty leaves out the output layer."""
    if penalty(like[0])[0] != "representation-norm":
        return final(stages, plain, value)
    weights = [stages.load("state", run.stages["state"])["weights_0"].values for run in plain]
    return [float(np.linalg.norm(matrix.astype(np.float64), 2) ** 2 / 2) for matrix in weights]


def chosen(found: xr.Dataset) -> float | None:
    """Return the strongest strength that costs no more than `COST` of the validation accuracy."""
    cost = float(found["plain_validation"].mean()) - found["validation"].mean("seed")
    fine = found["strength"].values[cost.values <= COST]
    return float(fine.max()) if len(fine) else None


def table(found: dict[str, xr.Dataset]) -> str:
    """Return one line per penalty and strength; a star marks the chosen ones."""
    plain = next(iter(found.values()))
    lines = [
        f"{'penalty':<20}  {'strength':>8}  {'test accuracy':>15}  {'value':>10}  {'plain':>10}",
        f"{'none':<20}  {'':>8}  {estimate(plain['plain_accuracy'].values.tolist()).text(4):>15}",
    ]
    for name, one in found.items():
        best = chosen(one)
        for strength in one["strength"].values:
            part = one.sel(strength=strength)
            mark = "*" if strength == best else " "
            accuracy = estimate(part["accuracy"].values.tolist()).text(4)
            value, without = float(part["value"].mean()), float(one["plain_value"].mean())
            lines.append(f"{name:<20}  {strength:>7g}{mark}  {accuracy:>15}  {value:>10.4g}  {without:>10.4g}")
    return "\n".join(lines)


def main(folder: str) -> None:
    """Print the table of a plan and write the figure beside those of its report."""
    plan = read_plan(folder)
    if plan.missing:
        sys.exit(f"{len(plan.missing)} runs of {plan.name} are missing: `biorep sweep` goes on where it stopped")
    found = curves(plan)
    print(table(found))
    print(save_figure(plan, "strengths", strength_curves(found)))


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(f"usage: python {sys.argv[0]} STORE/PLAN")
    main(sys.argv[1])
