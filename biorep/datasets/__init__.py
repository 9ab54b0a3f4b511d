"""Datasets: images in a stated value range, with labels, as `xr.Dataset`; every presentation knows its split.

`load` reads a known data set or a path of your own, `from_arrays` takes arrays, `gratings` makes stimuli, `available`
lists what is at hand. One file per format, each with its settings, and a line in `biorep.tables.DATASETS`: `known.py`
has what registered sets share, `registry.py` says what there is, `files.py` finds, checks and fetches the files.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from biorep.contracts import Dataset
from biorep.datasets.arrays import from_arrays
from biorep.datasets.gratings import gratings
from biorep.datasets.known import Known
from biorep.datasets.splits import PARTS, select
from biorep.errors import ConfigError, choose
from biorep.schema import subset
from biorep.tables import DATASETS

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["available", "content_sha256", "from_arrays", "gratings", "load", "select", "subset"]


def load(name: str | Path, split: str = "train", root: str | Path | None = None, **settings: Any) -> xr.Dataset:
    """Load a dataset.

    Parameters
    ----------
    name : str
        ``digits``, ``mnist``, ``fashion-mnist``, ``cifar10``, ``natural-patches``, the path of an `.npz`, a netCDF
        file or a folder of images, or ``file.py:Class``.
    split : str
        ``train``, ``validation``, ``test``, or ``train+validation`` for all of the published training set.
        The validation split is a recorded seeded part of it: 5000 images, 10 % of sets below 50 000.
    root : path, optional
        Folder that holds the files of a known data set; by default ``BIOREP_DATA``, ``shared/data`` beside a checkout,
        the user's cache and the mirrors are tried in this order.
    **settings
        As in a recipe, for example ``limit=100``, a seeded subset of so many images; ``source``, ``size``, ``count``
        and ``seed`` of natural patches. See the classes of `biorep.tables.DATASETS`.

    Returns
    -------
    xr.Dataset
        ``image(presentation, ...)`` float32 with its attribute `value_range`, ``label(presentation)``, and the
        coordinates `stimulus_id`, `object_name`, `split`.

    Raises
    ------
    DataError
        If files are missing or damaged.
    ConfigError
        If the name, the split or a setting is unknown, or a setting has a value that is not allowed.

    Examples
    --------
    >>> data = load("digits", split="test")
    >>> dict(data.sizes), data.image.attrs["value_range"]
    ({'presentation': 360, 'row': 8, 'column': 8}, [0.0, 1.0])
    """
    choose(split, PARTS, "split")
    DATASETS.load(str(name))  # an unknown word is told in one sentence, without a place in a document
    dataset = cast(Dataset, DATASETS.parse({"name": str(name), **settings}))
    if root is None:
        return dataset.load(split)
    if not isinstance(dataset, Known):
        raise ConfigError(
            f"root is the folder of known data sets, but '{name}' is your own; give its whole path as name"
        )
    return dataset.load(split, root)


def available(root: str | Path | None = None) -> list[dict[str, Any]]:
    """Return one row per data set: name, title, licence, where its files are (``None``: not here), downloadable."""
    return [_row(word, DATASETS.load(word), root) for word in DATASETS]


def _row(word: str, kind: type[Any], root: str | Path | None) -> dict[str, Any]:
    if not issubclass(kind, Known):  # made by us, or of an installed package, which knows where its files are
        title = (kind.__doc__ or "").partition("\n")[0]
        where = "made, not read" if kind.__module__.startswith("biorep.") else DATASETS[word]
        return {"name": word, "title": title, "licence": "", "where": where, "downloadable": False}
    known = kind(name=word)
    entry = known.entry
    return {
        "name": word,
        "title": entry.title,
        "licence": entry.licence,
        "where": known.where(root),
        "downloadable": bool(entry.mirrors or entry.archive),
    }


def content_sha256(dataset: xr.Dataset) -> str:
    """Return the SHA-256 of the images and labels that a dataset holds, recorded in provenance."""
    total = hashlib.sha256(np.ascontiguousarray(dataset["image"].values).tobytes())
    total.update(np.ascontiguousarray(dataset["label"].values).tobytes())
    return total.hexdigest()
