"""Where a result comes from: the attributes that every file of biorep carries."""

from __future__ import annotations

import functools
import json
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from biorep import resources

LIBRARIES = ("numpy", "scipy", "torch", "xarray", "netCDF4", "scikit-learn", "brian2", "brian2cuda")


@functools.cache
def code_version() -> str:
    """Return the version of biorep; in a git checkout followed by its commit and ``-dirty`` if files changed."""
    try:
        number = version("biorep")
    except PackageNotFoundError:
        number = "unknown"
    root = resources.checkout()
    if root is None or not (root / ".git").exists():
        return number
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=9"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return number
    return f"{number.split('+')[0]}+{answer.stdout.strip()}"


@functools.cache
def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that results depend on."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def provenance(kind: str, key: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return the provenance attributes of a stage (CF-like names; nested values as JSON text)."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    drawn = {"biorep_seed": int(config["seed"])} if "seed" in config else {}
    return {
        "Conventions": "CF-1.11",
        "title": f"biorep {kind}",
        "source": f"biorep {code_version()}",
        "history": f"{now} made by biorep {code_version()}",
        "references": str(config.get("reference", "")),
        "created_at": now,
        "biorep_config": json.dumps(config, sort_keys=True),
        "biorep_config_hash": key,
        "biorep_code_version": code_version(),
        **drawn,
        "biorep_engine": str(config.get("engine", "")),
        "biorep_libraries": json.dumps(library_versions(), sort_keys=True),
    }
