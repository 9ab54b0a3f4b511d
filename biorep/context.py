"""Where and how a piece of work runs: device, checkpoint folder, progress.

A `RunContext` changes how fast a result comes and what the user sees meanwhile, never the result itself; the
resolved engine, which may change it in the last bits, enters the hash of a stage (see `biorep.batch`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import numpy as np

from biorep.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class RunContext:
    """How to run.

    Parameters
    ----------
    device : str
        Torch device: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"auto"`` (a GPU if there is one).
    engine : str
        Engine of Brian2 networks, one of `biorep.engines.ENGINES`, or ``"auto"``.
    checkpoint : Path, optional
        Folder in which long trainings save their progress; None saves nothing.
    checkpoint_every : float
        Seconds between two checkpoints.
    progress : bool
        Whether to report progress on the standard error stream.
    log : Path, optional
        A file that takes the progress instead, as plain lines.
    """

    device: str = "cpu"
    engine: str = "auto"
    checkpoint: Path | None = None
    checkpoint_every: float = 60.0
    progress: bool = False
    log: Path | None = None

    def torch_device(self) -> str:
        """Return the resolved torch device; raise `ConfigError` if it is not there."""
        return resolve_device(self.device)

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Iterate over `items` and report progress: a bar on a terminal, plain lines otherwise."""
        if not self.progress:
            return iter(items)
        if total is None:
            total = len(items)  # type: ignore[arg-type]
        return self._reported(items, label, total)

    def _reported(self, items: Iterable[T], label: str, total: int) -> Iterator[T]:
        with self._stream() as stream:
            yield from report_progress(items, label, total, stream)

    @contextlib.contextmanager
    def _stream(self) -> Iterator[TextIO | None]:
        """Yield where progress goes; None: the standard error stream."""
        if self.log is None:
            yield None
        else:
            with open(self.log, "a", encoding="utf-8") as stream:
                yield stream

    @contextlib.contextmanager
    def meter(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """Yield a function that takes how many of `total` are done and reports it; see `track`."""
        if not self.progress:
            yield lambda done: None
            return
        with self._stream() as stream, Meter(label, total, stream) as meter:
            yield meter.show


def identity(inputs: Tensor, settings: Mapping[str, Any]) -> str:
    """Return what a checkpoint belongs to: a hash of the training data and of everything that steers the training."""
    return digest_of(inputs.detach().cpu().contiguous().numpy(), settings)


def digest_of(inputs: np.ndarray, settings: Mapping[str, Any]) -> str:
    """Return `identity` for training data in an array."""
    data = hashlib.sha256(np.ascontiguousarray(inputs)).hexdigest()
    return hashlib.sha256(json.dumps({**settings, "data": data}, sort_keys=True, default=repr).encode()).hexdigest()


def resolve_device(device: str) -> str:
    """Return ``"cpu"`` or ``"cuda[:index]"`` for a wish; ``"auto"`` takes a GPU if there is one."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return device
    if device == "cuda" or device.startswith("cuda:"):
        if not torch.cuda.is_available():
            raise ConfigError(f"device {device!r}: torch sees no CUDA device here. Use 'cpu' or 'auto'.")
        count, index = torch.cuda.device_count(), device.partition(":")[2] or "0"
        if not index.isdecimal() or int(index) >= count:
            raise ConfigError(f"device {device!r}: there are {count} CUDA devices, cuda:0 to cuda:{count - 1}.")
        return device
    raise ConfigError(f"device {device!r} is unknown. Allowed: 'auto', 'cpu', 'cuda', 'cuda:<index>'.")


def report_progress[T](items: Iterable[T], label: str, total: int, stream: TextIO | None = None) -> Iterator[T]:
    """Yield `items` and report how many are done."""
    with Meter(label, total, stream) as meter:
        for done, item in enumerate(items, 1):
            yield item
            meter.show(done)


class Meter(contextlib.AbstractContextManager["Meter"]):
    """Reports progress: a tqdm bar on a terminal, else a line every 5 % that is at least 2 s old, or 60 s."""

    def __init__(self, label: str, total: int, stream: TextIO | None = None):
        self.label, self.total, self.stream = label, max(total, 1), stream or sys.stderr
        self.start = self.last = time.monotonic()
        self.shown, self.bar = 0.0, None
        if self.stream.isatty():
            from tqdm import tqdm

            self.bar = tqdm(desc=label, total=total, file=self.stream, leave=False)

    def show(self, done: int) -> None:
        """Report that `done` of the total are done."""
        if self.bar is not None:
            self.bar.update(done - self.bar.n)
            return
        now, share = time.monotonic(), done / self.total
        if done and ((share - self.shown >= 0.05 and now - self.last >= 2.0) or now - self.last >= 60.0):
            left = (now - self.start) * (1 / share - 1)
            print(f"  {self.label}: {100 * share:.0f} %, about {left:.0f} s left", file=self.stream, flush=True)
            self.last, self.shown = now, share

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()
