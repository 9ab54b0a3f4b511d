"""What is left to do of a plan: the store says it, whoever executes it."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

from biorep import atomic
from biorep.context import RunContext, resolve_device
from biorep.errors import StoreError
from biorep.lab.batch.run_one import columns_of, record_of
from biorep.lab.graph import Node, addresses, graph, stages
from biorep.lab.perform import Say
from biorep.lab.plan import Plan, Planned
from biorep.lab.recipe import user_code
from biorep.lab.store import failures
from biorep.lab.store.runs import (
    RunRecord,
    check_root,
    open_root,
    read_plan,
    read_run,
    run_folder,
    write_plan,
    write_run,
)
from biorep.lab.store.stages import Stages
from biorep.lab.store.status import duration


@dataclass(frozen=True)
class Work:
    """What is left to do of a plan."""

    done: dict[str, RunRecord] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)  # before, and not to be tried again
    todo: list[Planned] = field(default_factory=list)
    nodes: dict[str, Mapping[str, Node]] = field(default_factory=dict)  # run -> its graph
    #: Run -> addresses of its stages that are still to be made, in the order of its graph.
    missing: dict[str, list[str]] = field(default_factory=dict)
    #: The user's own classes whose code is another than that of finished runs.
    changed: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Mean duration of the finished runs that did not find everything done; 0 if there is none."""
        took = [record.seconds for record in self.done.values() if record.seconds]
        return fmean(took) if took else 0.0


def resolved(context: RunContext | None) -> RunContext:
    """Return a context whose device is one of this machine: it enters keys."""
    context = RunContext.of(context)
    return replace(context, device=resolve_device(context.device))


def survey(plan: Plan, root: str | Path, *, context: RunContext | None = None, retry_failed: bool = False) -> Work:
    """Return what is left to do of a plan, failed runs if they are retried; reads the store and changes nothing.

    Raises
    ------
    ConfigError, DataError
        Before anything is computed: if a measure has no meaning for its recipe, or a dataset is not there.
    """
    root, context, work = Path(root), RunContext.of(context), Work()
    store, folder = Stages(root), root / plan.name
    known, finished = failures.read_failures(folder), {}
    changed: set[str] = set()
    for planned in plan.runs:
        nodes = work.nodes[planned.name] = graph(planned.recipe, context)
        wanted = stages(nodes)
        for node in wanted.values():
            if node.address not in finished:
                finished[node.address] = store.finished(node.kind, node.key)
        work.missing[planned.name] = [node.address for node in wanted.values() if not finished[node.address]]
        record = read_run(folder, planned.name)
        if record is not None:
            now = user_code(planned.recipe)
            changed |= {name for name, code in record.code.items() if now.get(name, code) != code}
        now_at = (addresses(nodes), planned.coordinates)
        same = record is not None and (record.stages, record.coordinates) == now_at
        if record is not None and same and not work.missing[planned.name]:
            work.done[planned.name] = record
        elif planned.name in known and not retry_failed:
            work.failed.append(planned.name)
        else:
            work.todo.append(planned)
    work.changed.extend(sorted(changed))
    return work


def begin(
    plan: Plan, root: Path, *, context: RunContext, replace: bool = False, retry_failed: bool = True, say: Say = print
) -> Work:
    """Write what is wanted, remove what is out of date, and return what is left to do; the lease must be held.

    Raises
    ------
    StoreError
        If overrides would replace results of other settings: a plan that is edited in its file is meant to, but who
        tries a setting out wants to compare.
    """
    folder = root / plan.name
    open_root(root)
    tidy(root, plan.name, say)
    work = survey(plan, root, context=context, retry_failed=retry_failed)
    lost = [] if replace else _lost(plan, folder, work)
    if lost:
        raise StoreError(_would_replace(plan, root, lost))
    for name in work.changed:
        say(f"the code of '{name}' has changed since the last run: what it made is made anew")
    for planned in work.todo:
        (run_folder(folder, planned.name) / "run.json").unlink(missing_ok=True)
        failures.forget_failure(folder, planned.name)
    coordinates = {one.name: one.coordinates for one in plan.runs}
    write_plan(folder, plan.dims, coordinates, dict(plan.about), columns_of([one.recipe for one in plan.runs]))
    return work


