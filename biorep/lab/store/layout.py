"""Where the runs of a plan go: over the dims that it varied, or over `run`; and what is known about each of them."""

from __future__ import annotations

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

    finished = {run.name: run for run in plan.runs}
    columns: dict[str, list[Any]] = {name: [] for name in ("status", "seconds", "code_version", *_FILES)}
    for name in plan.planned:
        run = finished.get(name)
        columns["status"].append("missing" if run is None else "done")
        columns["seconds"].append(np.nan if run is None else run.seconds)
        columns["code_version"].append("" if run is None else run.code_version)
        for column, stage in _FILES.items():
            address = None if run is None else run.stages.get(stage)
            columns[column].append("" if address is None else str(Stages(plan.root).path(*address.split("/"))))
    dims, coordinates, places = layout(plan, list(plan.planned), whole=True)
    shape = tuple(len(coordinates[dim]) for dim in dims)
    result = xr.Dataset(coords={**{dim: coordinates[dim] for dim in dims}, **along_run(dims, coordinates)})
    for name, values in columns.items():
        placed = np.empty(int(np.prod(shape)), dtype=float if name == "seconds" else object)
        placed[places] = values
        flat = placed if name == "seconds" else placed.astype(str)
        result[name] = (dims, flat.reshape(shape), {"long_name": _INDEX[name], "units": "1"})
    result["seconds"].attrs["units"] = "s"
    for coordinate in result.coords:
        meaning = "run of the plan" if coordinate == "run" else f"{coordinate}, as planned"
        result[coordinate].attrs.update(long_name=meaning, units="1")
    return result


#: Column of the index -> name of the stage in the recipe.
_FILES = {"state": "state", "representation": "representation/test"}
_INDEX = {
    "status": "done, or missing: not finished",
    "seconds": "duration of the run",
    "code_version": "version of biorep that made the run",
    "state": "file of the learnt arrays",
    "representation": "file of the responses to the test images",
}


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
