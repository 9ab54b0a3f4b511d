"""One driver per plan: whoever works on a plan's folder holds its lease.

The lease is a file with host, process and time, locked as long as its holder lives. On one machine the lock alone
decides, and it cannot outlive its holder. A holder on another machine is believed while it renews the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from biorep import atomic
from biorep.errors import StoreError

#: Seconds between two renewals, and after which the lease of another machine is stale.
RENEWED, STALE = 20.0, 120.0


@contextlib.contextmanager
def lease(folder: Path) -> Iterator[str]:
    """Hold the lease of a plan's folder while the block runs; yield its identity, another one each time.

    Raises
    ------
    StoreError
        If another living process holds it: its host, process id and start.
    """
    path = folder / "lease.json"
    with atomic.explained(path):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if holder := _holder(path, descriptor, keep=True):
            raise StoreError(
                f"{path.parent} is {worked_on(holder)}. Wait for it, or stop it and repeat the command: it goes on "
                "where that one stopped."
            )
        holder = {"id": uuid4().hex, **atomic.here()}
        with atomic.explained(path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, (json.dumps(holder, indent=2) + "\n").encode(), 0)
            os.fsync(descriptor)
        try:
            with _renewed(path):
                yield str(holder["id"])
        finally:  # left behind, it would keep other machines waiting
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def read_lease(folder: Path) -> dict[str, Any] | None:
    """Return the holder of a plan's lease as a dict of id, host, pid and started, or None if nobody holds it."""
    path = folder / "lease.json"
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        return _holder(path, descriptor)
    finally:
        os.close(descriptor)


def worked_on(holder: Mapping[str, Any]) -> str:
    """Return who holds a lease, in words."""
    pid, host, since = (holder.get(name, "?") for name in ("pid", "host", "started"))
    return f"worked on by process {pid} on {host} since {since}"


def _holder(path: Path, descriptor: int, *, keep: bool = False) -> dict[str, Any] | None:
    """Return who holds a lease, or None; then it is locked by us if `keep`."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        for _ in range(20):  # its holder may be about to write its name
            if said := _said(descriptor):
                return said
            time.sleep(0.05)
        return {"host": "this machine"}
    said = _said(descriptor)
    elsewhere = said.get("host", socket.gethostname()) != socket.gethostname()
    if elsewhere and time.time() - os.fstat(descriptor).st_mtime < STALE:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return said
    if not keep:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    return None


def _said(descriptor: int) -> dict[str, Any]:
    try:
        return dict(json.loads(os.pread(descriptor, 4096, 0)))
    except ValueError:
        return {}


@contextlib.contextmanager
def _renewed(path: Path) -> Iterator[None]:
    """Touch a file every now and then while the block runs."""
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(RENEWED):
            with contextlib.suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
