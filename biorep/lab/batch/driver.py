"""The driver of a sweep: hands the runs that are left to workers, survives their deaths, and says how it goes.

The store decides what is left to do; pools and clusters only execute. So a sweep that was killed, worker, driver or
machine, goes on when the command is repeated, and runs that are in the store are never repeated.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from biorep.context import RunContext
from biorep.errors import ConfigError, StoreError, choose
from biorep.lab.batch import clusters
from biorep.lab.batch.backlog import Work, begin, note_done, recheck, resolved, tidy
from biorep.lab.batch.pool import Submit, pool
from biorep.lab.batch.worker import DONE, Task
from biorep.lab.perform import Say
from biorep.lab.plan import Plan, Planned, read
from biorep.lab.store import failures
from biorep.lab.store.lease import lease
from biorep.lab.store.runs import PlanRecord, read_plan
from biorep.lab.store.stages import Stages

#: A sweep stops when its first failures, so many, are the same and at least as many as its successes.
SAME_FAILURES = 3


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
    root, context = Path(root), RunContext.of(context)
    if not isinstance(workers, int) or workers < 1:
        raise ConfigError(f"a sweep needs at least 1 worker, got {workers}")
    if options and cluster != "slurm":
        raise ConfigError(f"cluster options ({', '.join(options)}) are for '--cluster slurm'; this is '{cluster}'")
    if "://" not in str(cluster):
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
            start = pool if cluster == "local" else partial(clusters.cluster, cluster, options=options)
            executor = start(min(workers, len(work.todo)), context.device)
            with context.meter(plan.name, len(work.todo)) as show, executor as submit:
                driver.drive(submit, show)
            tidy(root, plan.name, say)
    return read_plan(folder)


class _Driver:
    """One sweep while it lasts."""

    def __init__(self, plan: Plan, root: Path, work: Work, identity: str, context: RunContext, say: Say):
        self.folder, self.work, self.say = (root / plan.name).resolve(), work, say
        self.tasks = {one.name: self._task(one, identity, context) for one in work.todo}
        self.missing = {name: list(work.missing[name]) for name in self.tasks}
        self.succeeded, self.stopped = 0, ""
        self.reasons: list[str] = []
        self.ended: queue.SimpleQueue[tuple[str, Future[str]]] = queue.SimpleQueue()
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

    def drive(self, submit: Submit, show: Callable[[int], None]) -> None:
        """Execute all tasks: one first, until one has succeeded, then all others; show how many are done."""
        waiting = list(self.tasks)
        while (waiting or self.flying or self._blocked()) and not self.stopped:
            while waiting and (self.succeeded or not (self.flying or self._blocked())):
                self._submit(submit, waiting.pop(0))
            name, ended = self.ended.get()
            self._conclude(name, ended)
            show(self.succeeded + len(self.reasons))
            for freed in self._free(name):
                self._submit(submit, freed)
        if self.stopped:
            raise StoreError(self.stopped)

    def _blocked(self) -> bool:
        return any(self.busy.values())

    def _submit(self, submit: Submit, name: str) -> None:
        """Submit a run, unless its first missing stage is being made by another one."""
        first = next(iter(self.missing[name]), None)
        if first is not None and first in self.busy:
            self.busy[first].append(name)
            return
        self.flying[name] = first or ""
        if first is not None:
            self.busy[first] = []
        submit(self.tasks[name]).add_done_callback(lambda ended: self.ended.put((name, ended)))

    def _free(self, name: str) -> list[str]:
        """Return the runs that have waited for one; what it has made they need not make."""
        first = self.flying.pop(name)
        freed = self.busy.pop(first, [])
        if (self.folder / "runs" / name / "run.json").is_file():
            made = set(self.missing[name])
            for other in self.missing.values():
                other[:] = [address for address in other if address not in made]
        return freed

    def _conclude(self, name: str, ended: Future[str]) -> None:
        if error := ended.exception():  # it could not be executed at all
            attempts = failures.read_attempt(self.folder, name).get("number", 0)
            what = type(error).__name__
            failures.write_failure(self.folder, name, error=what, message=str(error), attempts=attempts)
        if not error and ended.result() == DONE:
            self.succeeded += 1
        else:
            self._note_failure(name)

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
