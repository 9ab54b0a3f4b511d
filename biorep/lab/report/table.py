"""The table of a plan: one row per network, over its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

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
    ranks: str = ""  # that it was taken over

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
    ends = {column["name"]: _end(plan.runs, column["name"]) for column in plan.columns if column.get("ranked")}
    return [
        Row(name, len(runs), {c["name"]: _estimate(runs, c["name"], ends.get(c["name"])) for c in plan.columns})
        for name, runs in by_network(plan).items()
    ]


def _end(runs: Sequence[RunRecord], column: str) -> int | None:
    """Return the last end of ranks that all runs have whose recipes leave it open; None if these have the same one."""
    free = [run for run in runs if _ends(run, column)]
    if len({run.numbers[f"{column.rpartition('.')[0]}.last_rank"] for run in free}) < 2:
        return None
    return max(set.intersection(*(_ends(run, column) for run in free)))


def _ends(run: RunRecord, column: str) -> set[int]:
    return {int(name.rpartition("_to_")[2]) for name in run.numbers if name.startswith(f"{column}_to_")}


def _estimate(runs: Sequence[RunRecord], column: str, end: int | None) -> Estimate:
    """Return the estimate of a row; `end`: the last rank, where the recipe leaves it open."""
    stage = column.rpartition(".")[0]
    shown = f"{column}_to_{end}" if end is not None and any(_ends(run, column) for run in runs) else column
    first, last = (sorted({int(n) for n in numbers(runs, f"{stage}.{side}_rank")}) for side in ("first", "last"))
    last = last if shown == column else [end or 0]
    found = estimate(numbers(runs, shown), shared=_shared(runs, stage))
    return replace(found, ranks=f"{first[0]}-{'/'.join(map(str, last))}") if first and last else found


def _shared(runs: Sequence[RunRecord], stage: str) -> bool:
    """Return whether one stage serves all seeds."""
    return all(stage in run.stages for run in runs) and len({run.stages[stage] for run in runs}) == 1


def table(plan: PlanRecord, rows: list[Row]) -> list[list[str]]:
    """Return the lines of the table as text cells, headings first; columns without a number are left out."""
    shown = [c for c in plan.columns if any(not np.isnan(row.values[c["name"]].mean) for row in rows)]
    ranks = {c["name"]: {row.values[c["name"]].ranks for row in rows} - {""} for c in shown}
    same = {name: f" (ranks {next(iter(found))})" if len(found) == 1 else "" for name, found in ranks.items()}
    heads = ["network", "seeds", *(c["heading"] + same[c["name"]] for c in shown)]
    cells = [[_cell(row.values[c["name"]], c, same[c["name"]]) for c in shown] for row in rows]
    return [heads, *([row.name, str(row.seeds), *own] for row, own in zip(rows, cells, strict=True))]


def _cell(found: Estimate, column: dict[str, Any], same: str) -> str:
    text = found.text(column["digits"])
    return f"{text} [{found.ranks}]" if found.ranks and not same and not np.isnan(found.mean) else text


def render(plan: PlanRecord, rows: list[Row]) -> str:
    """Return the table as text, with its notes."""
    cells = table(plan, rows)
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], *notes(rows)])


def notes(rows: list[Row]) -> list[str]:
    """Return the sentences that belong under the table."""
    seeds = {row.seeds for row in rows}
    several = len({one.ranks for row in rows for one in row.values.values() if one.ranks}) > 1
    ranks = " [3-40]: ranks of the fit, the same for all networks whose recipes name none." if several else ""
    if seeds == {1}:
        return [f"One seed: no interval, no claim.{ranks}"]
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
    return [text + ranks]
