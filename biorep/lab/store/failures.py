"""Runs that failed or died: who tried, how often, and what they said last."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from biorep import atomic
from biorep.lab.store.runs import run_folder

#: A run whose process has died so often is not tried again.
MAX_DEATHS = 2
#: Lines of the log that a failure keeps.
TAIL = 40


def failure_path(plan_folder: Path, name: str) -> Path:
    """Return the file that says why a run failed."""
    return plan_folder / "failed" / f"{name}.json"


def write_failure(plan_folder: Path, name: str, *, error: str, message: str, attempts: int) -> None:
    """Say why a run failed (the class of the error, or ``"death"``) after so many attempts, with the end of its log."""
    facts = {"run": name, "error": error, "message": message, "attempts": attempts, "host": socket.gethostname()}
    at = datetime.now(UTC).isoformat(timespec="seconds")
    atomic.write_json(failure_path(plan_folder, name), {**facts, "at": at, "log": log_tail(plan_folder, name)})


def read_failures(plan_folder: Path) -> dict[str, dict[str, Any]]:
    """Return the failures of a plan by the name of the run."""
    found = {}
    for path in sorted((plan_folder / "failed").glob("*.json")):
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            found[str(facts["run"])] = facts
        except (OSError, ValueError, KeyError, TypeError):
            found[path.stem] = {"run": path.stem, "error": "unknown", "message": f"{path} cannot be read"}
    return found


def forget_failure(plan_folder: Path, name: str) -> None:
    """Let a run be tried again."""
    for path in (failure_path(plan_folder, name), _attempt_path(plan_folder, name)):
        path.unlink(missing_ok=True)


def log_path(plan_folder: Path, name: str) -> Path:
    """Return the log of a run."""
    return run_folder(plan_folder, name) / "log.txt"


def log_tail(plan_folder: Path, name: str, lines: int = TAIL) -> list[str]:
    """Return the last lines of the log of a run."""
    try:
        return log_path(plan_folder, name).read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def begin_attempt(plan_folder: Path, name: str, driver: str) -> int:
    """Note that this process tries a run, and return the number of the attempt under this driver.

    An attempt that is still noted died with its process. Only deaths under the same driver are counted: those under
    another one died with it.
    """
    before = read_attempt(plan_folder, name)
    number = 1 + (before.get("number", 0) if before.get("driver") == driver else 0)
    facts = {"driver": driver, "number": number, **atomic.here()}
    atomic.write_json(_attempt_path(plan_folder, name), facts, durable=False)
    return number


def read_attempt(plan_folder: Path, name: str) -> dict[str, Any]:
    """Return the attempt at a run that is going on or has died; empty if there is none."""
    try:
        return dict(json.loads(_attempt_path(plan_folder, name).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def end_attempt(plan_folder: Path, name: str) -> None:
    """Note that an attempt has ended, well or with an error."""
    _attempt_path(plan_folder, name).unlink(missing_ok=True)


def _attempt_path(plan_folder: Path, name: str) -> Path:
    return run_folder(plan_folder, name) / "attempt.json"
