"""Run folders: what was asked for, and which stages hold the results.

A store root looks like this::

    <root>/stages/<kind>/<key>/{<kind>.nc, manifest.json}      shared by all runs
    <root>/<plan>/plan.json                                    the runs of a plan and what was varied
    <root>/<plan>/runs/<run>/{recipe.yaml, run.json}           one run: its recipe, its stage keys
    <root>/<plan>/{report.html, figures/}                      made from the stages
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biorep import atomic
from biorep.errors import StoreError


@dataclass(frozen=True)
class RunRecord:
    """One run: its name, its recipe as executed, the values of what the plan varied, the keys of its stages."""

    name: str
    recipe: dict[str, Any]
    coordinates: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PlanRecord:
    """A plan and its runs; `dims` are the names of what was varied, in order."""

    name: str
    root: Path
    dims: list[str]
    runs: list[RunRecord]
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Folder of the plan."""
        return self.root / self.name


def write_run(folder: Path, record: RunRecord) -> None:
    """Write the folder of one run."""
    import yaml

    where = folder / "runs" / record.name
    atomic.write_text(where / "recipe.yaml", yaml.safe_dump(record.recipe, sort_keys=False, allow_unicode=True))
    rest = {key: value for key, value in vars(record).items() if key != "recipe"}
    atomic.write_json(where / "run.json", rest)


def write_plan(record: PlanRecord) -> None:
    """Write the index of a plan, last of all: its presence says that every run is finished."""
    index = {
        "name": record.name,
        "dims": record.dims,
        "runs": [run.name for run in record.runs],
        "about": record.about,
    }
    atomic.write_json(record.folder / "plan.json", index)


def read_plan(folder: str | Path) -> PlanRecord:
    """Read a plan and its runs from a plan's folder.

    Raises
    ------
    StoreError
        If the folder is not that of a finished plan; the message says what is there.
    """
    import yaml

    folder = Path(folder)
    index_path = folder / "plan.json"
    if not index_path.is_file():
        inside = sorted(path.parent.name for path in folder.glob("*/plan.json")) if folder.is_dir() else []
        hint = f" It holds the plans {', '.join(inside)}: open one of them." if inside else ""
        raise StoreError(
            f"{folder} is not the folder of a finished plan: it has no plan.json.{hint} "
            "Folders are made by 'biorep run RECIPE_OR_PLAN --out STORE', as STORE/<name of the recipe or plan>."
        )
    try:
        index = json.loads(index_path.read_text(encoding="utf-8"))
        runs = []
        for name in index["runs"]:
            rest = json.loads((folder / "runs" / name / "run.json").read_text(encoding="utf-8"))
            recipe = yaml.safe_load((folder / "runs" / name / "recipe.yaml").read_text(encoding="utf-8"))
            runs.append(RunRecord(recipe=recipe, **rest))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder} cannot be read ({type(error).__name__}: {error}). Run the plan again.") from error
    return PlanRecord(index["name"], folder.parent, index["dims"], runs, index["about"])
