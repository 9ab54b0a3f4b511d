"""How arrays are packed into netCDF: zlib 4, readable everywhere.

Shuffling bytes helps dense weights and hurts the sparse codes of rectified and winner-takes-all layers (almost
twice the size), so representations go without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from biorep.lab.store.gather import no_value

if TYPE_CHECKING:
    import xarray as xr

#: Rows and columns of a chunk of a large matrix.
CHUNK = (4096, 250)


def encoding_for(dataset: xr.Dataset, *, gaps: bool = False) -> dict[str, dict[str, Any]]:
    """Return the netCDF encoding of every numerical variable of a dataset; with `gaps`, integers may miss values."""
    encoding: dict[str, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        if variable.dtype.kind not in "iuf" or variable.ndim == 0 or name in dataset.dims:
            continue
        packed: dict[str, Any] = {"zlib": True, "complevel": 4, "shuffle": name != "response"}
        if variable.ndim >= 2:
            inner = zip(variable.shape[-2:], CHUNK, strict=True)
            packed["chunksizes"] = (1,) * (variable.ndim - 2) + tuple(max(1, min(n, c)) for n, c in inner)
        if gaps and variable.dtype.kind in "iu" and name not in dataset.coords:
            missing = no_value(variable.dtype)
            if (variable == missing).any():
                packed["_FillValue"] = missing
        encoding[str(name)] = packed
    return encoding
