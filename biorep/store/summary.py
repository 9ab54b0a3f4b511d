"""The table of a plan: one row per network, over its seeds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from biorep.store.runs import PlanRecord, RunRecord
from biorep.store.stages import Stages

if TYPE_CHECKING:
    import xarray as xr

#: Fewer seeds than this support no claim about an order.
ENOUGH_SEEDS = 5


@dataclass(frozen=True)
class Estimate:
    """Mean over seeds and half the width of its 95 % t-interval (NaN for one seed)."""

    mean: float
    half_width: float

    def text(self, digits: int) -> str:
        """Return ``mean ± half width``, or a dash if there is no number."""
        if np.isnan(self.mean):
            return "–"
        plus_minus = "" if np.isnan(self.half_width) else f" ± {self.half_width:.{digits}f}"
        return f"{self.mean:.{digits}f}{plus_minus}"


@dataclass(frozen=True)
class Row:
    """One row of the table; `values` maps a column to its estimate."""

    name: str
    seeds: int
    values: dict[str, Estimate]


#: Column -> (heading, digits).
COLUMNS = {
    "accuracy": ("test accuracy", 3),
    "alpha": ("exponent", 2),
    "critical_linf": ("median critical L-inf", 3),
    "critical_l2": ("median critical L2", 2),
    "used": ("units used", 2),
}


def estimate(values: list[float]) -> Estimate:
    """Return mean and 95 % t-interval of the values of independent seeds."""
    if not values or not np.isfinite(values).all():
        return Estimate(float(np.mean(values)) if values and not np.isnan(values).any() else np.nan, np.nan)
    mean, n = float(np.mean(values)), len(values)
    if n == 1 or len(set(values)) == 1:  # nothing random in it: the seeds are no replications
        return Estimate(mean, np.nan)
    from scipy.stats import t

    return Estimate(mean, float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)))


def by_network(plan: PlanRecord) -> dict[str, list[RunRecord]]:
    """Return the runs of a plan grouped by everything that was varied but the seed."""
    groups: dict[str, list[RunRecord]] = {}
    for run in plan.runs:
        parts = [str(v) if k == "model" else f"{k} {v}" for k, v in run.coordinates.items() if k != "seed"]
        groups.setdefault(", ".join(parts) or run.recipe["network"]["kind"], []).append(run)
    return groups


def by_training(plan: PlanRecord) -> dict[str, list[RunRecord]]:
    """Return the groups of `by_network` without those that differ only in what makes no difference to the training."""
    names: dict[tuple[str, ...], list[str]] = {}
    groups = by_network(plan)
    for name, runs in groups.items():
        names.setdefault(tuple(run.stages["state"] for run in runs), []).append(name)
    found = {}
    for same in names.values():
        shared = set.intersection(*(set(name.split(", ")) for name in same))
        found[", ".join(part for part in same[0].split(", ") if part in shared) or same[0]] = groups[same[0]]
    return found


def accuracies(stages: Stages, runs: list[RunRecord]) -> list[float]:
    """Return the test accuracy of each run."""
    return [float(stages.load("readout", run.stages["readout"])["test_accuracy"]) for run in runs]


def summary(plan: PlanRecord) -> list[Row]:
    """Return one row per group of `by_network`."""
    stages = Stages(plan.root)
    rows = []
    for name, runs in by_network(plan).items():
        members = [_numbers(stages, run.stages) for run in runs]
        values = {column: estimate([m[column] for m in members if column in m]) for column in COLUMNS}
        rows.append(Row(name, len(members), values))
    return rows


def _numbers(stages: Stages, keys: dict[str, str]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    if "readout" in keys:
        numbers["accuracy"] = float(stages.load("readout", keys["readout"])["test_accuracy"])
    if "spectrum" in keys:
        numbers["alpha"] = float(stages.load("spectrum", keys["spectrum"])["alpha"])
    if "robustness" in keys:
        tree = stages.load_tree("robustness", keys["robustness"])
        for norm in ("linf", "l2"):
            if norm in tree.children:
                numbers[f"critical_{norm}"] = weakest(tree[norm].to_dataset())
    report = json.loads(stages.load("state", keys["state"]).attrs.get("report", "{}"))
    if "share_used" in report:
        numbers["used"] = report["share_used"]
    return numbers


def weakest(group: xr.Dataset) -> float:
    """Return the median over images of the smallest critical distance that any of the attacks found."""
    from biorep.robustness import median

    return median(group["critical_distance"].min("attack").values)


def table(rows: list[Row]) -> list[list[str]]:
    """Return the lines of the table as text cells, headings first; columns without a number are left out."""
    shown = [c for c in COLUMNS if any(not np.isnan(row.values[c].mean) for row in rows)]
    heads = ["network", "seeds", *(COLUMNS[c][0] for c in shown)]
    return [heads, *([row.name, str(row.seeds), *(row.values[c].text(COLUMNS[c][1]) for c in shown)] for row in rows)]


def render(rows: list[Row]) -> str:
    """Return the table as text, with its notes."""
    cells = table(rows)
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], *notes(rows)])


def notes(rows: list[Row]) -> list[str]:
    """Return the sentences that belong under the table."""
    seeds = {row.seeds for row in rows}
    if seeds == {1}:
        return ["One seed: no interval, no claim."]
    text = (
        f"Mean ± half of the 95 % t-interval over {' or '.join(map(str, sorted(seeds)))} seeds; the sampling error of "
        "the finite test set comes on top. No ±: the same for every seed."
    )
    if min(seeds) < ENOUGH_SEEDS:
        text += f" Fewer than {ENOUGH_SEEDS} seeds: preliminary, no order is claimed."
    return [text]
