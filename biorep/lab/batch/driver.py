"""The driver of a sweep: hands the runs that are left to workers, survives their deaths, and says how it goes.

The store decides what is left to do; pools and clusters only execute. So a sweep that was killed, worker, driver or
machine, goes on when the command is repeated, and runs that are in the store are never repeated.
"""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from biorep.context import RunContext
from biorep.errors import ConfigError, StoreError, choose
from biorep.lab.batch import clusters
from biorep.lab.batch.backlog import Work, begin, note_done, recheck, resolved, tidy
from biorep.lab.batch.pool import Finish, Pool
from biorep.lab.batch.worker import DONE, FAILED, Task
from biorep.lab.perform import Say
from biorep.lab.plan import Plan, Planned, read
from biorep.lab.store import failures
from biorep.lab.store.lease import lease
from biorep.lab.store.runs import PlanRecord, read_plan
from biorep.lab.store.stages import Stages
from biorep.progress import Meter

#: A sweep stops when its first failures, so many, are the same and at least as many as its successes.
SAME_FAILURES = 3


class Executor(Protocol):
    """What executes tasks: a pool of this machine, or a cluster."""

    def submit(self, task: Task, finish: Finish) -> None:
        """Execute a task some time; `finish` takes its name and how it has ended."""
        ...


def sweep(
    plan: Plan | str | Path,
    root: str | Path = "runs",
    *,
    overrides: Sequence[str] = (),
    shrunk: bool = False,
    replace: bool = False,
    workers: int = 2,
    cluster: str = "local",
    options: Mapping[str, Any] | None = None,
    context: RunContext | None = None,
    retry_failed: bool = False,
    say: Say = print,
) -> PlanRecord:
    """Execute the runs of a plan side by side.

    Parameters
    ----------
    plan : Plan or str or path
        From `biorep.lab.plan.read`, or a YAML file, or the name of a published model.
    root : path
        Root of the store.
    overrides, shrunk
        Of a file or a name: changes ``key=value``, and whether to run its small version.
    replace : bool
        Whether overrides may replace results of other settings under the same name.
    workers : int
        Runs at a time.
    cluster : str
        ``local``, ``slurm``, or the address of a Dask scheduler.
    options : mapping, optional
        Of the Slurm cluster, see `biorep.lab.batch.clusters.cluster`.
    context : RunContext, optional
        Device, engine, and whether progress is reported.
    retry_failed : bool
        Try runs again that have failed before.
    say : callable
        Takes lines about runs that failed.

    Returns
    -------
    PlanRecord
        With the finished runs; `failures.read_failures` says why others failed.

    Raises
    ------
    ConfigError
        If the device is left to be found out on a cluster, whose machines this one cannot ask.
    StoreError
        If another process works on the plan, overrides would replace results of other settings, or the sweep was
        stopped because all runs fail in the same way.

    Examples
    --------
    >>> record = biorep.sweep("plan.yaml", "runs", workers=4)   # doctest: +SKIP
    >>> tree = biorep.open(record.folder)                       # doctest: +SKIP
    """
    if not isinstance(plan, Plan):
        plan = read(plan, overrides, shrunk=shrunk)
    root, context = Path(root), context or RunContext()
    if workers < 1:
        raise ConfigError(f"a sweep needs at least 1 worker, got {workers}")
    if options and cluster != "slurm":
        raise ConfigError(f"cluster options ({', '.join(options)}) are for '--cluster slurm'; this is '{cluster}'")
    if "://" not in cluster:
        choose(cluster, ("local", "slurm"), "cluster")
    if cluster == "local":
        context = resolved(context)
    elif context.device == "auto":
        raise ConfigError("on a cluster say which device its machines have: --device cpu or --device cuda")
    folder = root / plan.name
    with lease(folder) as identity:
        work = begin(plan, root, context=context, replace=replace, retry_failed=retry_failed, say=say)
        store = Stages(root)
        recheck(plan, work, store)
        note_done(folder, work, store)
        for name in work.failed:
            say(f"{name}: failed before; --retry-failed tries it again")
        if work.todo:
            driver = _Driver(plan, root, work, identity, context, say)
            with _executor(cluster, min(workers, len(work.todo)) or workers, context.device, options) as executor:
                driver.drive(executor)
            tidy(root, plan.name, say)
    return read_plan(folder)


