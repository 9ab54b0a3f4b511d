"""Representations for representational similarity analysis with rsatoolbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from biorep.interop.table import coords_along, library, response_table

if TYPE_CHECKING:
    import rsatoolbox
    import xarray as xr


def to_rsatoolbox(representation: xr.Dataset) -> rsatoolbox.data.Dataset:
    """Return a representation as a dataset of rsatoolbox.

    Parameters
    ----------
    representation : xr.Dataset
        ``response(presentation, neuroid)`` or with `repeat`.

    Returns
    -------
    rsatoolbox.data.Dataset
        Measurements (presentation, neuroid), float64. The coordinates of the presentations are its descriptors of
        observations (`stimulus_id`, `object_name`, `label`, ..., numbers as floating point), those of the neuroids
        its descriptors of channels, the attributes its descriptors. Repeats become presentations with the descriptor
        `repetition`, from 0, which cross-validated distances take as ``cv_descriptor``.

    Raises
    ------
    DataError
        If it is no representation.
    NumericalError
        If a response is not finite.
    ConfigError
        If rsatoolbox is not installed.

    References
    ----------
    Nili, H. et al. (2014). A toolbox for representational similarity analysis. PLoS Computational Biology 10,
    e1003553.

    Examples
    --------
    >>> data = to_rsatoolbox(representation)                                             # doctest: +SKIP
    >>> rsatoolbox.rdm.calc_rdm(data, method="euclidean", descriptor="object_name")      # doctest: +SKIP
    """
    table = response_table(representation)
    return library("rsatoolbox.data").Dataset(
        table.values.astype(np.float64),
        descriptors=table.attrs,
        obs_descriptors={name: _floating(values) for name, values in coords_along(table, "presentation").items()},
        channel_descriptors=coords_along(table, "neuroid"),
    )


def _floating(values: np.ndarray) -> np.ndarray:
    """Return integers as floating point: rsatoolbox fills in NaN when it averages observations, and warns."""
    return values.astype(np.float64) if values.dtype.kind in "biu" else values
