"""Where the runs of a sweep are executed: on this machine, on Slurm, or on a Dask scheduler that is there already.

One run at a time and one thread per worker: netCDF4 does not survive two, and many small runs are faster side by side
than one run on many threads.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from biorep.batch.work import DEADLINE
from biorep.errors import ConfigError, choose

if TYPE_CHECKING:
    from distributed import Client

#: Only this machine reaches what a local sweep listens on.
LOOPBACK = "127.0.0.1"
#: Of the scheduler's own pages, which cannot be left out: a fixed port would warn when two sweeps run at once.
ANY_PORT = f"{LOOPBACK}:0"
#: What limits the libraries in a worker to one thread; must be there before they are loaded.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
#: Dask resource that a run on a GPU takes.
GPU = "GPU"


@contextlib.contextmanager
def cluster(
    where: str = "local", workers: int = 1, *, device: str = "cpu", options: Mapping[str, Any] | None = None
) -> Iterator[Client]:
    """Yield a Dask client; what was started for it is stopped afterwards.

    Parameters
    ----------
    where : str
        ``local``, ``slurm``, or the address of a scheduler, ``tcp://host:port``.
    workers : int
        How many; an existing scheduler has its own.
    device : str
        With ``cuda``, each local worker has a GPU of its own.
    options : mapping, optional
        ``slurm``: arguments of `dask_jobqueue.SLURMCluster`, for example ``queue``, ``walltime``, ``memory``.

    Raises
    ------
    ConfigError
        If the kind is unknown, dask-jobqueue is not installed, or an option is unknown.
    """
    import dask
    from distributed import Client

    if workers < 1:
        raise ConfigError(f"a sweep needs at least 1 worker, got {workers}")
    if options and where != "slurm":
        raise ConfigError(f"cluster options ({', '.join(options)}) are for '--cluster slurm'; this is '{where}'")
    settings = {
        "distributed.worker.daemon": False,  # a run may start processes of its own
        "distributed.scheduler.allowed-failures": 10,  # deaths are counted in the store
        "distributed.worker.memory.terminate": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.spill": False,
    }
    logging.getLogger("distributed").setLevel(logging.ERROR)
    with dask.config.set(settings), _no_main(), contextlib.ExitStack() as stack:
        if "://" in where:
            try:
                client = Client(where, timeout="10s", set_as_default=False)
            except OSError as error:
                raise ConfigError(f"no Dask scheduler answers at {where}: {error}") from error
        else:
            start = {"local": _local, "slurm": _slurm}[choose(where, ("local", "slurm"), "cluster")]
            started = stack.enter_context(start(workers, device, dict(options or {})))
            client = Client(started, set_as_default=False)
        yield stack.enter_context(client)


@contextlib.contextmanager
def _no_main() -> Iterator[None]:
    """Hide the script that was started while the block runs.

    New worker processes would import it first, and without ``if __name__ == "__main__"`` run it once more. They need
    nothing of it.
    """
    names = vars(sys.modules["__main__"])
    hidden: dict[str, Any] = {name: names.pop(name) for name in ("__file__", "__spec__") if name in names}
    names["__spec__"] = None
    try:
        yield
    finally:
        names |= hidden


def _local(workers: int, device: str, options: dict[str, Any]) -> Any:
    """Return workers on this machine, with a GPU each if they are to use one."""
    from distributed import LocalCluster, Nanny, Scheduler, SpecCluster

    if not device.startswith("cuda"):
        return LocalCluster(
            n_workers=workers,
            host=LOOPBACK,
            threads_per_worker=1,
            processes=True,
            dashboard_address=ANY_PORT,
            worker_dashboard_address=None,
            memory_limit=0,
            env=ONE_THREAD,
        )
    specification = {
        f"gpu{index}": {
            "cls": Nanny,
            "options": {
                "host": LOOPBACK,  # without it nanny and worker listen to the whole network
                "nthreads": 1,
                "memory_limit": 0,
                "resources": {GPU: 1},
                "env": {**ONE_THREAD, "CUDA_VISIBLE_DEVICES": str(index)},
            },
        }
        for index in range(min(workers, _gpus()))
    }
    scheduler = {"cls": Scheduler, "options": {"dashboard_address": ANY_PORT, "dashboard": False, "host": LOOPBACK}}
    return SpecCluster(scheduler=scheduler, workers=specification)


def _gpus() -> int:
    """Return how many GPUs there are; raise if there is none."""
    import torch

    if not torch.cuda.device_count():
        raise ConfigError("device 'cuda': torch sees no CUDA device here. Use --device cpu.")
    return int(torch.cuda.device_count())


def _slurm(workers: int, device: str, options: dict[str, Any]) -> Any:
    """Return workers as Slurm jobs, replaced when they end."""
    try:
        from dask_jobqueue import SLURMCluster
        from dask_jobqueue.core import Job
        from dask_jobqueue.slurm import SLURMJob
    except ImportError:
        raise ConfigError('"--cluster slurm" needs dask-jobqueue: pip install "biorep[slurm]"') from None
    known = {
        name
        for function in (SLURMCluster.__init__, SLURMJob.__init__, Job.__init__)
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
    }
    for name in options:
        choose(name, known, "option of the Slurm cluster")
    wanted = {"cores": 1, "processes": 1, "memory": "4GB", "walltime": "04:00:00", **options}
    exports = [f"export {name}={value}" for name, value in ONE_THREAD.items()]
    exports.append(f"export {DEADLINE}=$(( $(date +%s) + {seconds(str(wanted['walltime']))} ))")
    wanted["job_script_prologue"] = [*exports, *wanted.get("job_script_prologue", [])]
    if device.startswith("cuda"):
        wanted["worker_extra_args"] = [*wanted.get("worker_extra_args", []), "--resources", f"{GPU}=1"]
        wanted["job_extra_directives"] = wanted.get("job_extra_directives", ["--gres=gpu:1"])
    started = SLURMCluster(**wanted)
    # Not `scale`: jobs that a queue has ended would never be replaced.
    started.adapt(minimum_jobs=workers, maximum_jobs=workers)
    return started


def seconds(walltime: str) -> int:
    """Return the seconds of a Slurm time limit, ``[days-]hours:minutes:seconds``, ``minutes:seconds`` or ``minutes``.

    Examples
    --------
    >>> seconds("1-02:00:00"), seconds("04:30:00"), seconds("90")
    (93600, 16200, 5400)
    """
    days, _, rest = walltime.rpartition("-")
    try:
        parts = [int(part) for part in rest.split(":")]
        if days:
            parts = [*parts, 0, 0][:3]  # days-hours[:minutes[:seconds]]
        elif len(parts) < 3:
            parts = [0, *parts, 0][:3]  # minutes[:seconds]
        return ((int(days or 0) * 24 + parts[0]) * 60 + parts[1]) * 60 + parts[2]
    except (ValueError, IndexError):
        raise ConfigError(
            f"walltime {walltime!r} is no time limit of Slurm; write [days-]hours:minutes:seconds"
        ) from None


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """Return ``KEY=VALUE`` words as a mapping; values are read as YAML, except times, which YAML takes for numbers.

    Examples
    --------
    >>> parse_options(["queue=debug", "cores=2", "walltime=01:00:00"])
    {'queue': 'debug', 'cores': 2, 'walltime': '01:00:00'}
    """
    import yaml

    options = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ConfigError(f"--cluster-option {word!r}: write KEY=VALUE, for example walltime=02:00:00")
        options[key] = value if key == "walltime" else yaml.safe_load(value)
    return options


def wait_for_workers(client: Client, patience: float = 60.0) -> None:
    """Return when there is a worker, or raise after a while: an empty scheduler would wait for ever."""
    deadline = time.monotonic() + patience
    while not client.scheduler_info(n_workers=-1)["workers"]:
        if time.monotonic() > deadline:
            raise ConfigError(f"the scheduler {client.scheduler.address} has no workers after {patience:.0f} s")
        time.sleep(0.1)
