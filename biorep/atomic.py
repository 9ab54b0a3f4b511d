"""Files that appear whole or not at all.

A netCDF file whose writer was killed opens without an error, so "the file exists" can never mean "the result
is there". Everything biorep writes goes to a temporary name in the same folder, is flushed to the disk and
renamed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from biorep.errors import StoreError


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path; on success flush it and rename it to `path`, on any failure remove it.

    What is not `durable` is whole as well, but may be the old file after a power cut; it costs a tenth.

    Raises
    ------
    StoreError
        If the folder cannot be written or the disk is full. Nothing is left under the final name.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if durable:
                _flush(temporary)
            os.replace(temporary, path)
            with contextlib.suppress(OSError):  # the file is whole and there; only its name may not outlive a power cut
                if durable:
                    _flush(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a text file atomically; see `replacing`."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Write a JSON file atomically, indented and with a final newline; see `replacing`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", durable=durable)


def read_json[T](path: Path, take: Callable[[Any], T], remedy: str) -> T | None:
    """Return what `take` makes of the content of a JSON file, or None if there is no file.

    Raises
    ------
    StoreError
        If the file cannot be read or is not what it should be: why, and the remedy.
    """
    try:
        return take(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} cannot be read ({type(error).__name__}: {error}). {remedy}") from error


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write(temporary)` write a file and rename it to `path`.

    Libraries report a full disk in their own ways (netCDF4 as a bare RuntimeError): all become a `StoreError`.
    """
    with replacing(path) as temporary:
        try:
            write(temporary)
        except (NotImplementedError, RecursionError):
            raise
        except RuntimeError as error:
            raise StoreError(_explain(path, error)) from error


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn every `OSError` of the block into a `StoreError` about a file that cannot be written."""
    try:
        yield
    except OSError as error:
        raise StoreError(_explain(path, error)) from error


def remove_stale(folder: Path) -> list[Path]:
    """Remove the temporary files below a folder whose writers are gone, and return their paths.

    Writers on other machines cannot be asked: their files are stale after a day.
    """
    removed = []
    for path in folder.rglob(".*.tmp"):
        writer, _, pid = path.name.removesuffix(".tmp").rpartition(".")
        with contextlib.suppress(OSError):
            if writer.endswith(f".{socket.gethostname()}") and pid.isdecimal():
                stale = not lives(int(pid))
            else:
                stale = time.time() - path.stat().st_mtime > 86_400
            if stale:
                path.unlink()
                removed.append(path)
    return removed


def lives(pid: int) -> bool:
    """Return whether there is a process of this number on this machine."""
    if pid <= 0:  # these address groups of processes
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file while the block runs; other processes wait. The file is gone afterwards.

    Raises
    ------
    StoreError
        If the folder cannot be written.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _lock(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is still held: who waited for it notices and starts afresh
        os.close(descriptor)


def _lock(path: Path) -> int:
    """Return a descriptor that holds the lock of the file that has this name now."""
    import fcntl

    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:
            pass  # its holder has removed it
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def here() -> dict[str, Any]:
    """Return what other processes know this one by, and the time."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": now}


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as a hexadecimal string."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explain(path: Path, error: BaseException) -> str:
    folder = next((p for p in [path.parent, *path.parent.parents] if p.is_dir()), Path("/"))
    number = getattr(error, "errno", None)
    if number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return f"cannot write {path}: {os.strerror(number)}. Choose a folder that you may write to, with --out FOLDER."
    free = shutil.disk_usage(folder).free / 2**20
    reason = "the disk is full" if number in (errno.ENOSPC, errno.EDQUOT) else f"{error}"
    return (
        f"cannot write {path}: {reason} ({free:.0f} MiB free in {folder}). Nothing was left under that name; "
        "finished results are intact. Free some space or choose another folder with --out FOLDER, then repeat "
        "the command: it goes on where it stopped."
    )
