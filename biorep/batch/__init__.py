"""Batches: recipes and plans, executed one run after the other; the store knows what is left to do."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from biorep.batch.pipeline import Pipeline, Say
from biorep.batch.plan import Plan, Planned, read
from biorep.batch.recipe import Recipe, recipe_from
from biorep.context import RunContext
from biorep.store import PlanRecord, write_plan, write_run
from biorep.store import open as open_results

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Pipeline", "Plan", "Planned", "Recipe", "check", "execute", "read", "recipe_from", "run"]


def check(plan: Plan) -> None:
    """Raise before anything is computed if a dataset is unknown or not there."""
    for choice in {planned.recipe.dataset.model_dump_json(): planned.recipe.dataset for planned in plan.runs}.values():
        choice.identity()


def execute(plan: Plan, root: str | Path = "runs", *, run: RunContext | None = None, say: Say = print) -> PlanRecord:
    """Execute the runs of a plan; stages that the store has already are not repeated.

    Parameters
    ----------
    plan : Plan
        From `read`.
    root : path
        Root of the store.
    run : RunContext, optional
        Device and progress.
    say : callable
        Takes one line about every stage.

    Returns
    -------
    PlanRecord
        What is written to ``<root>/<plan>/plan.json`` when every run is finished.
    """
    check(plan)
    root, records = Path(root), []
    for name in ("plan.json", "report.html"):  # a plan that is being run again is not finished
        with contextlib.suppress(NotADirectoryError):
            (root / plan.name / name).unlink(missing_ok=True)
    for number, planned in enumerate(plan.runs, 1):
        prefix = f"[{number}/{len(plan.runs)}] {planned.name}"
        pipeline = Pipeline(planned, root, run or RunContext(), lambda line, p=prefix: say(f"{p}: {line}"))  # type: ignore[misc]
        record = pipeline.execute()
        for warning in record.warnings:
            say(f"{prefix}: warning: {warning}")
        write_run(root / plan.name, record)
        records.append(record)
    result = PlanRecord(plan.name, root, plan.dims, records, dict(plan.about))
    write_plan(result)
    return result


def run(
    name: str | Path, out: str | Path = "runs", *, set: Sequence[str] = (), device: str = "auto", shrunk: bool = False
) -> xr.DataTree:
    """Run a recipe or a plan and open its results.

    Parameters
    ----------
    name : str or path
        A YAML file, or the name of a published model (``biorep models`` lists them).
    out : path
        Root of the store.
    set : sequence of str
        Overrides ``key=value``, for example ``["network.epochs=10"]``.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    shrunk : bool
        Run a small version that takes seconds, to try it out.

    Returns
    -------
    xr.DataTree
        See `biorep.open`.

    Examples
    --------
    >>> tree = run("quickstart", "runs")                        # doctest: +SKIP
    """
    record = execute(read(name, set, shrunk=shrunk), out, run=RunContext(device=device, progress=True))
    return open_results(record.folder)