@contextlib.contextmanager
def _executor(cluster: str, workers: int, device: str, options: Mapping[str, Any] | None) -> Iterator[Executor]:
    if cluster != "local":
        with clusters.cluster(cluster, workers, device=device, options=options) as remote:
            yield remote
        return
    with Pool(workers, device) as pool:
        yield pool


class _Driver:
    """One sweep while it lasts."""

    def __init__(self, plan: Plan, root: Path, work: Work, identity: str, context: RunContext, say: Say):
        self.folder, self.work, self.say = (root / plan.name).resolve(), work, say
        self.tasks = {one.name: self._task(one, identity, context) for one in work.todo}
        self.missing = {name: list(work.missing[name]) for name in self.tasks}
        self.succeeded, self.stopped = 0, ""
        self.reasons: list[str] = []
        self.meter = Meter(plan.name, len(self.tasks)) if context.progress else None
        self.ended: queue.SimpleQueue[tuple[str, str | Exception]] = queue.SimpleQueue()
        #: Stages that runs on their way will make first, and the runs that wait for them.
        self.busy: dict[str, list[str]] = {}
        self.flying: dict[str, str] = {}

    def _task(self, planned: Planned, identity: str, context: RunContext) -> Task:
        nodes, recipe = self.work.nodes[planned.name], planned.recipe
        missing = self.work.missing[planned.name]
        engine = recipe.network.engine(context)
        return Task(
            planned.name,
            recipe.document(),
            planned.coordinates,
            str(self.folder),
            identity,
            context.device,
            context.engine if engine.startswith("torch") else engine,
            any(node.own_process and node.address in missing for node in nodes.values()),
            self.work.seconds,
        )

    def drive(self, executor: Executor) -> None:
        """Execute all tasks: one first, until one has succeeded, then all others."""
        waiting = list(self.tasks)
        try:
            while (waiting or self.flying or self._blocked()) and not self.stopped:
                while waiting and (self.succeeded or not (self.flying or self._blocked())):
                    self._submit(executor, waiting.pop(0))
                name, outcome = self.ended.get()
                self._conclude(name, outcome)
                for freed in self._free(name):
                    self._submit(executor, freed)
        finally:
            if self.meter is not None:
                self.meter.__exit__()
        if self.stopped:
            raise StoreError(self.stopped)

    def _blocked(self) -> bool:
        return any(self.busy.values())

    def _submit(self, executor: Executor, name: str) -> None:
        """Submit a run, unless its first missing stage is being made by another one."""
        first = next(iter(self.missing[name]), None)
        if first is not None and first in self.busy:
            self.busy[first].append(name)
            return
        self.flying[name] = first or ""
        if first is not None:
            self.busy[first] = []
        executor.submit(self.tasks[name], lambda *ended: self.ended.put(ended))

    def _free(self, name: str) -> list[str]:
        """Return the runs that have waited for one; what it has made they need not make."""
        first = self.flying.pop(name)
        freed = self.busy.pop(first, [])
        if (self.folder / "runs" / name / "run.json").is_file():
            made = set(self.missing[name])
            for other in self.missing.values():
                other[:] = [address for address in other if address not in made]
        return freed

    def _conclude(self, name: str, outcome: str | Exception) -> None:
        if isinstance(outcome, Exception):  # it could not be executed at all
            attempts = failures.read_attempt(self.folder, name).get("number", 0)
            what = type(outcome).__name__
            failures.write_failure(self.folder, name, error=what, message=str(outcome), attempts=attempts)
            outcome = FAILED
        if outcome == DONE:
            self.succeeded += 1
        else:
            self._note_failure(name)
        if self.meter is not None:
            self.meter.show(self.succeeded + len(self.reasons))

    def _note_failure(self, name: str) -> None:
        facts = failures.read_failures(self.folder).get(name, {})
        reason = f"{facts.get('error', 'unknown')}: {facts.get('message', '')}"
        self.say(f"{name}: failed: {reason}")
        self.reasons.append(reason)
        first = self.reasons[:SAME_FAILURES]
        if len(first) == SAME_FAILURES and len(set(first)) == 1 and self.succeeded <= len(self.reasons):
            self.stopped = (
                f"stopped: the first {SAME_FAILURES} runs that failed said the same: {reason}. Mend that and "
                f"repeat the command with --retry-failed; {self.folder / 'failed'} has the ends of their logs."
            )
