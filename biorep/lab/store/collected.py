"""All runs of a plan in one file per result, and opening them as one tree.

The stages are the truth; ``collected/<name>.nc`` is made from them and can be removed at any time. It is refreshed by
reading only what has changed. What a plan varied are its dims when the plan is a full product and every finished run
has the result, with gaps for runs that are not finished; otherwise there is one dim `run`. Only `component` and `epoch`
may differ in length between runs and are padded; what differs in another shape is apart, in one group per shape.
"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from biorep import atomic
from biorep.errors import StoreError
from biorep.lab.store import gather
from biorep.lab.store.encoding import encoding_for
from biorep.lab.store.layout import along_run, index, layout
from biorep.lab.store.runs import PlanRecord, RunRecord, read_begun, read_plan, restoring
from biorep.lab.store.stages import Stages

if TYPE_CHECKING:
    import xarray as xr

#: What the states say over `epoch` is collected under a name of its own.
HISTORY, EPOCH = "history", "epoch"
#: Bytes of a collected file up to which it is read whole and closed: netCDF4 does not survive a file with texts that
#: is open twice, and what is open lazily is closed whenever Python comes to it.
IN_MEMORY = 256 * 1024**2
#: Another form of the collected files than this is made anew.
FORM = 4


def open(folder: str | Path) -> xr.DataTree:
    """Open the results of a recipe or a plan, finished or not.

    Parameters
    ----------
    folder : path
        ``<store>/<name of the recipe or plan>``, as `biorep run` and `biorep sweep` print it.

    Returns
    -------
    xr.DataTree
        One child per measure, by its name in the recipe (``readout``, ``spectrum``, ``spectrum/train``), and
        ``history`` (of the trainings, over `epoch`): in memory, or, of files above 256 MiB, read when they are looked
        at. What a plan varied are dims (for example `model` and `seed`), with gaps (NaN) for runs that are not
        finished; when the combinations are not complete there is one dim `run` instead. ``index`` has, for every run,
        its `status`, `seconds`, `code_version`, `warnings` (a JSON list), the numbers of its training (`state_used`,
        ...), and the files of its `state` and its `representation`. For a single run ``state`` and ``representation``
        are children themselves, and the history is in the former.

    Raises
    ------
    StoreError
        If the folder is not that of a plan with at least one finished run, or a result is damaged.

    Examples
    --------
    >>> tree = biorep.open("runs/quickstart")                   # doctest: +SKIP
    >>> tree["spectrum"].alpha.mean("seed")                     # doctest: +SKIP
    """
    import xarray as xr

    plan = read_begun(folder)
    groups = _alone(plan) if len(plan.planned) == 1 else _collected(plan)
    tree = xr.DataTree.from_dict(groups, name=plan.name)
    tree.attrs = {"plan": plan.name, "runs": len(plan.runs), "runs_missing": len(plan.missing)}
    return tree


def collect(folder: str | Path) -> list[Path]:
    """Bring the collected files of a plan up to date, remove those of results that it has no more, return the new ones.

    Raises
    ------
    StoreError
        If a result is damaged or a file cannot be written.
    """
    plan = read_plan(folder)
    if len(plan.planned) == 1:
        return []
    names = collected_names(plan)
    written = [path for name in names if (path := _refresh(plan, name)) is not None]
    kept = {collected_path(plan, name) for name in names}
    for path in (plan.folder / "collected").glob("*.nc"):
        if path not in kept:
            path.unlink(missing_ok=True)
    return written


def collected_names(plan: PlanRecord) -> list[str]:
    """Return the results of a plan that are collected: of all measures, and the history."""
    names = dict.fromkeys(name for run in plan.runs for name in run.stages if not _is_of_network(name))
    return [*names, HISTORY]


def _is_of_network(name: str) -> bool:
    """Return whether a stage is a state or a representation: these are opened one by one."""
    return name.rpartition("/")[2] == "state" or "representation" in name.split("/")


def collected_path(plan: PlanRecord, name: str) -> Path:
    """Return the collected file of a result."""
    return plan.folder / "collected" / f"{name.replace('/', '.')}.nc"


def _alone(plan: PlanRecord) -> dict[str, xr.Dataset | xr.DataTree]:
    """Return the stages of the only run."""
    stages, (run,) = Stages(plan.root), plan.runs
    groups: dict[str, xr.Dataset | xr.DataTree] = {"index": index(plan)}
    for name, address in run.stages.items():
        if name in ("state", "representation/test") or not _is_of_network(name):
            _require(stages, name, run)
            groups[name.partition("/")[0] if _is_of_network(name) else name] = stages.load(*address.split("/"))
    return groups


def _require(stages: Stages, name: str, run: RunRecord) -> None:
    kind, key = run.stages[name].split("/")
    # A state may be large, and only the history is read from it: its checksum is left to those who use it.
    there = stages.finished if name == _source(HISTORY) else stages.done
    if not there(kind, key):
        raise StoreError(
            f"the stage {stages.folder(kind, key)} of the run '{run.name}' is gone; {restoring(stages.root)}"
        )


def _collected(plan: PlanRecord) -> dict[str, xr.Dataset | xr.DataTree]:
    """Return the groups of all collected files, brought up to date first."""
    import xarray as xr

    groups: dict[str, xr.Dataset | xr.DataTree] = {"index": index(plan)}
    folder = plan.folder / "collected"
    for name in filter(partial(_wanted, plan), collected_names(plan)):
        try:
            _refresh(plan, name)
        except StoreError:
            if os.access(folder if folder.is_dir() else plan.folder, os.W_OK):
                raise
            groups |= _made(plan, name)  # a folder that may only be read
            continue
        path = collected_path(plan, name)
        tree = xr.open_datatree(path, engine="netcdf4")
        if path.stat().st_size <= IN_MEMORY:
            tree.load().close()
        groups |= {node.path[1:]: node.to_dataset(inherit=False) for node in tree.subtree if node.has_data}
    return groups


def _wanted(plan: PlanRecord, name: str) -> dict[str, str]:
    """Return the runs that have a result, with the addresses of their stages."""
    source = _source(name)
    return {run.name: run.stages[source] for run in plan.runs if source in run.stages}


def _source(name: str) -> str:
    """Return the name of the stages that a collected result is made from."""
    return "state" if name == HISTORY else name


def _stamp(plan: PlanRecord, kind: str) -> str:
    """Return what a collected file was made from."""
    stages = _wanted(plan, kind)
    whole = len(stages) == len(plan.runs)
    return json.dumps({"form": FORM, "dims": plan.dims, "planned": plan.planned, "whole": whole, "stages": stages})


def _stamp_of(path: Path) -> str:
    """Return what a collected file says that it was made from; empty if it is not there or cannot be read."""
    import netCDF4

    try:
        with netCDF4.Dataset(path) as file:
            return str(file.getncattr("made_from"))
    except (OSError, AttributeError, RuntimeError):
        return ""


def _refresh(plan: PlanRecord, kind: str) -> Path | None:
    """Write the collected file of a kind if it is out of date."""
    path = collected_path(plan, kind)
    wanted = _wanted(plan, kind)
    if not wanted or _stamp_of(path) == _stamp(plan, kind):
        return None
    import xarray as xr

    groups = _made(plan, kind)
    where = f"the data are in the group {kind}, for example xarray.open_dataset(path, group={kind!r})"
    root = xr.Dataset(attrs={"title": f"biorep {kind}", "comment": where, "made_from": _stamp(plan, kind)})
    tree = xr.DataTree.from_dict({"/": root, **groups})
    encoding = {f"/{name}": encoding_for(dataset, gaps=True) for name, dataset in groups.items()}

    atomic.write_with(path, partial(tree.to_netcdf, engine="netcdf4", encoding=encoding))
    return path


def _made(plan: PlanRecord, kind: str) -> dict[str, xr.Dataset]:
    """Return the groups of a kind, from the collected file as far as it is right and from the stages."""
    results = _kept(plan, kind)
    stages = Stages(plan.root)
    for run in plan.runs:
        if (source := _source(kind)) in run.stages and run.name not in results:
            _require(stages, source, run)
            path, only = stages.path(*run.stages[source].split("/")), EPOCH if kind == HISTORY else None
            results[run.name] = gather.read(path, only)
    results = {run.name: results[run.name] for run in plan.runs if run.name in results}  # in the order of the plan
    dims, coordinates, places = layout(plan, list(results), whole=len(results) == len(plan.runs))
    axes = gather.Axes(list(results), places, {dim: coordinates[dim] for dim in dims}, along_run(dims, coordinates))
    found = gather.stack(results, axes, f"biorep {kind} of the plan {plan.name}")
    return {kind if path == "/" else f"{kind}{path}": dataset for path, dataset in found.items()}


def _kept(plan: PlanRecord, kind: str) -> dict[str, gather.Result]:
    """Return the results that the collected file has already, by run."""
    path = collected_path(plan, kind)
    try:
        before = json.loads(_stamp_of(path))
        if before["form"] != FORM or len(before["stages"]) < 2:
            return {}
        old = PlanRecord(plan.folder, before["dims"], [], {}, before["planned"])
        wanted = _wanted(plan, kind)
        dims, _, places = layout(old, list(before["stages"]), whole=before["whole"])
        rows = {
            name: int(place)
            for (name, key), place in zip(before["stages"].items(), places, strict=True)
            if wanted.get(name) == key
        }
        found = gather.unstack(path, dims, rows)
    except (ValueError, KeyError, OSError, RuntimeError):
        return {}
    return {
        run: {p.removeprefix(f"/{kind}") or "/": group for p, group in result.items()} for run, result in found.items()
    }
