"""What a worker does with the runs of a sweep, and the child processes that do it.

A child reads tasks from its standard input, one JSON line each, and answers each with a word; results are in the store
before. Its input is its life line: when that ends, because the parent is gone, it kills itself and all that it has
started. Local sweeps consist of such children (`biorep.lab.batch.pool`); a Dask worker starts one for a run whose
network must not run in a thread of the worker, because Brian2 cannot be imported there and a simulation may take its
process with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from biorep.context import ONE_THREAD, RunContext
from biorep.errors import BiorepError, StoreError
from biorep.lab.batch.run_one import run_one
from biorep.lab.plan import Planned
from biorep.lab.recipe import recipe_from
from biorep.lab.store import failures
from biorep.lab.store.runs import write_run
from biorep.lab.store.stages import Stages
from biorep.source import Source

DONE, FAILED = "done", "failed"
#: Set by batch systems (see `clusters`): when the worker's job ends, seconds since 1970.
DEADLINE = "BIOREP_DEADLINE"


@dataclass(frozen=True)
class Task:
    """One run, as it travels to a worker."""

    name: str
    recipe: dict[str, Any]  # as executed
    coordinates: dict[str, Any]
    folder: str  # of the plan
    driver: str  # identity of its lease
    device: str = "cpu"  # of the `RunContext`, resolved, like the engine
    engine: str = "auto"
    own_process: bool = False  # whether the process that executes it is to execute nothing else
    expected: float = 0.0  # seconds that it will take, 0 if nobody knows

    @property
    def plan_folder(self) -> Path:
        """Folder of the plan."""
        return Path(self.folder)


# ------------------------------------------------------------------------------------------ one run in this process


def attempt(task: Task) -> str:
    """Execute a run in this process and return ``"done"`` or ``"failed"``; the reason is in the store then.

    If the process dies, whoever started it tries again in another one; here deaths are counted.
    """
    number = failures.begin_attempt(task.plan_folder, task.name, task.driver)
    if number > failures.MAX_DEATHS:
        return _failed(task, "death", f"its process died {number - 1} times", number - 1)
    try:
        _execute(task)
    except Exception as error:  # whatever a run does, the sweep goes on
        _say(task, str(error) if isinstance(error, BiorepError) else "".join(traceback.format_exception(error)))
        return _failed(task, type(error).__name__, str(error), number)
    failures.end_attempt(task.plan_folder, task.name)
    return DONE


def _execute(task: Task) -> None:
    recipe = recipe_from(Source(task.recipe, f"recipe of the run '{task.name}'"))
    log = failures.log_path(task.plan_folder, task.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    context = RunContext(device=task.device, engine=task.engine, progress=True, log=log)
    planned = Planned(task.name, recipe, task.coordinates)
    record = run_one(planned, Stages(task.plan_folder.parent), context, lambda line: _say(task, line))
    for warning in record.warnings:
        _say(task, f"warning: {warning}")
    write_run(task.plan_folder, record)
    failures.failure_path(task.plan_folder, task.name).unlink(missing_ok=True)


def _failed(task: Task, error: str, message: str, attempts: int) -> str:
    failures.write_failure(task.plan_folder, task.name, error=error, message=message, attempts=attempts)
    failures.end_attempt(task.plan_folder, task.name)
    return FAILED


def _say(task: Task, line: str) -> None:
    path = failures.log_path(task.plan_folder, task.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as log:
        print(f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}", file=log, flush=True)


# ------------------------------------------------------------------------------------------------ child processes


class Child:
    """A process that executes runs, one after the other.

    Parameters
    ----------
    environment : mapping of str to str
        Variables of its environment beside those of this process.
    """

    def __init__(self, environment: Mapping[str, str] = ONE_THREAD):
        # -P: a file queue.py in the working directory is no part of Python.
        command = [sys.executable, "-P", "-c", "from biorep.lab.batch.worker import serve; serve()"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environment},
            start_new_session=True,  # a Ctrl-C is the driver's to answer
        )

    def ask(self, task: Task) -> str | None:
        """Execute a run and return how it has ended, or None if the process died.

        Raises
        ------
        StoreError
            If it could not be executed, nor the reason be written: the disk is full.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(asdict(task)).encode() + b"\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer.endswith(b"\n"):
            code = self.process.wait()
            _say(task, f"the process of the run was ended by {f'signal {-code}' if code < 0 else f'exit code {code}'}")
            return None
        outcome = json.loads(answer)
        if "error" in outcome:
            raise StoreError(outcome["error"])
        return str(outcome["outcome"])

    def kill(self) -> None:
        """End the process and all that it has started, whatever they do."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process and let go of it."""
        self.kill()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        self.process.wait()


def serve() -> None:
    """Execute tasks from the standard input until it ends; what `Child` runs."""
    import queue
    import threading

    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever is printed must not be taken for an answer
    tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        line = b""
        while part := os.read(0, 65_536):
            *whole, line = (line + part).split(b"\n")
            for task in whole:
                tasks.put(task)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=read, daemon=True).start()
    while True:
        line = tasks.get()
        try:
            task = Task(**json.loads(line))
            with _printing_to(failures.log_path(task.plan_folder, task.name)):
                outcome = {"outcome": attempt(task)}
        except Exception as error:
            outcome = {"error": f"{error}"}
        answers.write(json.dumps(outcome).encode() + b"\n")


@contextlib.contextmanager
def _printing_to(path: Path) -> Iterator[None]:
    """Let everything that is printed, by other programs too, go to a file while the block runs."""
    before = os.dup(2)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(before, 1)
        os.dup2(before, 2)
        os.close(before)


# -------------------------------------------------------------------------------------------- in a worker of Dask


def perform(task: Task) -> str:
    """Execute a run in a Dask worker and return ``"done"`` or ``"failed"``."""
    import dask

    _leave_in_time(task.expected)
    if not task.own_process:
        # xarray would ask the scheduler for a lock for each file that it writes; no two runs write the same.
        with dask.config.set(scheduler="threads"):
            return attempt(task)
    while True:
        with contextlib.closing(Child()) as child:
            if outcome := child.ask(task):
                return outcome


def _leave_in_time(expected: float) -> None:
    """Hand the run back if the batch system will end this worker before it is finished, and let the worker go."""
    deadline = float(os.environ.get(DEADLINE, "inf"))
    if time.time() + 1.2 * expected < deadline:
        return
    from distributed import Reschedule, get_worker

    worker = get_worker()
    worker.loop.add_callback(worker.close_gracefully)
    raise Reschedule
