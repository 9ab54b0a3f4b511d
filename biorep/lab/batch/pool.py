"""Where the runs of a local sweep are executed: child processes over pipes. Nothing listens to a network.

A thread per child hands it one task after the other. A child that dies, or whose run wants a process of its own, is
replaced by a new one; the run is tried again there, and the store counts how often.
"""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from biorep.errors import ConfigError, StoreError
from biorep.lab.batch.worker import ONE_THREAD, Child, Task
from biorep.lab.store.failures import MAX_DEATHS, log_path

#: Executes a task when a worker is free: a word that says how it has ended, or the error that kept it from beginning.
Submit = Callable[[Task], "Future[str]"]


@contextlib.contextmanager
def pool(workers: int, device: str = "cpu") -> Iterator[Submit]:
    """Yield what executes tasks side by side in so many processes; with ``cuda``, each has a GPU of its own."""
    slots = [_Slot(environment) for environment in _environments(workers, device)]
    free: queue.LifoQueue[_Slot] = queue.LifoQueue()
    for slot in slots:
        free.put(slot)
    threads = ThreadPoolExecutor(len(slots))
    try:
        yield lambda task: threads.submit(_execute, free, task)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for slot in slots:
            slot.stop()
        threads.shutdown()
        for slot in slots:
            slot.end()


def _execute(free: queue.LifoQueue[_Slot], task: Task) -> str:
    slot = free.get()
    try:
        return slot.execute(task)
    finally:
        free.put(slot)


class _Slot:
    """Place of one child process after the other."""

    def __init__(self, environment: Mapping[str, str]):
        self.environment, self.stopped = environment, False
        self.child: Child | None = None

    def execute(self, task: Task) -> str:
        deaths = 0
        while deaths <= MAX_DEATHS + 1 and not self.stopped:
            self.child = self.child or Child(self.environment)
            if self.stopped:  # before there was a child to kill
                break
            outcome = self.child.ask(task)
            if outcome is None or task.own_process:
                self.end()
            if outcome is not None:
                return outcome
            deaths += 1
        # The store counts the deaths of runs: these processes do not even begin.
        raise StoreError(f"processes for runs end before they begin; {log_path(task.plan_folder, task.name)}")

    def stop(self) -> None:
        self.stopped = True
        if (child := self.child) is not None:
            child.kill()

    def end(self) -> None:
        if self.child is not None:
            self.child.close()
            self.child = None


def _environments(workers: int, device: str) -> list[dict[str, str]]:
    """Return what each process finds in its environment: one thread, and its GPU."""
    if not device.startswith("cuda"):
        return [dict(ONE_THREAD)] * workers
    return [{**ONE_THREAD, "CUDA_VISIBLE_DEVICES": str(index)} for index in range(min(workers, gpus()))]


def gpus() -> int:
    """Return how many GPUs there are; raise if there is none."""
    import torch

    if not torch.cuda.device_count():
        raise ConfigError("device 'cuda': torch sees no CUDA device here. Use --device cpu.")
    return int(torch.cuda.device_count())
