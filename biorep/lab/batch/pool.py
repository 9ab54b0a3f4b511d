"""Where the runs of a local sweep are executed: child processes over pipes. Nothing listens to a network.

A thread per child hands it one task after the other. A child that dies, or whose run wants a process of its own, is
replaced by a new one; the run is tried again there, and the store counts how often.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from types import TracebackType

from biorep.errors import ConfigError, StoreError
from biorep.lab.batch.worker import ONE_THREAD, Child, Task
from biorep.lab.store.failures import MAX_DEATHS, log_path

#: Takes the name of a run and how it has ended: a word, or the error that kept it from being executed.
Finish = Callable[[str, str | Exception], None]


class Pool:
    """Child processes that execute tasks side by side.

    Parameters
    ----------
    workers : int
        Processes.
    device : str
        With ``cuda``, each process has a GPU of its own.
    """

    def __init__(self, workers: int, device: str = "cpu"):
        self.tasks: queue.SimpleQueue[tuple[Task, Finish] | None] = queue.SimpleQueue()
        self.stopped = False
        self.children: set[Child] = set()
        self._lock = threading.Lock()
        environments = _environments(workers, device)
        self.threads = [threading.Thread(target=self._work, args=(one,), daemon=True) for one in environments]
        for thread in self.threads:
            thread.start()

    def submit(self, task: Task, finish: Finish) -> None:
        """Execute a task when a process is free; `finish` is called in a thread of the pool."""
        self.tasks.put((task, finish))

    def _work(self, environment: Mapping[str, str]) -> None:
        child: Child | None = None
        while (item := self.tasks.get()) is not None:
            task, finish = item
            outcome, deaths = None, 0
            try:
                while outcome is None and not self.stopped:
                    child = child or self._start(environment)
                    outcome = child.ask(task)
                    deaths += outcome is None
                    if outcome is None or task.own_process:
                        self._end(child)
                        child = None
                    if deaths > MAX_DEATHS + 1:  # the store counts those of runs; these processes do not even begin
                        raise StoreError(
                            f"processes for runs end before they begin; {log_path(task.plan_folder, task.name)}"
                        )
            except Exception as error:
                finish(task.name, error)
                continue
            if outcome is not None:
                finish(task.name, outcome)
        if child is not None:
            self._end(child)

    def _start(self, environment: Mapping[str, str]) -> Child:
        with self._lock:
            child = Child(environment)
            self.children.add(child)
        return child

    def _end(self, child: Child) -> None:
        child.close()
        with self._lock:
            self.children.discard(child)

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped = True
        while not self.tasks.empty():
            self.tasks.get()
        with self._lock:
            for child in self.children:
                child.kill()
        for _ in self.threads:
            self.tasks.put(None)
        for thread in self.threads:
            thread.join()


def _environments(workers: int, device: str) -> list[dict[str, str]]:
    """Return what each process finds in its environment: one thread, and its GPU."""
    if not device.startswith("cuda"):
        return [dict(ONE_THREAD)] * workers
    count = gpus()
    return [{**ONE_THREAD, "CUDA_VISIBLE_DEVICES": str(index)} for index in range(min(workers, count))]


def gpus() -> int:
    """Return how many GPUs there are; raise if there is none."""
    import torch

    if not torch.cuda.device_count():
        raise ConfigError("device 'cuda': torch sees no CUDA device here. Use --device cpu.")
    return int(torch.cuda.device_count())
