"""Where the runs of a sweep are executed if not on this machine: on Slurm, or a Dask scheduler that is there already.

One run at a time and one thread per worker: netCDF4 does not survive two. For this machine see `pool`.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from biorep.errors import ConfigError, choose
from biorep.lab.batch.worker import DEADLINE, ONE_THREAD, perform

if TYPE_CHECKING:
    from biorep.lab.batch.pool import Submit

#: Dask resource that a run on a GPU takes.
GPU = "GPU"
#: Seconds that the first worker may take.
PATIENCE = 60


@contextlib.contextmanager
def cluster(
    where: str, workers: int = 1, device: str = "cpu", *, options: Mapping[str, Any] | None = None
) -> Iterator[Submit]:
    """Yield what executes tasks on ``slurm``, or at the address of a scheduler; what was started for it is stopped.

    An existing scheduler has its own number of workers; `options` are those of `dask_jobqueue.SLURMCluster`.

    Raises
    ------
    ConfigError
        If dask-jobqueue is not installed, or an option is unknown.
    """
    import dask
    from distributed import Client

    settings = {
        "distributed.worker.daemon": False,  # a run may start processes of its own
        "distributed.scheduler.allowed-failures": 10,  # deaths are counted in the store
        "distributed.worker.memory.terminate": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.spill": False,
    }
    logging.getLogger("distributed").setLevel(logging.ERROR)
    with dask.config.set(settings), contextlib.ExitStack() as stack:
        if "://" in where:
            try:
                client = Client(where, timeout="10s", set_as_default=False)
            except OSError as error:
                raise ConfigError(f"no Dask scheduler answers at {where}: {error}") from error
        else:
            started = stack.enter_context(_slurm(workers, device, dict(options or {})))
            client = Client(started, set_as_default=False)
        stack.enter_context(client)
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:  # an empty scheduler would wait for ever
            raise ConfigError(f"the scheduler {client.scheduler.address} has no workers after {PATIENCE} s") from None
        resources = {GPU: 1} if device.startswith("cuda") else None
        yield partial(client.get_executor(pure=False, retries=1, resources=resources).submit, perform)


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
