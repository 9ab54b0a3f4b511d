"""Where and how a piece of work runs: device, checkpoint folder, progress.

A `RunContext` changes how fast a result comes and what the user sees meanwhile, never the result itself; the
resolved engine, which may change it in the last bits, enters the key of a stage (see `biorep.lab.graph`).
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from biorep.errors import ConfigError
from biorep.progress import Meter

T = TypeVar("T")
#: One thread per run: results depend on the number of threads, and many small runs are faster side by side.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


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

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", str(self.device))  # torch's own devices are as good

    @classmethod
    def of(cls, context: RunContext | None, device: str = "cpu") -> RunContext:
        """Return a context that was given, or one for a device; raise `ConfigError` for what is none."""
        if context is not None and not isinstance(context, cls):
            raise ConfigError(f"context must be a RunContext, such as RunContext(device='cpu'), got {context!r}")
        return context or cls(device=device)

    def torch_device(self) -> str:
        """Return the resolved torch device; raise `ConfigError` if it is not there."""
        return resolve_device(self.device)

    def torch_engine(self) -> str:
        """Return what runs torch, as it enters the keys of results: ``torch-cpu`` or ``torch-cuda``.

        A device that is named is believed: it may be that of another machine.
        """
        device = self.torch_device() if self.device == "auto" else self.device
        return f"torch-{device.partition(':')[0]}"

    def track(self, items: Collection[T], label: str) -> Iterator[T]:
        """Iterate over `items` and report progress: a bar on a terminal, plain lines otherwise."""
        with self.meter(label, len(items)) as show:
            for done, item in enumerate(items, 1):
                yield item
                show(done)

    @contextlib.contextmanager
    def meter(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """Yield a function that takes how many of `total` are done and reports it; see `track`."""
        if not self.progress:
            yield lambda done: None
            return
        with (
            open(self.log, "a", encoding="utf-8") if self.log else contextlib.nullcontext(sys.stderr) as stream,
            Meter(label, total, stream) as meter,
        ):
            yield meter.show


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


@contextlib.contextmanager
def as_usual() -> Iterator[None]:
    """Compute with numpy and torch as they are when they are loaded, whatever the session has set.

    Default type and device and `autocast` of torch, and what numpy does about overflow, change or break what is
    computed, and none of it is in a key.
    """
    torch = sys.modules.get("torch")  # what is not loaded has not been set
    with contextlib.ExitStack() as stack:
        stack.enter_context(np.errstate(all="warn", under="ignore"))
        if torch is not None:
            for device in ("cpu", "cuda"):
                if torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, enabled=False))
            if torch.get_default_dtype() != torch.float32:
                stack.callback(torch.set_default_dtype, torch.get_default_dtype())
                torch.set_default_dtype(torch.float32)
            if torch.empty(0).device.type != "cpu":
                stack.enter_context(torch.device("cpu"))
        yield


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """As `as_usual`, with gradients, and torch's global random stream is afterwards where it was.

    For what learns, encodes or attacks: making a layer draws from that stream, though biorep draws from its own.
    """
    torch = sys.modules.get("torch")
    with contextlib.ExitStack() as stack:
        stack.enter_context(as_usual())
        if torch is not None:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            stack.callback(torch.set_rng_state, torch.get_rng_state())
        yield


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread while the block runs, and `undisturbed`: results depend on both, on threads in rounding."""
    from threadpoolctl import threadpool_limits

    before = {name: os.environ.get(name) for name in ONE_THREAD}
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch is not None else None
    os.environ.update(ONE_THREAD)  # for libraries that are loaded later
    try:
        if torch is not None:
            torch.set_num_threads(1)
        with threadpool_limits(1), undisturbed():
            yield
    finally:
        if torch is not None:
            torch.set_num_threads(threads)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
