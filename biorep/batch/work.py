"""What a worker does with one run of a sweep, in its own process or in a child with a life line.

Brian2 cannot be imported in the threads of a Dask worker, and a simulation may take its process with it: spiking runs
execute in a child process. When the worker dies, the child's standard input ends, and it kills itself and all that it
has started. Rate and torch networks run in the worker, because a process per run costs seconds.

A task returns a word, never data: results are in the store before it ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from biorep.batch.pipeline import Pipeline
from biorep.batch.plan import Planned
from biorep.batch.recipe import recipe_from
from biorep.config import Source
from biorep.context import RunContext
from biorep.errors import BiorepError
from biorep.store import failures, write_run

DONE, FAILED = "done", "failed"
#: Set by batch systems (see `clusters`): when the worker's job ends, seconds since 1970.
DEADLINE = "BIOREP_DEADLINE"


@dataclass(frozen=True)
class Task:
    """One run, as it travels to a worker.

    Parameters
    ----------
    name, recipe, coordinates
        Of the run; the recipe as executed.
    root, plan : str
        Root of the store, and name of the plan.
    driver : str
        Identity of the driver's lease.
    device, engine : str
        See `RunContext`.
    own_process : bool
        Whether it runs in a child process.
    expected : float
        Seconds that it will take, 0 if nobody knows.
    """

    name: str
    recipe: dict[str, Any]
    coordinates: dict[str, Any]
    root: str
    plan: str
    driver: str
    device: str = "cpu"
    engine: str = "auto"
    own_process: bool = False
    expected: float = 0.0

    @property
    def folder(self) -> Path:
        """Folder of the plan."""
        return Path(self.root) / self.plan


def perform(task: Task) -> str:
    """Execute a run and return ``"done"`` or ``"failed"``; the reason is in the store then."""
    import dask

    _leave_in_time(task.expected)
    # xarray would ask the scheduler for a lock for each file that it writes; no two runs write the same.
    with dask.config.set(scheduler="threads"):
        return _attempts(task)


def _attempts(task: Task) -> str:
    while True:
        number = failures.begin_attempt(task.folder, task.name, task.driver)
        if number > failures.MOST_DEATHS:
            return _failed(task, "death", f"its process died {number - 1} times", number - 1)
        try:
            code = _child(task) if task.own_process else here(task)
        except Exception as error:  # whatever a run does, the sweep goes on
            _explain(task, error)
            return _failed(task, type(error).__name__, str(error), number)
        if code == 0:
            failures.end_attempt(task.folder, task.name)
            return DONE
        if code > 0:  # the child has said why
            failures.end_attempt(task.folder, task.name)
            return FAILED
        _say(task, f"the process of the run was ended by signal {-code}")


def here(task: Task) -> int:
    """Execute a run in this process, write its record and return 0."""
    recipe = recipe_from(Source(task.recipe, f"recipe of the run '{task.name}'", {}))
    log = failures.log_path(task.folder, task.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    run = RunContext(device=task.device, engine=task.engine, progress=True, log=log)
    planned = Planned(task.name, recipe, task.coordinates)
    record = Pipeline(planned, Path(task.root), run, lambda line: _say(task, line)).execute()
    for warning in record.warnings:
        _say(task, f"warning: {warning}")
    write_run(task.folder, record)
    failures.failure_path(task.folder, task.name).unlink(missing_ok=True)
    return 0


def child(stream: int) -> int:
    """Execute the run whose task comes first on a pipe; when the pipe ends, so does this process and its children."""
    import signal
    import threading

    line = b""
    while not line.endswith(b"\n"):  # a buffered reader would abort the interpreter at its exit
        read = os.read(stream, 65_536)
        if not read:
            return 1
        line += read
    task = Task(**json.loads(line))

    def die_with_parent() -> None:
        while os.read(stream, 1):
            pass
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=die_with_parent, daemon=True).start()
    try:
        return here(task)
    except Exception as error:
        _explain(task, error)
        number = failures.read_attempt(task.folder, task.name).get("number", 1)
        failures.write_failure(task.folder, task.name, error=type(error).__name__, message=str(error), attempts=number)
        return 3


def _child(task: Task) -> int:
    """Execute a run in a child process and return its exit code, negative if a signal has ended it."""
    path = failures.log_path(task.folder, task.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", "import sys; from biorep.batch.work import child; sys.exit(child(0))"]
    with open(path, "ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
        assert process.stdin is not None
        with process.stdin:
            process.stdin.write(json.dumps(asdict(task)).encode() + b"\n")
            process.stdin.flush()
            return process.wait()


def _failed(task: Task, error: str, message: str, attempts: int) -> str:
    failures.write_failure(task.folder, task.name, error=error, message=message, attempts=attempts)
    failures.end_attempt(task.folder, task.name)
    return FAILED


def _explain(task: Task, error: Exception) -> None:
    """Write an error to the log, with a traceback unless it is meant for users."""
    _say(task, str(error) if isinstance(error, BiorepError) else "".join(traceback.format_exception(error)))


def _say(task: Task, line: str) -> None:
    path = failures.log_path(task.folder, task.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as log:
        _line(log, line)


def _line(log: TextIO, line: str) -> None:
    print(f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}", file=log, flush=True)


def _leave_in_time(expected: float) -> None:
    """Hand the run back if the batch system will end this worker before it is finished, and let the worker go."""
    deadline = float(os.environ.get(DEADLINE, "inf"))
    if time.time() + 1.2 * expected < deadline:
        return
    from distributed import Reschedule, get_worker

    worker = get_worker()
    worker.loop.add_callback(worker.close_gracefully)
    raise Reschedule
