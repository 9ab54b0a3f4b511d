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

from biorep.lab.report.page import save_figure
from biorep.lab.report.rows import Results, by_network
from biorep.lab.report.table import estimate
from biorep.lab.store import RunRecord
from biorep.plot import strength_curves

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


def final(members: list[xr.DataTree], variable: str) -> list[float]:
    """Return the last recorded value of a variable of the history, by seed."""
    return [float(one[variable][-1]) for one in members]


def curves(results: Results) -> dict[str, xr.Dataset]:
    """Return what `strength_curves` draws, and the validation accuracies."""
    groups, states, correct = by_network(results.plan), results.states(), results.numbers("readout.accuracy")
    given = {row: penalty(runs[0]) for row, runs in groups.items()}
    ordered = sorted(groups, key=lambda row: given[row][2])
    (plain,) = (row for row in ordered if not given[row][0])
    found = {}
    for name in dict.fromkeys(given[row][0] for row in groups if given[row][0]):
        members = [row for row in ordered if given[row][0] == name]
        value = f"value_{given[members[0]][1]}"
        found[name] = xr.Dataset(
            {
                "accuracy": (("strength", "seed"), [correct[row] for row in members]),
                "validation": (("strength", "seed"), [final(states[row], "validation_accuracy") for row in members]),
                "value": (("strength", "seed"), [final(states[row], value) for row in members]),
                "plain_accuracy": ("seed", correct[plain]),
                "plain_validation": ("seed", final(states[plain], "validation_accuracy")),
                "plain_value": ("seed", whole_or_part(states[plain], value, name)),
            },
            coords={"strength": [given[row][2] for row in members]},
        )
    return found


def whole_or_part(plain: list[xr.DataTree], value: str, name: str) -> list[float]:
    """Return the values of the plain networks; of the hidden layer alone if the penalty leaves out the output layer."""
    if name != "representation-norm":
        return final(plain, value)
    return [float(np.linalg.norm(one["weights_0"].values.astype(np.float64), 2) ** 2 / 2) for one in plain]


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
    results = Results(folder)
    if missing := results.plan.missing:
        sys.exit(f"{len(missing)} runs of {results.plan.name} are missing: `biorep sweep` goes on where it stopped")
    found = curves(results)
    print(table(found))
    print(save_figure(results.plan, "strengths", strength_curves(found)))


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(f"usage: python {sys.argv[0]} STORE/PLAN")
    main(sys.argv[1])