def _lost(plan: Plan, folder: Path, work: Work) -> list[str]:
    """Return the finished runs that overrides give other settings, or leave out."""
    if not plan.overridden:
        return []
    try:
        records = read_plan(folder).runs
    except StoreError:  # there is no plan yet, or a damaged one, which is written again
        return []
    recipes = {planned.name: planned.recipe.document() for planned in plan.runs}
    return [
        record.name
        for record in records
        if record.name not in recipes
        or (record.recipe != recipes[record.name] and record.stages != addresses(work.nodes[record.name]))
    ]


def _would_replace(plan: Plan, root: Path, lost: list[str]) -> str:
    free = next(name for n in itertools.count(2) if not (root / (name := f"{plan.name}-{n}")).exists())
    shown = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
    command = shlex.join([*plan.command, *([] if root == Path("runs") else ["--out", str(root)])])
    return (
        f"{root / plan.name} holds results of other settings ({shown}), which these overrides would replace. Nothing "
        f"was touched. To keep both:\n    biorep run {command} --name {free}\nTo replace them:\n    biorep run "
        f'{command} --replace\nIn Python: overrides=[..., "name={free}"], or replace=True.'
    )


def tidy(root: Path, name: str, say: Say) -> None:
    """Remove the temporary files of processes that were killed."""
    for path in [*atomic.remove_stale(root / name), *atomic.remove_stale(root / "stages")]:
        say(f"removed {path}, which a killed process has left")


def preview(plan: Plan, root: str | Path, *, context: RunContext | None = None, workers: int = 1) -> list[str]:
    """Return the lines of a dry run: what is done, what is left, and how long it may take."""
    if Path(root).is_dir() and any(Path(root).iterdir()):
        check_root(Path(root))
    work = survey(plan, root, context=resolved(context))
    lost = _lost(plan, Path(root) / plan.name, work)
    lines = [
        *([_would_replace(plan, Path(root), lost)] if lost else []),
        f"{plan.name}: {len(plan.runs)} runs: {len(work.done)} done, {len(work.failed)} failed, {len(work.todo)} to do",
    ]
    for planned in plan.runs:
        stand = "done" if planned.name in work.done else "failed" if planned.name in work.failed else "to do"
        lines.append(f"  {planned.name:<40} {stand}")
    if work.todo and work.seconds:
        total = work.seconds * len(work.todo) / workers
        by = "1 worker" if workers == 1 else f"{workers} workers"
        lines.append(f"a finished run took {duration(work.seconds)} on average: about {duration(total)} with {by}")
    elif work.todo:
        stated = f" The plan says: {plan.about['time']}." if plan.about.get("time") else ""
        lines.append(f"no run is finished, so there is no estimate of the time yet.{stated}")
    return lines


def note_done(folder: Path, work: Work, store: Stages) -> None:
    """Write the records of runs that are left to do on paper only: other runs have made all of their stages."""
    for planned in list(work.todo):
        if not work.missing[planned.name]:
            record = record_of(planned, stages(work.nodes[planned.name]), store, 0.0)
            write_run(folder, record)
            work.todo.remove(planned)
            work.done[planned.name] = record


def recheck(plan: Plan, work: Work, store: Stages) -> None:
    """Take runs with a damaged stage back among those to do, where a worker says what is wrong: each is hashed once."""
    for planned in plan.runs:
        record = work.done.get(planned.name)
        try:
            whole = record is None or all(store.done(*address.split("/")) for address in record.stages.values())
        except StoreError:
            whole = False
        if not whole:
            work.todo.append(planned)
            del work.done[planned.name]
            work.missing[planned.name] = list(record.stages.values()) if record else []
