"""Batches: recipes and plans, executed here one after the other or by workers; the store knows what is left to do."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from biorep.context import RunContext, one_thread
from biorep.lab.batch.backlog import begin, preview, resolved, survey
from biorep.lab.batch.driver import sweep
from biorep.lab.batch.run_one import run_one
from biorep.lab.perform import Say
from biorep.lab.plan import Plan, Planned, read
from biorep.lab.recipe import Recipe, recipe_from
from biorep.lab.store import PlanRecord, read_plan, write_run
from biorep.lab.store import open as open_results
from biorep.lab.store.lease import lease
from biorep.lab.store.stages import Stages

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Plan", "Planned", "Recipe", "execute", "preview", "read", "recipe_from", "run", "survey", "sweep"]


def execute(
    plan: Plan, root: str | Path = "runs", *, context: RunContext | None = None, replace: bool = False, say: Say = print
) -> PlanRecord:
    """Execute the runs of a plan here, one after the other; stages that the store has already are not repeated.

    `say` takes one line about every stage; for `replace` see `run`.

    Raises
    ------
    StoreError
        If another process works on the plan, or overrides would replace results of other settings.
    """
    context = resolved(context)  # a wrong one is refused before anything is written
    root = Path(root)
    store = Stages(root)
    with lease(root / plan.name), one_thread():
        work = begin(plan, root, context=context, replace=replace, say=say)
        for number, planned in enumerate(plan.runs, 1):
            prefix = f"[{number}/{len(plan.runs)}] {planned.name}"
            record = run_one(planned, store, context, partial(_prefixed, say, prefix), work.nodes[planned.name])
            for warning in record.warnings:
                say(f"{prefix}: warning: {warning}")
            if planned.name not in work.done:  # its record says how long it took
                write_run(root / plan.name, record)
    return read_plan(root / plan.name)


def _prefixed(say: Say, prefix: str, line: str) -> None:
    say(f"{prefix}: {line}")


def run(
    name: str | Path,
    out: str | Path = "runs",
    *,
    overrides: Sequence[str] = (),
    device: str = "auto",
    shrunk: bool = False,
    replace: bool = False,
) -> xr.DataTree:
    """Run a recipe or a plan and open its results.

    Parameters
    ----------
    name : str or path
        A YAML file, or the name of a published model (``biorep models`` lists them).
    out : path
        Root of the store.
    overrides : sequence of str
        Changes ``key=value``, for example ``["network.epochs=10"]``.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    shrunk : bool
        Run a small version that takes seconds, to try it out.
    replace : bool
        Whether overrides may replace results of other settings under the same name.

    Returns
    -------
    xr.DataTree
        See `biorep.open`.

    Examples
    --------
    >>> tree = run("quickstart", "runs")                        # doctest: +SKIP
    """
    plan, context = read(name, overrides, shrunk=shrunk), RunContext(device=device, progress=True)
    record = execute(plan, out, context=context, replace=replace)
    return open_results(record.folder)
