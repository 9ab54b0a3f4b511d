"""What the functions of this package share: results as flat tables, and libraries that may be missing."""

from __future__ import annotations

import importlib
import json
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np

from biorep.errors import ConfigError, DataError
from biorep.schema import check_finite, check_real, require_variables

if TYPE_CHECKING:
    import xarray as xr

DIMS = {"repeat", "presentation", "neuroid"}


def library(name: str) -> Any:
    """Import an optional library; raise `ConfigError` that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f'cannot import {name} ({error}). Install it with `pip install "biorep[interop]"`.'
        ) from error


def response_table(representation: xr.Dataset) -> xr.DataArray:
    """Return the responses of a representation as a table with flat coordinates.

    Parameters
    ----------
    representation : xr.Dataset
        ``response(presentation, neuroid)`` or with `repeat`, dims in any order.

    Returns
    -------
    xr.DataArray
        ``response(presentation, neuroid)``, floating point. Repeats become presentations, the first repeat of all
        stimuli first, with the coordinate `repetition`. Variables along one of the dims become coordinates, scalar
        coordinates attributes; nothing is an index.

    Raises
    ------
    DataError
        If it is no representation, if it is empty, or if it has other dims.
    NumericalError
        If a response is not finite.
    """
    what = "a representation with `response(presentation, neuroid)`, as biorep.encode returns it"
    representation = require_variables(representation, {"response": ()}, what)
    dims = set(representation["response"].dims)
    if not dims <= DIMS or not dims >= DIMS - {"repeat"}:
        raise DataError(
            f"needs {what}, with or without `repeat`; got 'response' with the dims "
            f"{representation['response'].dims}. Choose one entry of every other dim with .sel or .isel."
        )
    if representation["response"].size == 0:
        raise DataError(f"needs {what}; this one is empty: {dict(representation['response'].sizes)}")
    check_real(representation["response"].values, "response")
    table = _unfold(_flat(representation)).drop_encoding()
    dtype = np.result_type(table.dtype, np.float32)  # differences of unsigned counts would wrap
    table = table.astype(dtype).transpose("presentation", "neuroid")
    check_finite(table.values, "response")
    scalars = {name: coord.item() for name, coord in table.coords.items() if coord.ndim == 0}
    table = table.drop_vars([name for name, coord in table.coords.items() if coord.ndim != 1])
    table = table.assign_coords({name: (c.dims, plain(c.values), c.attrs) for name, c in table.coords.items()})
    return table.assign_attrs({str(n): _storable(v) for n, v in {**representation.attrs, **scalars}.items()})


def coords_along(data: xr.Dataset | xr.DataArray, dim: str) -> dict[str, np.ndarray]:
    """Return the coordinates along `dim` alone as arrays, strings as fixed-width text."""
    return {str(name): plain(coord.values) for name, coord in data.coords.items() if coord.dims == (dim,)}


def plain(values: np.ndarray) -> np.ndarray:
    """Return strings, which netCDF files give back as objects, as fixed-width text; other arrays as they are."""
    return values.astype(str) if values.dtype.kind in "OT" else values


def _flat(representation: xr.Dataset) -> xr.DataArray:
    """Return the responses without indexes, variables along their dims as coordinates."""
    dims = representation["response"].dims
    flat = representation.reset_index([dim for dim in dims if dim in representation.indexes])
    # A coordinate with the name of its dim would be an index again as soon as it is read.
    names: dict[Hashable, str] = {dim: "repetition" if dim == "repeat" else f"{dim}_index" for dim in dims}
    flat = flat.rename_vars({dim: name for dim, name in names.items() if dim in flat.variables})
    return flat.set_coords([name for name in flat.data_vars if name != "response"])["response"]


def _unfold(table: xr.DataArray) -> xr.DataArray:
    """Return repeats as presentations."""
    if "repeat" not in table.dims:
        return table
    if "repetition" not in table.coords:
        table = table.assign_coords(repetition=("repeat", np.arange(table.sizes["repeat"])))
    stacked = table.stack(showing=("repeat", "presentation"), create_index=False)
    return stacked.rename(showing="presentation")


def _storable(value: Any) -> Any:
    """Return an attribute as the file formats take it: booleans as 0 and 1, nested values as JSON."""
    if isinstance(value, bool | np.bool_):
        return int(value)
    if isinstance(value, str | int | float | np.number | np.ndarray):
        return value
    return json.dumps(value, default=str)
