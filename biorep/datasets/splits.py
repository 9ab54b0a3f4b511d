"""Splits: which presentations are learnt from, looked at, and tested on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from biorep import rng
from biorep.errors import DataError, choose
from biorep.schema import SPLITS

if TYPE_CHECKING:
    import xarray as xr

#: What can be loaded; "train+validation" is all of the published training set.
PARTS = (*SPLITS, "train+validation")
VALIDATION_SEED = 0
#: What the splits are called in arrays, files and folders of others.
_OTHERS = {"training": "train", "val": "validation", "valid": "validation", "testing": "test"}


def split_word(word: str) -> str | None:
    """Return our word for a split of somebody's data, ``validation`` for ``Val``; None if it is none."""
    found = _OTHERS.get(word.lower(), word.lower())
    return found if found in SPLITS else None


def check_part(split: str) -> str:
    """Return a split if it is one; raise `ConfigError` otherwise."""
    return choose(split, PARTS, "split")


def validation_part(name: str, n: int) -> np.ndarray:
    """Return the indices of the validation images among `n` training images: 5000, or a tenth of small sets.

    Parameters
    ----------
    name : str
        What the draw is named by: the word of the dataset, ``own`` for users' data.
    n : int
        Number of training images.
    """
    count = 5000 if n >= 50_000 else max(1, n // 10)
    return rng.stream(VALIDATION_SEED, "validation", name, n).permutation(n)[:count]


def assigned_test(n: int) -> np.ndarray:
    """Return the splits of `n` presentations that come without: a seeded fifth (at least one) is for testing."""
    split = np.full(n, "train", dtype="<U10")
    split[rng.stream(0, "test-split", n).permutation(n)[: max(1, n // 5)]] = "test"
    return split


def select(dataset: xr.Dataset, split: str, name: str = "the dataset") -> xr.Dataset:
    """Return the presentations of a split of your own data; a class of your own calls it in `load`.

    Parameters
    ----------
    dataset : xr.Dataset
        All presentations, with the coordinate `split`. Without any of ``validation``, a seeded tenth of ``train``
        becomes it.
    split : str
        ``train``, ``validation``, ``test`` or ``train+validation``.
    name : str
        For messages.

    Raises
    ------
    ConfigError
        If the split is unknown.
    DataError
        If there is no such presentation.

    Examples
    --------
    >>> from biorep.datasets import from_arrays
    >>> data = from_arrays(np.random.default_rng(0).random((20, 4, 4)))
    >>> select(data, "validation").sizes["presentation"]
    2
    """
    check_part(split)
    if "split" not in getattr(dataset, "coords", ()):
        raise DataError(f"{name} has no coordinate 'split'; biorep.datasets.from_arrays sets it")
    splits = dataset["split"].values.astype("<U10")
    train = np.flatnonzero(splits == "train")
    if "validation" not in splits and len(train) >= 2:
        splits[train[validation_part("own", len(train))]] = "validation"
        dataset = dataset.assign_coords(split=("presentation", splits, dataset["split"].attrs))
    keep = np.flatnonzero(np.isin(splits, split.split("+")))
    if len(keep) == 0:
        raise DataError(f"{name} has no presentations of the split '{split}' (it has {', '.join(sorted(set(splits)))})")
    return dataset.isel(presentation=keep)
