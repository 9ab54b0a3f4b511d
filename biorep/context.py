"""Where and how a piece of work runs: device, checkpoint folder, progress.

A `RunContext` changes how fast a result comes and what the user sees meanwhile, never the result itself; the
resolved engine, which may change it in the last bits, enters the hash of a stage (see `biorep.batch`).
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

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
    checkpoint : Path, optional
        Folder in which long trainings save their progress; None saves nothing.
    checkpoint_every : float
        Seconds between two checkpoints.
    progress : bool
        Whether to report progress on the standard error stream.
    """

    device: str = "cpu"
    checkpoint: Path | None = None
    checkpoint_every: float = 60.0
    progress: bool = False

    def torch_device(self) -> str:
        """Return the resolved torch device; raise `ConfigError` if it is not there."""
        return resolve_device(self.device)

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Iterate over `items` and report progress: a bar on a terminal, plain lines otherwise."""
        if not self.progress:
            return iter(items)
        if total is None:
            total = len(items)  # type: ignore[arg-type]
        return report_progress(items, label, total)


def identity(inputs: Tensor, settings: Mapping[str, Any]) -> str:
    """Return what a checkpoint belongs to: a hash of the training data and of everything that steers the training."""
    data = hashlib.sha256(inputs.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
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
    """Yield `items`; show a tqdm bar on a terminal, else a line every 5 % that is at least 2 s old, or 60 s."""
    stream = stream or sys.stderr
    if stream.isatty():
        from tqdm import tqdm

        yield from tqdm(items, desc=label, total=total, file=stream, leave=False)
        return
    start = last = time.monotonic()
    shown = 0.0
    for done, item in enumerate(items, 1):
        yield item
        now, share = time.monotonic(), done / max(total, 1)
        if (share - shown >= 0.05 and now - last >= 2.0) or now - last >= 60.0:
            left = (now - start) * (1 / share - 1)
            print(f"  {label}: {100 * share:.0f} %, about {left:.0f} s left", file=stream, flush=True)
            last, shown = now, share
