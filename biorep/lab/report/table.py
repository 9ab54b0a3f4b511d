"""The table of a plan: one row per network, over its seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from biorep.lab.report.rows import by_network, numbers
from biorep.lab.store.runs import PlanRecord

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


def estimate(values: list[float]) -> Estimate:
    """Return mean and 95 % t-interval of the values of independent seeds."""
    if not values or not np.isfinite(values).all():
        return Estimate(float(np.mean(values)) if values and not np.isnan(values).any() else np.nan, np.nan)
    mean, n = float(np.mean(values)), len(values)
    if n == 1 or len(set(values)) == 1:  # nothing random in it: the seeds are no replications
        return Estimate(mean, np.nan)
    from scipy.stats import t

    return Estimate(mean, float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)))


def summary(plan: PlanRecord) -> list[Row]:
    """Return one row per group of `by_network`, from the records of the runs: no result is opened."""
    columns = [column["name"] for column in plan.columns]
    return [
        Row(name, len(runs), {column: estimate(numbers(runs, column)) for column in columns})
        for name, runs in by_network(plan).items()
    ]


def table(plan: PlanRecord, rows: list[Row]) -> list[list[str]]:
    """Return the lines of the table as text cells, headings first; columns without a number are left out."""
    shown = [c for c in plan.columns if any(not np.isnan(row.values[c["name"]].mean) for row in rows)]
    heads = ["network", "seeds", *(c["heading"] for c in shown)]
    cells = [[row.values[c["name"]].text(c["digits"]) for c in shown] for row in rows]
    return [heads, *([row.name, str(row.seeds), *own] for row, own in zip(rows, cells, strict=True))]


def render(plan: PlanRecord, rows: list[Row]) -> str:
    """Return the table as text, with its notes."""
    cells = table(plan, rows)
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
