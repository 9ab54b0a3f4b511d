"""Run folders: what was asked for, what is finished, and which stages hold the results.

A store root looks like this::

    <root>/stages/<kind>/<key>/{<kind>.nc, manifest.json}      shared by all runs
    <root>/<plan>/plan.json                                    what was varied, and the runs that are wanted
    <root>/<plan>/lease.json                                   who works on it now, see `lease`
    <root>/<plan>/runs/<run>/{recipe.yaml, run.json, log.txt}  one run: its recipe, its stage keys, what it said
    <root>/<plan>/failed/<run>.json                            why a run failed, see `failures`
    <root>/<plan>/collected/<kind>.nc                          all runs in one file, see `collect`
    <root>/<plan>/{report.html, figures/}                      made from the stages

A run is finished if and only if its ``run.json`` is there and its stages are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biorep import atomic
from biorep.errors import StoreError


@dataclass(frozen=True)
class RunRecord:
    """One finished run.

    Parameters
    ----------
    name : str
    recipe : dict
        As executed, defaults filled in.
    coordinates : dict
        The values of what the plan varied.
    stages : dict
        Kind -> key.
    warnings : list of str
    seconds : float
        How long it took; stages that were there already took none.
    code_version : str
    """

    name: str
    recipe: dict[str, Any]
    coordinates: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    code_version: str = ""


@dataclass(frozen=True)
class PlanRecord:
    """A plan and its runs.

    Parameters
    ----------
    name : str
    root : Path
        Root of the store.
    dims : list of str
        Names of what was varied, in order.
    runs : list of RunRecord
        The finished runs, in the order of the plan.
    about : dict
    planned : dict
        Name of every run of the plan -> its coordinates.
    """

    name: str
    root: Path
    dims: list[str]
    runs: list[RunRecord]
    about: dict[str, Any] = field(default_factory=dict)
    planned: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Folder of the plan."""
        return self.root / self.name

    @property
    def missing(self) -> list[str]:
        """Names of the runs that are not finished."""
        finished = {run.name for run in self.runs}
        return [name for name in self.planned if name not in finished]


def run_folder(plan_folder: Path, name: str) -> Path:
    """Return the folder of a run."""
    return plan_folder / "runs" / name


def write_run(plan_folder: Path, record: RunRecord) -> None:
    """Write the folder of a finished run; ``run.json`` is the last file."""
    import yaml

    where = run_folder(plan_folder, record.name)
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(record.recipe, Dumper=dumper, sort_keys=False, allow_unicode=True)
    atomic.write_text(where / "recipe.yaml", text, durable=False)  # for people; the record has it as well
    atomic.write_json(where / "run.json", vars(record))


def read_run(plan_folder: Path, name: str) -> RunRecord | None:
    """Return the record of a run, or None if it is not finished.

    Raises
    ------
    StoreError
        If the record is there and cannot be read.
    """
    path = run_folder(plan_folder, name) / "run.json"
    try:
        return RunRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(
            f"{path} cannot be read ({type(error).__name__}: {error}). Remove it and run the plan again: finished "
            "stages are not repeated."
        ) from error


def write_plan(
    root: Path, name: str, dims: Sequence[str], planned: dict[str, dict[str, Any]], about: dict[str, Any]
) -> None:
    """Write the index of a plan: what is wanted, finished or not."""
    index = {
        "name": name,
        "dims": list(dims),
        "runs": [{"name": run, "coordinates": coordinates} for run, coordinates in planned.items()],
        "about": about,
    }
    atomic.write_json(root / name / "plan.json", index)


def read_plan(folder: str | Path) -> PlanRecord:
    """Read a plan and its finished runs from a plan's folder.

    Raises
    ------
    StoreError
        If the folder is not that of a plan; the message says what is there.
    """
    folder = Path(folder)
    index_path = folder / "plan.json"
    if not index_path.is_file():
        inside = sorted(path.parent.name for path in folder.glob("*/plan.json")) if folder.is_dir() else []
        hint = f" It holds the plans {', '.join(inside)}: open one of them." if inside else ""
        raise StoreError(
            f"{folder} is not the folder of a plan: it has no plan.json.{hint} Folders are made by "
            "'biorep run RECIPE_OR_PLAN --out STORE' and 'biorep sweep', as STORE/<name of the recipe or plan>."
        )
    try:
        index = json.loads(index_path.read_text(encoding="utf-8"))
        planned = {run["name"]: run["coordinates"] for run in index["runs"]}
        dims, about, name = index["dims"], index["about"], index["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{index_path} cannot be read ({type(error).__name__}: {error}). Run the plan again: finished stages are "
            "not repeated."
        ) from error
    runs = [record for run in planned if (record := read_run(folder, run)) is not None]
    return PlanRecord(name, folder.parent, dims, runs, about, planned)
