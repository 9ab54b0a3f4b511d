"""What figures take: results as functions return them, and as `biorep.open` gives them, over seeds and with gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from biorep.errors import ConfigError
from biorep.schema import require_variables

Result = xr.Dataset | xr.DataTree
#: By the name that stands in the legend: results of seeds, in a list or over the dim `seed`.
Results = Mapping[str, Result | Sequence[Result]]


def by_name(results: Results, needs: Mapping[str, tuple[str, ...]], what: str) -> dict[str, list[xr.Dataset]]:
    """Return the results of each name, one Dataset per seed; those of runs that are not finished are left out.

    Parameters
    ----------
    results : mapping of str to one or several of xr.Dataset or xr.DataTree
    needs : mapping of str to tuple of str
        Variables that each of them must have, with their dims.
    what : str
        What is wanted and where it comes from.

    Raises
    ------
    ConfigError
        If they are no such mapping, or nothing is left to draw.
    DataError
        If one of them is something else, or has other dims than `seed` beside those that are drawn.
    """
    given = listed(results, what)
    found = {name: [one for data in several for one in _by_seed(data, needs, what)] for name, several in given.items()}
    found = {name: parts for name, parts in found.items() if parts}
    if not found:
        raise ConfigError(f"there is nothing to draw: needs {what}")
    return found


def listed(results: Any, what: str) -> dict[str, list[Any]]:
    """Return results by name as lists; one of them may stand alone."""
    if not isinstance(results, Mapping):
        raise ConfigError(f"needs a mapping of names to {what}, got {type(results).__name__}")
    alone = {name: isinstance(given, Result) for name, given in results.items()}
    if wrong := [name for name, given in results.items() if not alone[name] and not isinstance(given, list | tuple)]:
        kind = type(results[wrong[0]]).__name__
        raise ConfigError(f"'{wrong[0]}' is {kind}; needs {what}, one or a list with one per seed")
    return {name: [given] if alone[name] else list(given) for name, given in results.items()}


def _by_seed(data: Any, needs: Mapping[str, tuple[str, ...]], what: str) -> list[xr.Dataset]:
    data = data.to_dataset() if isinstance(data, xr.DataTree) else data
    several = isinstance(data, xr.Dataset) and "seed" in data.dims
    parts = [data.isel(seed=number) for number in range(data.sizes["seed"])] if several else [data]
    parts = [require_variables(part, needs, what, numbers=True) for part in parts]
    return [part for part in parts if all(part[name].notnull().any() for name in needs)]
