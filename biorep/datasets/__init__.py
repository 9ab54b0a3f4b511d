"""Datasets: images in a stated value range, with labels, as `xr.Dataset`; every presentation knows its split.

`load` reads a known data set or a path of your own, `from_arrays` takes arrays, `gratings` makes stimuli, `available`
lists what is at hand. One file per format; `registry.py` finds the files and checks them, `download.py` fetches them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biorep import rng
from biorep.datasets import cifar10, digits, idx, natural_patches, own, registry
from biorep.datasets.gratings import gratings
from biorep.datasets.own import from_arrays
from biorep.errors import ConfigError, DataError, choose
from biorep.schema import SPLITS

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["available", "fingerprint", "from_arrays", "gratings", "load"]

#: "train+validation" is all of the published training set.
PARTS = (*SPLITS, "train+validation")
VALIDATION_SEED = 0

_ARRAYS = {"digits": digits.arrays, "mnist": idx.arrays, "fashion-mnist": idx.arrays, "cifar10": cifar10.arrays}
_CLASSES = {"digits": digits.CLASSES, "cifar10": cifar10.CLASSES, **idx.CLASSES}
_MAXIMUM = {"digits": digits.MAXIMUM}


def load(
    name: str | Path,
    split: str = "train",
    root: str | Path | None = None,
    *,
    limit: int | None = None,
    source: str = "auto",
    size: int = 16,
    count: int = 20_000,
    seed: int = 0,
) -> xr.Dataset:
    """Load a dataset.

    Parameters
    ----------
    name : str
        ``digits``, ``mnist``, ``fashion-mnist``, ``cifar10``, ``natural-patches``, or the path of an `.npz`, a
        netCDF file or a folder of images.
    split : str
        ``train``, ``validation``, ``test``, or ``train+validation`` for all of the published training set.
        The validation split is a recorded seeded part of it: 5000 images, 10 % of sets below 50 000.
    root : path, optional
        Folder that holds the files; by default ``BIOREP_DATA``, ``shared/data`` beside a checkout, the user's
        cache and the mirrors are tried in this order.
    limit : int, optional
        Keep the first `limit` presentations of a seeded permutation.
    source, size, count, seed
        For ``natural-patches``: photographs, olshausen or auto; side of a patch in pixels; number of patches
        of the training split (the others have a fifth); seed of the positions.

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
        If the name or the split is unknown.

    Examples
    --------
    >>> data = load("digits", split="test")
    >>> dict(data.sizes), data.image.attrs["value_range"]
    ({'presentation': 360, 'row': 8, 'column': 8}, [0.0, 1.0])
    """
    choose(split, PARTS, "split")
    name = str(name)
    if _is_path(name):
        dataset = _select(own.read_path(Path(name)), split, name)
    else:
        entry = registry.entries()[choose(name, registry.entries(), "dataset")]
        if name == "natural-patches":
            dataset = _patches(entry, split, root, source=source, size=size, count=count, seed=seed)
        else:
            dataset = _images(entry, split, root)
        dataset.attrs |= {"licence": entry.licence, "citation": entry.citation}
    return subset(dataset, limit)


def fingerprint(name: str | Path, root: str | Path | None = None, *, source: str = "auto") -> dict[str, str]:
    """Return what identifies the data behind a name, without reading images: part of the hash of every stage."""
    name = str(name)
    if _is_path(name):
        path = Path(name)
        if not path.exists():
            raise DataError(f"{path} does not exist. {own.LAYOUT}")
        return {"sha256": own.fingerprint(path)}
    entry = registry.entries()[choose(name, registry.entries(), "dataset")]
    if name != "natural-patches":
        return {"sha256": entry.checksum}
    resolved = natural_patches.resolve_source(entry, source, root)
    files = entry.checksum if resolved == "olshausen" else entry.extra["sha256"]
    return {"source": resolved, "sha256": str(files)}


def available(root: str | Path | None = None) -> list[dict[str, Any]]:
    """Return one row per known data set: name, title, licence, and where its files are (``None``: not here)."""
    rows = []
    for entry in registry.entries().values():
        paths = [registry.find(entry, file, root) for file in entry.files]
        if entry.name == "digits" or (entry.name == "natural-patches" and not all(paths)):
            where: str | None = "ships with scikit-learn"
        else:
            where = str(paths[0].parent) if paths[0] is not None and all(paths) else None
        rows.append(
            {
                "name": entry.name,
                "title": entry.title,
                "licence": entry.licence,
                "where": where,
                "downloadable": bool(entry.mirrors or entry.archive),
            }
        )
    return rows


def _is_path(name: str) -> bool:
    return name not in registry.entries() and ("/" in name or Path(name).suffix != "" or Path(name).exists())


def _images(entry: registry.Entry, split: str, root: str | Path | None) -> xr.Dataset:
    part = "test" if split == "test" else "train"
    images, labels = _ARRAYS[entry.name](entry, part, root)
    splits = np.full(len(images), part, dtype="<U10")
    if part == "train":
        splits[_validation(entry.name, len(images))] = "validation"
    chosen = np.isin(splits, split.split("+"))
    ids = [f"{entry.name}-{part}-{index:05d}" for index in np.flatnonzero(chosen)]
    values = images[chosen].astype(np.float32) / np.float32(_MAXIMUM.get(entry.name, 255))
    dataset = from_arrays(
        values,
        labels[chosen],
        split=splits[chosen],
        class_names=_CLASSES[entry.name],
        stimulus_id=ids,
        name=entry.name,
    )
    if part == "train":
        dataset.attrs |= {"validation_seed": VALIDATION_SEED, "validation_count": int((splits == "validation").sum())}
    return dataset


def _validation(name: str, n: int) -> np.ndarray:
    count = 5000 if n >= 50_000 else max(1, n // 10)
    return rng.stream(VALIDATION_SEED, "validation", name, n).permutation(n)[:count]


def _patches(
    entry: registry.Entry, split: str, root: str | Path | None, *, source: str, size: int, count: int, seed: int
) -> xr.Dataset:
    import xarray as xr

    if size < 2 or count < 1:
        raise ConfigError(f"natural-patches: size must be at least 2 and count at least 1, got {size} and {count}")
    source = natural_patches.resolve_source(entry, source, root)
    bound = float(np.sqrt(size * size))  # the largest value that a patch of variance 1 can have
    parts = []
    for part in split.split("+"):
        n = count if part == "train" else max(1, count // 5)
        patches, image = natural_patches.arrays(entry, part, root, source=source, size=size, count=n, seed=seed)
        names = [f"{source}-{i}" for i in range(10 if source == "olshausen" else 2)]
        parts.append(
            from_arrays(
                patches,
                image,
                split=part,
                value_range=(-bound, bound),
                class_names=names,
                name=f"{entry.name}-{source}",
            )
        )
    dataset = xr.concat(parts, "presentation", combine_attrs="override") if len(parts) > 1 else parts[0]
    dataset.attrs |= {"dataset": entry.name, "source": source, "patch_size": size, "patch_seed": seed}
    return dataset


def _select(dataset: xr.Dataset, split: str, name: str) -> xr.Dataset:
    """Select splits of a user's data set; without a validation split of its own, a tenth of train becomes one."""
    splits = dataset["split"].values.astype("<U10")
    train = np.flatnonzero(splits == "train")
    if "validation" not in splits and len(train) >= 2:
        chosen = train[_validation("own", len(train))]
        splits = splits.copy()
        splits[chosen] = "validation"
        dataset = dataset.assign_coords(split=("presentation", splits, dataset["split"].attrs))
    keep = np.flatnonzero(np.isin(splits, split.split("+")))
    if len(keep) == 0:
        raise DataError(f"{name} has no presentations of the split '{split}' (it has {', '.join(sorted(set(splits)))})")
    return dataset.isel(presentation=keep)


def subset(dataset: xr.Dataset, limit: int | None) -> xr.Dataset:
    """Return the first `limit` presentations of a permutation that depends on their number alone; None: all."""
    if limit is None:
        return dataset
    if limit < 1:
        raise ConfigError(f"limit must be at least 1, got {limit}")
    n = dataset.sizes["presentation"]
    order = rng.stream(0, "limit", n).permutation(n)[:limit]
    return dataset.isel(presentation=np.sort(order))


def content_sha256(dataset: xr.Dataset) -> str:
    """Return the SHA-256 of the images and labels that a dataset holds, recorded in provenance."""
    total = hashlib.sha256(np.ascontiguousarray(dataset["image"].values).tobytes())
    total.update(np.ascontiguousarray(dataset["label"].values).tobytes())
    return total.hexdigest()
