"""Batches: recipes and plans, executed here one after the other or by workers; the store knows what is left to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from biorep.batch.driver import sweep
from biorep.batch.pipeline import Pipeline, Say
from biorep.batch.plan import Plan, Planned, read
from biorep.batch.recipe import Recipe, recipe_from
from biorep.batch.todo import begin, check, preview, survey
from biorep.context import RunContext
from biorep.store import PlanRecord, read_plan, write_run
from biorep.store import open as open_results
from biorep.store.lease import lease

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "Pipeline",
    "Plan",
    "Planned",
    "Recipe",
    "check",
    "execute",
    "preview",
    "read",
    "recipe_from",
    "run",
    "survey",
    "sweep",
]


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
        With every run of the plan.

    Raises
    ------
    StoreError
        If another process works on the plan.
    """
    check(plan)
    root, run = Path(root), run or RunContext()
    run.torch_device()  # a wrong one is refused before anything is written
    with lease(root / plan.name):
        done = begin(plan, root, run=run, say=say).done
        for number, planned in enumerate(plan.runs, 1):
            prefix = f"[{number}/{len(plan.runs)}] {planned.name}"
            pipeline = Pipeline(planned, root, run, lambda line, p=prefix: say(f"{p}: {line}"))  # type: ignore[misc]
            record = pipeline.execute()
            for warning in record.warnings:
                say(f"{prefix}: warning: {warning}")
            if planned.name not in done:  # its record says how long it took
                write_run(root / plan.name, record)
    return read_plan(root / plan.name)


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
