"""Where the runs of a plan go: over the dims that it varied, or over `run`; and what is known about each of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from biorep.errors import StoreError
from biorep.lab.store.runs import PlanRecord
from biorep.lab.store.stages import Stages

if TYPE_CHECKING:
    import xarray as xr


def index(plan: PlanRecord) -> xr.Dataset:
    """Return what is known about every run of a plan, over the dims of the plan or over `run`."""
    import xarray as xr

    finished, stages = {run.name: run for run in plan.runs}, Stages(plan.root)
    runs = [finished.get(name) for name in plan.planned]

    def files(stage: str) -> list[str]:
        return [str(stages.path(*run.stages[stage].split("/"))) if run and stage in run.stages else "" for run in runs]

    columns: dict[str, tuple[list[Any], str, str]] = {
        "status": (["done" if run else "missing" for run in runs], "done, or missing: not finished", "1"),
        "seconds": ([run.seconds if run else np.nan for run in runs], "duration of the run", "s"),
        "code_version": ([run.code_version if run else "" for run in runs], "version of biorep that made the run", "1"),
        "state": (files("state"), "file of the learnt arrays", "1"),
        "representation": (files("representation/test"), "file of the responses to the test images", "1"),
        "warnings": ([json.dumps(run.warnings) if run else "" for run in runs], "what it warned of, a JSON list", "1"),
    }
    for number in sorted({name for run in plan.runs for name in run.numbers if name.startswith("state.")}):
        values = [float(run.numbers.get(number, np.nan)) if run else np.nan for run in runs]
        columns[number.replace(".", "_")] = (values, f"{number.removeprefix('state.')}, of the training", "1")
    dims, coordinates, places = layout(plan, list(plan.planned), whole=True)
    result = xr.Dataset(coords={**{dim: coordinates[dim] for dim in dims}, **along_run(dims, coordinates)})
    for name, (values, meaning, units) in columns.items():
        placed = np.asarray(values)[np.argsort(places)].reshape([len(coordinates[dim]) for dim in dims])
        result[name] = (dims, placed, {"long_name": meaning, "units": units})
    for coordinate in result.coords:
        meaning = "run of the plan" if coordinate == "run" else f"{coordinate}, as planned"
        result[coordinate].attrs.update(long_name=meaning, units="1")
    return result


def layout(plan: PlanRecord, names: list[str], *, whole: bool) -> tuple[list[str], dict[str, Any], np.ndarray]:
    """Return the dims of runs, their coordinates, and the place of each run along the flattened dims.

    The dims of the plan if its runs are a full product and `names` are the `whole` of what there is, otherwise `run`.
    """
    values = {dim: list(dict.fromkeys(at[dim] for at in plan.planned.values())) for dim in plan.dims}
    sizes = [len(values[dim]) for dim in plan.dims]
    if plan.dims and whole and len(plan.planned) == int(np.prod(sizes)):
        position = {dim: {value: number for number, value in enumerate(values[dim])} for dim in plan.dims}
        at = [[position[dim][plan.planned[name][dim]] for name in names] for dim in plan.dims]
        places = np.ravel_multi_index(tuple(map(np.asarray, at)), sizes)
        if len(set(places.tolist())) < len(names):
            raise StoreError(f"two runs of the plan {plan.folder} have the same coordinates")
        return plan.dims, {dim: np.asarray(values[dim]) for dim in plan.dims}, places
    coordinates: dict[str, Any] = {"run": np.asarray(names)}
    coordinates |= {dim: np.asarray([plan.planned[name][dim] for name in names]) for dim in plan.dims}
    return ["run"], coordinates, np.arange(len(names))


def along_run(dims: list[str], coordinates: Mapping[str, Any]) -> dict[str, Any]:
    """Return the coordinates that are no dims of their own."""
    return {name: ("run", values) for name, values in coordinates.items() if name not in dims}
