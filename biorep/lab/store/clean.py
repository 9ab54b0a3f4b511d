"""Find what a store holds and no plan needs."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from biorep import atomic
from biorep.errors import StoreError
from biorep.lab.store.lease import read_lease, worked_on
from biorep.lab.store.runs import read_plan


@dataclass(frozen=True)
class Waste:
    """A file or folder that can go, why, and its size in bytes."""

    path: Path
    reason: str
    size: int


def waste(root: str | Path, *, unfinished: bool = False) -> list[Waste]:
    """Return what no plan of a store needs: stages of other settings, trainings that were given up, old failures.

    Nothing is changed. With `unfinished`, what unfinished runs have made counts as not needed.

    Raises
    ------
    StoreError
        If the folder is no store, or a plan is being worked on or not finished.
    """
    root = Path(root)
    plans = sorted(root.glob("*/plan.json"))
    if not plans and not (root / "stages").is_dir():
        raise StoreError(f"{root} is not the root of a store: it has neither plans nor stages")
    used: set[str] = set()
    found: list[Waste] = []
    for path in plans:
        if holder := read_lease(path.parent):
            raise StoreError(f"{path.parent} is {worked_on(holder)}; wait for it")
        plan = read_plan(path.parent)
        if plan.missing and not unfinished:
            raise StoreError(
                f"{path.parent} has {len(plan.missing)} unfinished runs, and what they have trained already would go. "
                "Finish them, remove that folder, or say --unfinished."
            )
        used |= {address for run in plan.runs for address in run.stages.values()}
        kept = set(plan.planned)
        found += [
            _waste(old, "a run that the plan has no more")
            for old in (path.parent / "runs").glob("*")
            if old.name not in kept
        ]
        finished = {run.name for run in plan.runs}
        for failure in (path.parent / "failed").glob("*.json"):
            if failure.stem in finished or failure.stem not in kept:
                found.append(_waste(failure, "a failure of a run that is finished now, or gone"))
    for folder in (root / "stages").glob("*/*"):
        if f"{folder.parent.name}/{folder.name}" not in used and _is_stage(folder):
            reason = "a stage that no finished run uses" if (folder / "manifest.json").is_file() else "not finished"
            found.append(_waste(folder, reason))
    return found


def remove(found: list[Waste]) -> None:
    """Remove what `waste` has found."""
    for item in found:
        with atomic.explained(item.path):
            if item.path.is_dir():
                shutil.rmtree(item.path)
            else:
                item.path.unlink(missing_ok=True)


def _is_stage(folder: Path) -> bool:
    """Return whether a folder says of itself that it is the stage of its path: others are not ours to remove."""
    try:
        said = json.loads((folder / "stage.json").read_text(encoding="utf-8"))
        return (said["kind"], said["key"]) == (folder.parent.name, folder.name)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _waste(path: Path, reason: str) -> Waste:
    files = path.rglob("*") if path.is_dir() else [path]
    return Waste(path, reason, sum(file.stat().st_size for file in files if file.is_file()))
