"""The cache of compiled simulations: one binary per hash of its generated sources.

Weights, parameters, seeds and images are arguments of a run, not part of the sources; so a second run of the same
shape compiles nothing. Several processes may use the cache at once: a key is compiled by one of them while the others
wait, a binary appears whole or not at all, and one that does not match its checksum is compiled again.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

from biorep import atomic
from biorep.resources import cache_folder


def programs_folder() -> Path:
    """Return the folder of the compiled simulations."""
    return cache_folder() / "programs"


def source_hash(project: Path, *facts: str) -> str:
    """Return the key of a generated project: what its compiler sees, and for which processor.

    Parameters
    ----------
    project : Path
        Folder of the generated sources.
    *facts : str
        What else decides over the binary, for example the version of the compiler.
    """
    hashed = hashlib.sha256("\n".join([_processor(), *facts]).encode())
    for path in sorted(project.rglob("*")):
        inside = path.relative_to(project)
        if inside.parts[0] in ("static_arrays", "results") or not path.is_file():
            continue
        if path.suffix in (".cpp", ".cu", ".h") or path.name == "makefile":
            hashed.update(str(inside).encode())
            # Brian2 walks over sets: independent lines change places between two processes.
            for line in sorted(path.read_bytes().splitlines()):
                hashed.update(line + b"\n")
    return hashed.hexdigest()[:24]


def binary(key: str, build: Callable[[], Path]) -> tuple[Path, bool]:
    """Return the binary of a key and whether it was there; else `build` it and keep it.

    Parameters
    ----------
    key : str
        See `source_hash`.
    build : callable
        Compiles and returns the path of the new binary.

    Raises
    ------
    StoreError
        If the cache cannot be written.
    """
    folder = programs_folder() / key
    path, checksum = folder / "main", folder / "sha256"
    if _intact(path, checksum):
        return path, True
    with atomic.locked(programs_folder() / f"{key}.lock"):
        if _intact(path, checksum):
            return path, True
        compiled = build()
        atomic.write_with(path, lambda temporary: shutil.copy2(compiled, temporary))
        atomic.write_text(checksum, atomic.sha256(path) + "\n")
    return path, False


def describe() -> str:
    """Return one line about the cache, for `biorep doctor`."""
    folder = programs_folder()
    binaries = list(folder.glob("*/main"))
    size = sum(path.stat().st_size for path in binaries) / 2**20
    return f"{len(binaries)} compiled simulations, {size:.0f} MiB, in {folder}"


def _intact(path: Path, checksum: Path) -> bool:
    try:
        return checksum.read_text().strip() == atomic.sha256(path)
    except OSError:
        return False


def _processor() -> str:
    """Return what decides over code that is compiled for the processor at hand."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        found = {line.partition(":")[0].strip(): line for line in lines if line.startswith(("model name", "flags"))}
        return "\n".join(sorted(found.values()))
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
