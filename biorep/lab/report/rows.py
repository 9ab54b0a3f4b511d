"""The results of a plan by the rows of its table, read through `biorep.open`: for the page, and for programs of papers.

A row is what was varied but the seed; it has one result per seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biorep.errors import StoreError
from biorep.lab.store.collected import open as open_results
from biorep.lab.store.gather import PADDED
from biorep.lab.store.runs import PlanRecord, RunRecord, read_begun, restoring

if TYPE_CHECKING:
    import xarray as xr

Groups = Mapping[str, Sequence[RunRecord]]


class Results:
    """The results of a plan's folder."""

    def __init__(self, folder: str | Path):
        self.plan = read_begun(folder)

    @cached_property
    def tree(self) -> xr.DataTree:
        """What `biorep.open` returns."""
        return open_results(self.plan.folder)

    def names(self) -> list[str]:
        """Return the names of the measures that a finished run has."""
        names = dict.fromkeys(name for run in self.plan.runs for name in run.stages)
        return [name for name in names if name in self.tree and name not in ("state", "representation")]

    def rows(self, name: str, groups: Groups | None = None) -> dict[str, list[xr.DataTree]]:
        """Return the results of a measure by row, of `groups` of runs or those of the table."""
        import xarray as xr

        if name not in self.tree:
            raise StoreError(f"{self.plan.folder} has no result '{name}'. It has: {', '.join(self.names())}.")
        branch = self.tree[name]
        assert isinstance(branch, xr.DataTree)
        branch = branch.load()
        found = {
            row: [self._of(branch, run) for run in runs if name in run.stages]
            for row, runs in (groups or by_network(self.plan)).items()
        }
        return {row: members for row, members in found.items() if members}

    def states(self, groups: Groups | None = None) -> dict[str, list[xr.DataTree]]:
        """Return the trainings by row; the responses to the test images are the child ``representation``."""
        return {row: [self._state(run) for run in runs] for row, runs in (groups or by_network(self.plan)).items()}

    def _state(self, run: RunRecord) -> xr.DataTree:
        import xarray as xr

        parts = {}
        for group, column in (("/", "state"), ("representation", "representation")):
            if file := self._file(run, column):
                with xr.open_dataset(file) as opened:
                    parts[group] = opened.load()
        return xr.DataTree.from_dict(parts)

    def _file(self, run: RunRecord, column: str) -> str:
        file = str(_selected(self.tree["index"].to_dataset(), run)[column].item())
        if file and not Path(file).is_file():
            raise StoreError(f"{file} of the run '{run.name}' is gone; {restoring(self.plan.root)}")
        return file

    def attributes(self, run: RunRecord) -> dict[str, Any]:
        """Return what the training of a run says about itself; its arrays are not read."""
        import netCDF4

        with netCDF4.Dataset(self._file(run, "state")) as file:
            return {name: file.getncattr(name) for name in file.ncattrs()}

    def numbers(self, column: str) -> dict[str, list[float]]:
        """Return the numbers of a column, ``measure.column``, by row; no result is opened for it."""
        return {row: numbers(runs, column) for row, runs in by_network(self.plan).items()}

    def _of(self, branch: xr.DataTree, run: RunRecord) -> xr.DataTree:
        """Return what a run has in a branch of the tree."""
        import xarray as xr

        if len(self.plan.planned) == 1:
            return branch
        parts: dict[str, Any] = {}
        for node in branch.subtree:
            if not node.has_data:
                continue
            inside = node.path[len(branch.path) :] or "/"
            parent, _, last = inside.rpartition("/")
            if not last.startswith("shape_"):
                parts[inside] = _unpadded(_selected(node.to_dataset(), run))
            elif run.name in node.attrs["runs"].split():  # what differs in shape between runs
                apart = node.to_dataset().sel(run=run.name, drop=True)
                parts[parent or "/"] = parts.get(parent or "/", xr.Dataset()).merge(apart, combine_attrs="override")
        return xr.DataTree.from_dict(parts)


def numbers(runs: Sequence[RunRecord], column: str) -> list[float]:
    """Return the numbers of a column, of the runs that have them."""
    return [float(run.numbers[column]) for run in runs if column in run.numbers]


def _selected(data: xr.Dataset, run: RunRecord) -> xr.Dataset:
    """Return what a run has in a dataset over what the plan varied, or over `run`."""
    if "run" in data.dims:
        return data.sel(run=run.name).drop_vars([name for name in run.coordinates if name in data.coords])
    picked = {dim: value for dim, value in run.coordinates.items() if dim in data.dims}
    return data.sel(picked, drop=True)


def _unpadded(data: xr.Dataset) -> xr.Dataset:
    """Return a dataset without the padding at the ends of its dims."""
    for dim in PADDED:
        if dim in data.dims:
            over = [variable for variable in data.data_vars.values() if variable.dims == (dim,)]
            there = [int(variable.notnull().values.nonzero()[0].max(initial=-1)) + 1 for variable in over]
            data = data.isel({dim: slice(0, max(there, default=data.sizes[dim]))})
    return data


def by_network(plan: PlanRecord) -> dict[str, list[RunRecord]]:
    """Return the runs of a plan grouped by everything that was varied but the seed."""
    groups: dict[str, list[RunRecord]] = {}
    for run in plan.runs:
        parts = [str(v) if k == "model" else f"{k} {v}" for k, v in run.coordinates.items() if k != "seed"]
        groups.setdefault(", ".join(parts) or Path(run.recipe["network"]["kind"]).name, []).append(run)
    return groups


def by_training(plan: PlanRecord) -> dict[str, list[RunRecord]]:
    """Return the groups of `by_network` without those that differ only in what makes no difference to the training."""
    names: dict[tuple[str, ...], list[str]] = {}
    groups = by_network(plan)
    for name, runs in groups.items():
        names.setdefault(tuple(run.stages["state"] for run in runs), []).append(name)
    found = {}
    for same in names.values():
        shared = set.intersection(*(set(name.split(", ")) for name in same))
        found[", ".join(part for part in same[0].split(", ") if part in shared) or same[0]] = groups[same[0]]
    return found
