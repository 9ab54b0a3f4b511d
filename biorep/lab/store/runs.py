"""Run folders: what was asked for, what is finished, and which stages hold the results.

A store root looks like this::

    <root>/store.json                                          the form of the store
    <root>/stages/<kind>/<key>/{stage.json, <kind>.nc, manifest.json}   shared by all runs
    <root>/<plan>/plan.json                                    what was varied, and the runs that are wanted
    <root>/<plan>/lease.json                                   who works on it now, see `lease`
    <root>/<plan>/runs/<run>/{recipe.yaml, run.json, log.txt}  one run: its recipe, its stage keys, what it said
    <root>/<plan>/failed/<run>.json                            why a run failed, see `failures`
    <root>/<plan>/collected/<name>.nc                          all runs in one file, see `collected`
    <root>/<plan>/{report.html, figures/}                      made from the stages

A run is finished if and only if its ``run.json`` is there and its stages are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from biorep import atomic
from biorep.errors import StoreError


@dataclass(frozen=True)
class RunRecord:
    """One finished run."""

    name: str
    recipe: dict[str, Any]  # as executed, defaults filled in
    coordinates: dict[str, Any] = field(default_factory=dict)  # the values of what the plan varied
    stages: dict[str, str] = field(default_factory=dict)  # name in the recipe -> ``kind/key``
    #: What the table shows of it, ``name.column`` -> value; not finite ones as the words ``inf`` and ``nan``.
    numbers: dict[str, float | str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0  # stages that were there already took none
    code_version: str = ""
    code: dict[str, str] = field(default_factory=dict)  # digests of the user's own classes, by their names


@dataclass(frozen=True)
class PlanRecord:
    """A plan and its runs."""

    folder: Path  # the one that was opened, whatever it is called now, as a whole path
    dims: list[str]  # names of what was varied, in order
    runs: list[RunRecord]  # the finished ones, in the order of the plan
    about: dict[str, Any] = field(default_factory=dict)
    planned: dict[str, dict[str, Any]] = field(default_factory=dict)  # name of every run -> its coordinates
    #: Columns of the table: `name` in the numbers of runs, `heading`, `digits`, `note`.
    columns: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the plan: that of its folder."""
        return self.folder.name

    @property
    def root(self) -> Path:
        """Root of the store."""
        return self.folder.parent

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
    remedy = "Remove it and run the plan again: finished stages are not repeated."
    return atomic.read_json(path, lambda found: RunRecord(**found), remedy)


def write_plan(
    folder: Path,
    dims: Sequence[str],
    planned: dict[str, dict[str, Any]],
    about: dict[str, Any],
    columns: Sequence[dict[str, Any]] = (),
) -> None:
    """Write the index of a plan: what is wanted, finished or not."""
    index = {
        "dims": list(dims),
        "runs": [{"name": run, "coordinates": coordinates} for run, coordinates in planned.items()],
        "about": about,
        "columns": list(columns),
    }
    atomic.write_json(folder / "plan.json", index)


def read_plan(folder: str | Path) -> PlanRecord:
    """Read a plan and its finished runs from a plan's folder.

    Raises
    ------
    StoreError
        If the folder is not that of a plan; the message says what is there.
    """
    folder = Path(folder).resolve()
    remedy = "Run the plan again: finished stages are not repeated."
    plan = atomic.read_json(folder / "plan.json", lambda found: _planned(folder, found), remedy)
    if plan is None:
        inside = sorted(path.parent.name for path in folder.glob("*/plan.json"))
        hint = f" It holds the plans {', '.join(inside)}: open one of them." if inside else ""
        raise StoreError(
            f"{folder} is not the folder of a plan: it has no plan.json.{hint} Folders are made by "
            "'biorep run RECIPE_OR_PLAN --out STORE' and 'biorep sweep', as STORE/<name of the recipe or plan>."
        )
    runs = [record for run in plan.planned if (record := read_run(folder, run)) is not None]
    return replace(plan, runs=runs)


def read_begun(folder: str | Path) -> PlanRecord:
    """Return a plan of which at least one run is finished; raise `StoreError` otherwise."""
    plan = read_plan(folder)
    if not plan.runs:
        raise StoreError(
            f"no run of the plan {plan.folder} is finished: run it (again). `biorep status {plan.folder}` says more."
        )
    return plan


def _planned(folder: Path, found: dict[str, Any]) -> PlanRecord:
    planned = {run["name"]: run["coordinates"] for run in found["runs"]}
    return PlanRecord(folder, found["dims"], [], found["about"], planned, found["columns"])


#: Another form of the store than this is not read.
FORM = 2


def open_root(root: Path) -> None:
    """Make the root of a store, or check that it is one of this form.

    Raises
    ------
    StoreError
        If it holds results of an older biorep, or of a newer one.
    """
    path = root / "store.json"
    if path.is_file() or (root / "stages").is_dir() or any(root.glob("*/plan.json")):
        check_root(root)
    else:
        atomic.write_json(path, {"form": FORM})


def restoring(root: Path) -> str:
    """Return what to do about a result that is not in the store."""
    if (root / "stages").is_dir():
        return "run the plan again to make it anew"
    return (
        f"this is a copy of a plan without its store: results lie in {root / 'stages'}, beside the folder of a plan. "
        "Copy the whole store, or put the folder where it came from"
    )


def check_root(root: Path) -> None:
    """Raise `StoreError` unless a folder is the root of a store of this form."""
    if not (root / "store.json").is_file() and not (root / "stages").is_dir():
        raise StoreError(
            f"{root} holds folders of plans without their store (no store.json, no stages): copies, or it was moved in "
            "part. Copy the whole store, or choose another folder with --out. Nothing in it was touched."
        )
    form = atomic.read_json(root / "store.json", lambda found: int(found["form"]), "Choose another folder with --out.")
    if form != FORM:
        age = "a newer" if form is not None and form > FORM else "an older"
        raise StoreError(
            f"{root} was made by {age} biorep: choose another folder with --out. Nothing in it was touched."
        )
