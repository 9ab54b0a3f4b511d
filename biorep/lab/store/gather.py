"""Put the results of many runs into arrays over what was varied, quickly: thousands of small files.

Files are read with netCDF4 itself, because opening one with xarray costs ten times as much.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

#: The dims that are padded; they count from 1.
PADDED = ("component", "epoch")
#: Attributes that are different for every stage and say nothing about all of them.
PER_STAGE = ("title", "history", "created_at", "warnings", "biorep_config", "biorep_config_hash", "biorep_seed",
             "apart")  # fmt: skip
#: Attributes of the file format, which are written anew.
FORMAT = ("_FillValue", "coordinates")


@dataclass
class Group:
    """One group of the result of one run; `coordinates` are names of variables."""

    variables: dict[str, xr.Variable]
    coordinates: set[str]
    attrs: dict[str, Any]


#: Path of a group, "/" or "/linf" -> group.
Result = dict[str, Group]


def read(path: Path, only: str | None = None) -> Result:
    """Read the result of a run: all but the variables that its attribute `apart` names, or only those over one dim."""
    import netCDF4

    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        apart = set(str(file.getncattr("apart")).split()) if "apart" in file.ncattrs() else set()
        return dict(_groups(file, apart, only))


def _groups(file: Any, left_out: set[str], only: str | None) -> Iterator[tuple[str, Group]]:
    import xarray as xr

    variables, coordinates = {}, set()
    for name, variable in file.variables.items():
        attrs = {key: variable.getncattr(key) for key in variable.ncattrs()}
        coordinates |= set(attrs.get("coordinates", "").split()) | ({name} if name in file.dimensions else set())
        if name not in left_out and (only is None or variable.dimensions == (only,)):
            kept = {key: value for key, value in attrs.items() if key not in FORMAT}
            variables[name] = xr.Variable(variable.dimensions, np.asarray(variable[...]), kept, fastpath=True)
    attrs = {key: file.getncattr(key) for key in file.ncattrs()}
    coordinates |= set(attrs.pop("coordinates", "").split())
    if variables:
        yield file.path, Group(variables, coordinates & set(variables), attrs)
    for group in file.groups.values():
        yield from _groups(group, left_out, only)


@dataclass(frozen=True)
class Axes:
    """Where the runs go."""

    names: list[str]
    places: np.ndarray  # (run,): place of each run along the flattened dims; the other places are gaps
    dims: dict[str, Any]  # dims of their own -> coordinate values
    along: dict[str, Any]  # other coordinates as ``(dim, values)``

    @property
    def sizes(self) -> list[int]:
        """Lengths of the dims."""
        return [len(values) for values in self.dims.values()]


def stack(results: Mapping[str, Result], axes: Axes, title: str) -> dict[str, xr.Dataset]:
    """Stack the results of runs: path of the group -> data over the dims.

    What differs in shape between runs is in ``<path>/shape_<n>`` instead, over `run`, and named in the attribute
    `left_out`; the attribute `runs` of such a group names its runs.
    """
    stacked = {}
    for path in dict.fromkeys(path for name in axes.names for path in results[name]):
        groups = {name: results[name][path] for name in axes.names if path in results[name]}
        unlike, odd = _unlike(groups), _odd(groups)
        stacked[path], left = _stack_group(groups, axes, unlike, odd)
        stacked[path].attrs = {
            "title": title,
            **common([group.attrs for group in groups.values()]),
            "left_out": " ".join(sorted(left)),
        }
        for number, (names, part) in enumerate(_by_shape(groups, unlike, odd), 1):
            # A tree wants one index `run` in a branch: where it is the dim of the plan, other runs are gaps.
            alone = Axes(names, np.arange(len(names)), {"run": np.asarray(names)}, {})
            dataset, _ = _stack_group(part, axes if "run" in axes.dims else alone, set())
            dataset.attrs["runs"] = " ".join(names)
            stacked[f"{path.rstrip('/')}/shape_{number}"] = dataset
    return stacked


def _unlike(groups: Mapping[str, Group]) -> set[Any]:
    """Return the dims that differ between runs, in length or in what their coordinates say of their places."""
    seen: dict[Any, set[Any]] = {}
    for group in groups.values():
        for dim, size in {dim: n for v in group.variables.values() for dim, n in v.sizes.items()}.items():
            along = sorted(n for n in group.coordinates if group.variables[n].dims == (dim,))
            values = tuple((n, *group.variables[n].values.tolist()) for n in along)
            seen.setdefault(dim, set()).add((size, values))
    return {dim for dim, found in seen.items() if len(found) > 1 and dim not in PADDED}


def _odd(groups: Mapping[str, Group]) -> set[str]:
    """Return the variables that have other dims in some runs than in others."""
    seen: dict[str, set[Any]] = {}
    for group in groups.values():
        for name, variable in group.variables.items():
            seen.setdefault(name, set()).add(variable.dims)
    return {name for name, found in seen.items() if len(found) > 1}


def _by_shape(groups: Mapping[str, Group], unlike: set[str], odd: set[str]) -> list[tuple[list[str], dict[str, Group]]]:
    """Return what has dims that differ, as groups of runs in which it does not."""
    if not unlike and not odd:
        return []
    found: dict[Any, dict[str, Group]] = {}
    for name, group in groups.items():
        dims = {dim for n, v in group.variables.items() if n in odd for dim in v.dims}
        kept = {n: v for n, v in group.variables.items() if unlike & set(v.dims) or n in odd | dims}
        said = {n: str(v.values.tolist()) if n in group.coordinates else "" for n, v in kept.items()}
        shape = tuple(sorted((n, v.dims, v.values.shape, said[n]) for n, v in kept.items()))
        found.setdefault(shape, {})[name] = Group(kept, group.coordinates & set(kept), group.attrs)
    return [(list(part), part) for part in found.values()]


def _stack_group(
    groups: Mapping[str, Group], axes: Axes, unlike: set[str], odd: Collection[str] = ()
) -> tuple[xr.Dataset, list[str]]:
    """Return one group over the dims, and the names of what could not be put there."""
    import xarray as xr

    place = dict(zip(axes.names, axes.places.tolist(), strict=True))
    data, coordinates, left = {}, {}, []
    longest = _longest(groups)
    for name in dict.fromkeys(name for group in groups.values() for name in group.variables):
        members = {run: group.variables[name] for run, group in groups.items() if name in group.variables}
        first = next(iter(members.values()))
        if name in PADDED:
            continue
        if unlike & set(first.dims) or name in odd:
            left.append(name)
        elif any(name in group.coordinates for group in groups.values()):
            if all(one is first or np.array_equal(one.values, first.values) for one in members.values()):
                coordinates[name] = first
            else:
                left.append(name)
        else:
            where = np.array([place[run] for run in members])
            shape = tuple(longest.get(dim, size) for dim, size in zip(first.dims, first.shape, strict=True))
            values = _filled([member.values for member in members.values()], where, int(np.prod(axes.sizes)), shape)
            called = f"result_{name}" if name in axes.dims or name in axes.along else name  # a setting of that name
            data[called] = ((*axes.dims, *first.dims), values.reshape(*axes.sizes, *values.shape[1:]), first.attrs)
    dataset = xr.Dataset(data, coords={**coordinates, **axes.dims, **axes.along})
    for dim in set(PADDED) & set(dataset.dims):
        known = [group.variables[dim].attrs for group in groups.values() if dim in group.variables]
        dataset[dim] = (dim, np.arange(1, dataset.sizes[dim] + 1), known[0] if known else {})
    return dataset, left


def _longest(groups: Mapping[str, Group]) -> dict[Any, int]:
    """Return the largest length of each padded dim."""
    sizes = (one for group in groups.values() for v in group.variables.values() for one in v.sizes.items())
    return dict(sorted({(str(dim), size) for dim, size in sizes if dim in PADDED}))


def _filled(values: Sequence[np.ndarray], places: np.ndarray, slots: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return (slot, ...) with the values of the runs at their places, padded to a shape and filled with "no value"."""
    dtype = np.result_type(*{v.dtype for v in values})
    if dtype.kind in "OUS":
        dtype = np.dtype(object)
    stacked = np.full((slots, *shape), no_value(dtype), dtype)
    for place, value in zip(places, values, strict=True):
        stacked[(place, *(slice(n) for n in value.shape))] = value
    return stacked


