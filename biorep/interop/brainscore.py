"""Representations as files that Brain-Score opens.

Brain-Score and its BrainIO keep to an old xarray that cannot share an environment with biorep, so the two meet in
a netCDF file. BrainIO makes a MultiIndex of the coordinates of each dim; that takes at least two per dim, and
none may be an index in the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from biorep.atomic import write_with
from biorep.errors import ConfigError, DataError
from biorep.interop.table import response_table

if TYPE_CHECKING:
    import xarray as xr

#: Zlib, because every netCDF library reads it; shuffling makes sparse codes larger.
PACKED = {"zlib": True, "complevel": 4, "shuffle": False}


def to_brainscore(representation: xr.Dataset, path: str | Path) -> None:
    """Write a representation as a netCDF file that Brain-Score opens as a `NeuroidAssembly`.

    In an environment with Brain-Score, ``NeuroidAssembly.from_files(path)`` or
    ``NeuroidAssembly(xr.open_dataarray(path))`` reads it; elsewhere ``xr.open_dataarray(path)`` does.

    Parameters
    ----------
    representation : xr.Dataset
        ``response(presentation, neuroid)`` or with `repeat`, with the coordinates `stimulus_id` and `object_name`
        of the presentations and `neuroid_id` of the neuroids. All other coordinates along these dims are kept.
    path : path
        File to write; replaced if it is there.

    Notes
    -----
    The file holds one variable, ``response(presentation, neuroid)``, floating point. Repeats become presentations
    with the coordinate `repetition`, from 0. The coordinates `layer` and `model` of the neuroids are the attributes
    `layer` and `network` of the representation; to name a brain area, assign a coordinate `region` first.

    Raises
    ------
    DataError
        If it is no representation, or a coordinate is missing.
    NumericalError
        If a response is not finite.
    StoreError
        If the file cannot be written.

    References
    ----------
    Schrimpf, M. et al. (2020). Integrative benchmarking to advance neurally mechanistic models of human
    intelligence. Neuron 108, 413-423.

    Examples
    --------
    >>> to_brainscore(biorep.open("runs/quickstart")["representation"].to_dataset(), "kh.nc")  # doctest: +SKIP
    """
    if not isinstance(path, str | Path):
        raise ConfigError(f"path must be the path of a file, got {path!r}")
    table = response_table(representation)
    wanted = {"stimulus_id": "presentation", "object_name": "presentation", "neuroid_id": "neuroid"}
    missing = [f"{name}({dim})" for name, dim in wanted.items() if name not in table.coords]
    if missing:
        raise DataError(
            f"Brain-Score needs the coordinates {', '.join(missing)}; this representation has "
            f"{', '.join(map(str, table.coords)) or 'none'}. Add them with .assign_coords."
        )
    for name, attribute in (("layer", "layer"), ("model", "network")):
        if name not in table.coords:
            value = str(table.attrs.get(attribute, ""))
            table = table.assign_coords({name: ("neuroid", np.full(table.sizes["neuroid"], value))})
    file = table.to_dataset(name="response", promote_attrs=True)  # as BrainIO writes its own files
    write_with(Path(path), lambda name: file.to_netcdf(name, engine="netcdf4", encoding={"response": PACKED}))
