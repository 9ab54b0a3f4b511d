"""Open the results of a plan as one tree, with what was varied as dims."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biorep.errors import StoreError
from biorep.store.runs import PlanRecord, RunRecord, read_plan
from biorep.store.stages import Stages

if TYPE_CHECKING:
    import xarray as xr

#: Kinds that are collected over the runs of a plan; states and representations are opened one by one.
COLLECTED = ("readout", "surrogate", "spectrum", "robustness")
#: Too large to be copied, or different in shape for every network.
PER_STAGE = ("title", "history", "created_at", "warnings", "biorep_config", "biorep_config_hash", "biorep_seed")
LEFT_OUT = {
    "readout": ("readout_weights", "readout_bias", "fitted_stimulus_id", "class"),
    "surrogate": ("log_gain", "offset", "fitted_stimulus_id"),
}


def open(folder: str | Path) -> xr.DataTree:
    """Open the results of a recipe or a plan.

    Parameters
    ----------
    folder : path
        ``<store>/<name of the recipe or plan>``, as `biorep run` prints it.

    Returns
    -------
    xr.DataTree
        One child per kind of result: ``readout``, ``surrogate``, ``spectrum``, ``robustness``. What a plan varied are
        dims (for example `network` and `seed`); when the combinations are not complete there is one dim `run` instead.
        For a single run also ``state`` and ``representation``.

    Raises
    ------
    StoreError
        If the folder is not that of a finished run or plan, or a result is damaged.

    Examples
    --------
    >>> tree = biorep.open("runs/quickstart")                   # doctest: +SKIP
    >>> tree["spectrum"].alpha.mean("seed")                     # doctest: +SKIP
    """
    import xarray as xr

    plan = read_plan(folder)
    stages = Stages(plan.root)
    groups: dict[str, xr.Dataset] = {}
    kinds = COLLECTED if len(plan.runs) > 1 else ("state", "representation", *COLLECTED)
    for kind in kinds:
        members = [run for run in plan.runs if kind in run.stages]
        if not members:
            continue
        trees = [_load(stages, kind, run) for run in members]
        for path in sorted(set().union(*trees)):
            with_path = [(run, tree[path]) for run, tree in zip(members, trees, strict=True) if path in tree]
            name = kind if path == "/" else f"{kind}{path}"
            groups[name] = _combine(plan, with_path, kind)
    result = xr.DataTree.from_dict(groups, name=plan.name)
    result.attrs = {"plan": plan.name, "runs": len(plan.runs)}
    return result


def _load(stages: Stages, kind: str, run: RunRecord) -> dict[str, xr.Dataset]:
    key = run.stages[kind]
    if not stages.done(kind, key):
        raise StoreError(
            f"the stage {stages.folder(kind, key)} of the run '{run.name}' is gone; run the plan again to make it anew"
        )
    tree = stages.load_tree(kind, key)
    return {node.path: node.to_dataset(inherit=False) for node in tree.subtree if node.path == "/" or node.has_data}


def _combine(plan: PlanRecord, members: list[tuple[RunRecord, Any]], kind: str) -> xr.Dataset:
    import xarray as xr

    if len(plan.runs) == 1:
        return members[0][1]
    datasets = [dataset.drop_vars(LEFT_OUT.get(kind, ()), errors="ignore") for _, dataset in members]
    attrs = {"title": f"biorep {kind} of the plan {plan.name}", **_common_attrs(datasets), **_unequal(datasets)}
    datasets = [dataset.drop_vars(attrs["left_out"].split(), errors="ignore") for dataset in datasets]
    datasets = [dataset.drop_attrs(deep=False) for dataset in datasets]
    values = {dim: list(dict.fromkeys(run.coordinates[dim] for run, _ in members)) for dim in plan.dims}
    complete = len(members) == len(list(itertools.product(*values.values())))
    if not complete:
        combined = xr.concat(datasets, "run", join="outer", combine_attrs="drop", coords="minimal", compat="override")
        coordinates = {dim: ("run", [run.coordinates[dim] for run, _ in members]) for dim in plan.dims}
        combined = combined.assign_coords(run=[run.name for run, _ in members], **coordinates)
    else:
        placed = [
            dataset.expand_dims({dim: [run.coordinates[dim]] for dim in plan.dims})
            for (run, _), dataset in zip(members, datasets, strict=True)
        ]
        combined = _nest(placed, plan.dims, values)
    combined.attrs = attrs
    return combined


def _common_attrs(datasets: list[xr.Dataset]) -> dict[str, Any]:
    """Return the attributes that are equal in all runs; "varies" for those that are not."""
    first = datasets[0].attrs
    kept = {name: value for name, value in first.items() if name not in PER_STAGE}
    return {n: v if all(str(d.attrs.get(n)) == str(v) for d in datasets) else "varies" for n, v in kept.items()}


def _unequal(datasets: list[xr.Dataset]) -> dict[str, str]:
    """Return as `left_out` what cannot be aligned: dims of different lengths, coordinates of different stimuli."""
    sizes: dict[str, set[int]] = {}
    for dataset in datasets:
        for dim, size in dataset.sizes.items():
            if dim not in dataset.indexes:
                sizes.setdefault(str(dim), set()).add(size)
    unequal = {dim for dim, found in sizes.items() if len(found) > 1}
    names = {str(n) for dataset in datasets for n, v in dataset.variables.items() if unequal & set(map(str, v.dims))}
    shared = [n for n in datasets[0].coords if n not in datasets[0].dims and all(n in d.coords for d in datasets)]
    names |= {str(n) for n in shared if any(not d[n].variable.equals(datasets[0][n].variable) for d in datasets)}
    return {"left_out": " ".join(sorted(names))}


def _nest(placed: list[xr.Dataset], dims: list[str], values: dict[str, list[Any]]) -> xr.Dataset:
    """Concatenate one dim after the other, the innermost first; only `component` may differ in length."""
    import xarray as xr

    for dim in reversed(dims):
        outer = [d for d in dims if d != dim]
        groups: dict[tuple[Any, ...], list[xr.Dataset]] = {}
        for dataset in placed:
            key = tuple(tuple(dataset[d].values.tolist()) if d in dataset.dims else None for d in outer)
            groups.setdefault(key, []).append(dataset)
        placed = [
            xr.concat(group, dim, data_vars="all", coords="minimal", compat="override", join="outer")
            for group in groups.values()
        ]
    (combined,) = placed
    return combined.reindex({dim: values[dim] for dim in dims})