def no_value(dtype: np.dtype) -> Any:
    """Return what stands for a missing value: NaN, the smallest integer (unsigned: the largest), or the empty text."""
    if dtype.kind in "iu":
        return np.iinfo(dtype).min if dtype.kind == "i" else np.iinfo(dtype).max
    return np.nan if dtype.kind == "f" else ""


def common(attrs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the attributes that are equal in all runs; "varies" for those that are not."""
    return {
        name: value if {str(other.get(name)) for other in attrs} == {str(value)} else "varies"
        for name, value in attrs[0].items()
        if name not in PER_STAGE
    }


def unstack(path: Path, dims: Sequence[str], rows: Mapping[str, int]) -> dict[str, Result]:
    """Take a collected file apart: the results of the runs at the given places along its flattened dims."""
    import xarray as xr

    results: dict[str, Result] = {name: {} for name in rows}
    groups = read(path)
    if any("/shape_" in where for where in groups):
        return {}
    for where, group in groups.items():
        group.attrs.pop("left_out", None)
        group.attrs.pop("made_from", None)
        flat = {}
        for name, variable in group.variables.items():
            if name not in group.coordinates and variable.dims[: len(dims)] == tuple(dims):
                rest = variable.values.shape[len(dims) :]
                flat[name] = (variable.dims[len(dims) :], variable.values.reshape(-1, *rest), variable.attrs)
        fixed = {n: v for n, v in group.variables.items() if n not in flat and not set(v.dims) & set(dims)}
        for run, row in rows.items():
            own = {
                n: xr.Variable(inner, values[row], attrs, fastpath=True) for n, (inner, values, attrs) in flat.items()
            }
            results[run][where] = Group({**own, **fixed}, group.coordinates & set(fixed), group.attrs)
    return results
