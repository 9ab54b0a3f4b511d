"""What is left to do of a plan: the store says it, whoever executes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from biorep import atomic
from biorep.batch.pipeline import Pipeline, Say, plain_recipe
from biorep.batch.plan import Plan, Planned
from biorep.context import RunContext
from biorep.errors import StoreError
from biorep.store import RunRecord, Stages, failures, write_plan
from biorep.store.runs import read_run, run_folder
from biorep.store.standing import duration


def check(plan: Plan) -> None:
    """Raise before anything is computed if a dataset is unknown or not there."""
    for choice in {planned.recipe.dataset.model_dump_json(): planned.recipe.dataset for planned in plan.runs}.values():
        choice.identity()


@dataclass(frozen=True)
class Work:
    """What is left to do of a plan.

    Parameters
    ----------
    done : dict of str to RunRecord
        Finished runs.
    failed : list of str
        Runs that have failed before and are not to be tried again.
    todo : list of Planned
    states : dict of str to str
        Run -> key of its state, if that is still to be made: runs that share one wait for each other.
    """

    done: dict[str, RunRecord] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    todo: list[Planned] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Mean duration of the finished runs that did not find everything done; 0 if there is none."""
        took = [record.seconds for record in self.done.values() if record.seconds]
        return fmean(took) if took else 0.0


def survey(plan: Plan, root: str | Path, *, run: RunContext | None = None, retry_failed: bool = False) -> Work:
    """Return what is left to do of a plan; reads the store and changes nothing.

    Parameters
    ----------
    plan : Plan
    root : path
        Root of the store.
    run : RunContext, optional
        Device and engine, which are part of the keys of results.
    retry_failed : bool
        Count failed runs among those to do.
    """
    root, run, work = Path(root), run or RunContext(), Work()
    stages, known = Stages(root), failures.read_failures(root / plan.name)
    for planned in plan.runs:
        record = read_run(root / plan.name, planned.name)
        keys = _keys(planned, root, run)
        if keys is not None and not stages.finished("state", keys["state"]):
            work.states[planned.name] = keys["state"]
        if record is not None and _finished(record, planned, keys, stages):
            work.done[planned.name] = record
        elif planned.name in known and not retry_failed:
            work.failed.append(planned.name)
        else:
            work.todo.append(planned)
    return work


def begin(plan: Plan, root: Path, *, run: RunContext, retry_failed: bool = True, say: Say = print) -> Work:
    """Write what is wanted, remove what is out of date, and return what is left to do; the lease must be held."""
    folder = root / plan.name
    tidy(root, plan.name, say)
    work = survey(plan, root, run=run, retry_failed=retry_failed)
    (folder / "report.html").unlink(missing_ok=True)
    for planned in work.todo:
        (run_folder(folder, planned.name) / "run.json").unlink(missing_ok=True)
        failures.forget_failure(folder, planned.name)
    write_plan(root, plan.name, plan.dims, {one.name: one.coordinates for one in plan.runs}, dict(plan.about))
    return work


def _keys(planned: Planned, root: Path, run: RunContext) -> dict[str, str] | None:
    """Return the keys of the stages of a run, or None if only a worker can tell: the GPU is not in this machine."""
    try:
        return Pipeline(planned, root, run, lambda line: None).plan()
    except StoreError:
        raise
    except Exception:
        if run.device.startswith("cuda"):
            return None
        raise


def _finished(record: RunRecord, planned: Planned, keys: dict[str, str] | None, stages: Stages) -> bool:
    """Return whether the record of a run is what the plan asks for, and its stages are there."""
    if keys is None:
        wanted = record.recipe == plain_recipe(planned.recipe)
    else:
        wanted = all(record.stages.get(kind) == key for kind, key in keys.items())
    return wanted and all(stages.finished(kind, key) for kind, key in record.stages.items())


def tidy(root: Path, name: str, say: Say) -> None:
    """Remove the temporary files of processes that were killed."""
    for path in [*atomic.remove_stale(root / name), *atomic.remove_stale(root / "stages")]:
        say(f"removed {path}, which a killed process has left")


def preview(plan: Plan, root: str | Path, *, run: RunContext | None = None, workers: int = 1) -> list[str]:
    """Return the lines of a dry run: what is done, what is left, and how long it may take."""
    work = survey(plan, root, run=run)
    lines = [
        f"{plan.name}: {len(plan.runs)} runs: {len(work.done)} done, {len(work.failed)} failed, {len(work.todo)} to do"
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
