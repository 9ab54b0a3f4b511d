"""How a plan stands, in words: what is finished, going on, failed and left, and what to do next."""

from __future__ import annotations

import socket
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Any

from biorep.atomic import lives
from biorep.lab.store.failures import log_tail, read_attempt, read_failures
from biorep.lab.store.lease import read_lease, worked_on
from biorep.lab.store.runs import PlanRecord, read_plan
from biorep.resources import shown

#: Failures and runs in flight that are listed; more are counted.
SHOWN = 10


def status(folder: str | Path) -> list[str]:
    """Return the lines of `biorep status` about a plan's folder."""
    plan = read_plan(folder)
    holder, failed = read_lease(plan.folder), read_failures(plan.folder)
    failed = {name: facts for name, facts in failed.items() if name in plan.missing}
    flying = {name: facts for name in plan.missing if (facts := read_attempt(plan.folder, name)) and _alive(facts)}
    left = [name for name in plan.missing if name not in failed and name not in flying]
    lines = [
        f"{plan.name}: {len(plan.planned)} runs: {len(plan.runs)} done, {len(flying)} going on, {len(failed)} failed, "
        f"{len(left)} left",
        *_times(plan, len(flying) + len(left)),
        worked_on(holder) if holder else "",
        *_some("going on", [_flying(plan, name, facts) for name, facts in flying.items()]),
        *_some("failed", [_failed(name, facts) for name, facts in failed.items()]),
        *versions(plan),
        *_advice(plan, bool(holder), len(failed), len(left) + len(flying)),
    ]
    return [line for line in lines if line]


def versions(plan: PlanRecord) -> list[str]:
    """Return warnings if the runs of a plan come from different versions of biorep, or of the user's own code."""
    found, said = Counter(run.code_version for run in plan.runs), []
    if len(found) > 1:
        listed = ", ".join(f"{number} from {version or 'unknown'}" for version, number in found.items())
        said = [f"warning: the runs come from different versions of biorep ({listed}); results may not be comparable"]
    codes = Counter(name for name, _ in {one for run in plan.runs for one in run.code.items()})
    return said + [
        f"warning: the runs come from {number} versions of the code of '{name}'; run the plan again to have one"
        for name, number in sorted(codes.items())
        if number > 1
    ]


def _times(plan: PlanRecord, left: int) -> list[str]:
    took = [run.seconds for run in plan.runs if run.seconds]
    if not took:
        return ["no run is finished yet, so there is no estimate of the time"] if left else []
    mean = fmean(took)
    return [
        f"mean duration of a run: {duration(mean)}" + (f"; left: {duration(mean * left)} of one worker" if left else "")
    ]


def duration(seconds: float) -> str:
    """Return a duration in words.

    Examples
    --------
    >>> duration(0.21), duration(75), duration(7500)
    ('0.21 s', '75 s', '2 h 5 min')
    """
    if seconds < 100:
        return f"{seconds:.2g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _alive(facts: dict[str, Any]) -> bool:
    """Return whether the process of an attempt lives, as far as can be told from here."""
    return facts.get("host") != socket.gethostname() or lives(int(facts.get("pid", -1)))


def _flying(plan: PlanRecord, name: str, facts: dict[str, Any]) -> str:
    said = log_tail(plan.folder, name, 1)
    return f"{name}: since {facts.get('started', '?')}" + (f": {said[0].strip()}" if said else "")


def _failed(name: str, facts: dict[str, Any]) -> str:
    message = " ".join(str(facts.get("message", "")).split())
    return f"{name}: {facts.get('error', 'unknown')} after {facts.get('attempts', '?')} attempts: {message[:300]}"


def _some(title: str, lines: list[str]) -> list[str]:
    if not lines:
        return []
    more = [f"  and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return [f"{title}:", *(f"  {line}" for line in lines[:SHOWN]), *more]


def _advice(plan: PlanRecord, driven: bool, failed: int, left: int) -> list[str]:
    advice = []
    if failed:
        advice.append(
            f"{shown(plan.folder / 'failed')} has the ends of the logs; when the reason is mended, repeat the command "
            "with --retry-failed"
        )
    if left and not driven:
        advice.append("nobody works on it: repeat the command that started it, finished runs are not repeated")
    if plan.runs:
        advice.append(f'results: biorep.open("{shown(plan.folder)}")')
    return advice
