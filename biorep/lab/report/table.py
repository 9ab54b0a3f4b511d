"""The table of a plan: one row per network, over its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biorep.lab.report.rows import by_network, numbers
from biorep.lab.store.runs import PlanRecord, RunRecord

#: Fewer seeds than this support no claim about an order.
ENOUGH_SEEDS = 5
#: What stands beside seeds that came out equal by chance.
EQUAL = "equal"


@dataclass(frozen=True)
class Estimate:
    """Mean over seeds and half the width of its 95 % t-interval (NaN where there is none), and why there is none."""

    mean: float
    half_width: float
    remark: str = ""

    def text(self, digits: int) -> str:
        """Return ``mean ± half width``, or a dash if there is no number.

        So many digits are significant, and at least so many are decimals: 0.00123 is no 0.001.
        """
        if np.isnan(self.mean):
            return "–"
        small = self.mean and np.isfinite(self.mean) and abs(self.mean) < 1
        decimals = digits - 1 - int(np.floor(np.log10(abs(self.mean)))) if small else digits
        plus_minus = "" if np.isnan(self.half_width) else f" ± {self.half_width:.{decimals}f}"
        return f"{self.mean:.{decimals}f}{plus_minus}" + (f" ({self.remark})" if self.remark else "")


@dataclass(frozen=True)
class Row:
    """One row of the table; `values` maps a column to its estimate."""

    name: str
    seeds: int
    values: dict[str, Estimate]


def estimate(values: list[float], *, shared: bool = False) -> Estimate:
    """Return mean and 95 % t-interval of the values of seeds; `shared`: one result serves all, nothing is random."""
    n, infinite = len(values), int(np.isinf(values).sum())
    if not n or np.isnan(values).any():
        return Estimate(np.nan, np.nan)
    if n > 1 and infinite:
        return Estimate(float(np.mean(values)), np.nan, "" if shared else f"{infinite} of {n}")
    mean = float(np.mean(values))
    if n == 1 or shared:  # the seeds are no replications
        return Estimate(mean, np.nan)
    if len(set(values)) == 1:
        return Estimate(mean, np.nan, EQUAL)
    from scipy.stats import t

    return Estimate(mean, float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)))


def summary(plan: PlanRecord) -> list[Row]:
    """Return one row per group of `by_network`, from the records of the runs: no result is opened."""
    columns = [column["name"] for column in plan.columns]
    return [
        Row(
            name,
            len(runs),
            {column: estimate(numbers(runs, column), shared=_shared(runs, column)) for column in columns},
        )
        for name, runs in by_network(plan).items()
    ]


def _shared(runs: Sequence[RunRecord], column: str) -> bool:
    """Return whether one stage serves all seeds."""
    stage = column.rpartition(".")[0]
    return all(stage in run.stages for run in runs) and len({run.stages[stage] for run in runs}) == 1


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
        "the finite test set comes on top."
    )
    found = [one for row in rows for one in row.values.values() if row.seeds > 1 and not np.isnan(one.mean)]
    if any(np.isnan(one.half_width) and not one.remark for one in found):
        text += " No ±: nothing in it is random, one result serves all seeds."
    if any(one.remark == EQUAL for one in found):
        text += f" ({EQUAL}): the seeds differ and came out equal, which gives no interval."
    if any(np.isinf(one.mean) and one.remark for one in found):
        text += " inf (1 of 3): infinite for one of three seeds, so there is no mean and no ±."
    if min(seeds) < ENOUGH_SEEDS:
        text += f" Fewer than {ENOUGH_SEEDS} seeds: preliminary, no order is claimed."
    return [text]
