"""The driver of a sweep: hands the runs that are left to workers, survives their deaths, and says how it goes.

The store decides what is left to do; Dask only executes. So a sweep that was killed, worker, driver or machine, goes on
when the command is repeated, and runs that are in the store are never repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biorep.batch import clusters
from biorep.batch.pipeline import Say, plain_recipe
from biorep.batch.plan import Plan, Planned, read
from biorep.batch.todo import Work, begin, check, tidy
from biorep.batch.work import DONE, FAILED, Task, perform
from biorep.context import Meter, RunContext, resolve_device
from biorep.errors import StoreError
from biorep.store import PlanRecord, failures, read_plan
from biorep.store.lease import lease

if TYPE_CHECKING:
    from distributed import Client, Future

#: A sweep stops when its first failures, so many, are the same and at least as many as its successes.
SAME_FAILURES = 3


def sweep(
    plan: Plan | str | Path,
    root: str | Path = "runs",
    *,
    set: Sequence[str] = (),
    shrunk: bool = False,
    workers: int = 2,
    cluster: str = "local",
    options: Mapping[str, Any] | None = None,
    run: RunContext | None = None,
    retry_failed: bool = False,
    say: Say = print,
) -> PlanRecord:
    """Execute the runs of a plan side by side.

    Parameters
    ----------
    plan : Plan or str or path
        From `biorep.batch.read`, or a YAML file, or the name of a published model.
    root : path
        Root of the store.
    set, shrunk
        Of a file or a name: overrides ``key=value``, and whether to run its small version.
    workers : int
        Runs at a time.
    cluster : str
        ``local``, ``slurm``, or the address of a Dask scheduler.
    options : mapping, optional
        Of the Slurm cluster, see `biorep.batch.clusters.cluster`.
    run : RunContext, optional
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
    StoreError
        If another process works on the plan, or the sweep was stopped because all runs fail in the same way.

    Examples
    --------
    >>> record = biorep.sweep("plan.yaml", "runs", workers=4)   # doctest: +SKIP
    >>> tree = biorep.open(record.folder)                       # doctest: +SKIP
    """
    if not isinstance(plan, Plan):
        plan = read(plan, set, shrunk=shrunk)
    check(plan)
    root, run = Path(root), run or RunContext()
    if cluster == "local" or run.device == "auto":  # the GPUs of other machines cannot be asked from here
        run = replace(run, device=resolve_device(run.device))
    folder = root / plan.name
    with lease(folder) as driver:
        work = begin(plan, root, run=run, retry_failed=retry_failed, say=say)
        for name in work.failed:
            say(f"{name}: failed before; --retry-failed tries it again")
        if work.todo:
            driving = _Driver(plan, root, work, driver, run, say)
            with clusters.cluster(cluster, workers, device=run.device, options=options) as client:
                driving.drive(client)
            tidy(root, plan.name, say)
    return read_plan(folder)


class _Driver:
    """One sweep while it lasts."""

    def __init__(self, plan: Plan, root: Path, work: Work, driver: str, run: RunContext, say: Say):
        self.folder, self.work, self.say = root / plan.name, work, say
        self.tasks = {planned.name: _task(planned, plan, root, driver, run, work.seconds) for planned in work.todo}
        self.succeeded, self.stopped = 0, ""
        self.reasons: list[str] = []
        self.meter = Meter(plan.name, len(self.tasks)) if run.progress else None
        #: State keys of runs that are on their way, and the runs that wait for them.
        self.busy: dict[str, list[str]] = {}

    def drive(self, client: Client) -> None:
        """Execute all tasks: one first, then all others."""
        clusters.wait_for_workers(client)
        waiting = list(self.tasks)
        try:
            while waiting and not self.succeeded and not self.stopped:
                self._each(client, [waiting.pop(0)])
            if not self.stopped:
                self._each(client, waiting)
        finally:
            if self.meter is not None:
                self.meter.__exit__()
        if self.stopped:
            raise StoreError(self.stopped)

    def _each(self, client: Client, names: list[str]) -> None:
        from distributed import as_completed

        futures = [future for name in names if (future := self._submit(client, name)) is not None]
        submitted = as_completed(futures, loop=client.loop)
        for future in submitted:
            name = future.key.rpartition("|")[2]
            self._concluded(name, future)
            if self.stopped:
                client.cancel(list(submitted.futures))
                return
            for freed in self._free(name):
                if (next_future := self._submit(client, freed)) is not None:
                    submitted.add(next_future)

    def _submit(self, client: Client, name: str) -> Future | None:
        """Submit a run, unless it has to wait for another one that makes the same state."""
        state = self.work.states.get(name)
        if state is not None:
            if state in self.busy:
                self.busy[state].append(name)
                return None
            self.busy[state] = []
        task = self.tasks[name]
        resources = {clusters.GPU: 1} if task.device.startswith("cuda") else None
        key = f"run-{task.driver[:8]}|{name}"
        return client.submit(perform, task, key=key, pure=False, retries=1, resources=resources)

    def _free(self, name: str) -> list[str]:
        """Return the runs that have waited for one: all of them may go if it has made the state, else the next."""
        state = self.work.states.get(name)
        freed = self.busy.pop(state, []) if state is not None else []
        if (self.folder / "runs" / name / "run.json").is_file():
            for other in freed:
                self.work.states.pop(other, None)
        return freed

    def _concluded(self, name: str, future: Future) -> None:
        if self._outcome(name, future) == DONE:
            self.succeeded += 1
        else:
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
        if self.meter is not None:
            self.meter.show(self.succeeded + len(self.reasons))

    def _outcome(self, name: str, future: Future) -> str:
        """Return how a run has ended; when Dask gave it up, say so in the store."""
        error = future.exception()
        if error is None:
            return str(future.result())
        attempts = failures.read_attempt(self.folder, name).get("number", 0)
        what = type(error).__name__
        failures.write_failure(self.folder, name, error=what, message=str(error), attempts=attempts)
        return FAILED


def _task(planned: Planned, plan: Plan, root: Path, driver: str, run: RunContext, expected: float) -> Task:
    recipe = planned.recipe
    return Task(
        planned.name,
        plain_recipe(recipe),
        planned.coordinates,
        str(root.resolve()),
        plan.name,
        driver,
        run.device,
        run.engine,
        recipe.network.own_process,
        expected,
    )
