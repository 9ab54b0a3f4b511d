"""Datasets from arrays: checked, scaled, and every image known by its content."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from biorep.errors import DataError, did_you_mean
from biorep.schema import IMAGE_DIMS, SPLITS, check_dataset, check_finite, describe

if TYPE_CHECKING:
    import xarray as xr


def from_arrays(
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    split: str | np.ndarray = "train",
    value_range: tuple[float, float] | None = None,
    class_names: Sequence[str] | None = None,
    stimulus_id: Sequence[str] | None = None,
    name: str = "own",
) -> xr.Dataset:
    """Make a dataset from arrays.

    Parameters
    ----------
    images : array, (presentation, ...)
        Unsigned bytes (divided by 255), or floats inside `value_range`.
    labels : integer array, (presentation,), optional
        Class of each image, counted from 0; all 0 if not given.
    split : str or array of str, (presentation,)
        ``train``, ``validation`` or ``test``.
    value_range : (float, float), optional
        Smallest and largest value that an image may have; [0, 1] if not given.
    class_names : sequence of str, optional
        Names of the classes in the order of the labels.
    stimulus_id : sequence of str, optional
        Unique name of each image; by default made of its content: a digest of its shape and pixels, and its number
        among equal images of the set. So an image keeps its name, and with it its random draws, wherever it stands.
    name : str
        Name of the dataset, for messages and its attribute `dataset`.

    Returns
    -------
    xr.Dataset
        ``image(presentation, ...)`` float32 and ``label(presentation)``, with the coordinates `stimulus_id`,
        `object_name` and `split`.

    Raises
    ------
    DataError
        If shapes do not fit, values lie outside the range, or labels are not classes.
    NumericalError
        If a value is NaN or infinite.

    Warns
    -----
    UserWarning
        If images of the test split are in the training data as well, pixel by pixel.

    Examples
    --------
    >>> import numpy as np
    >>> data = from_arrays(np.zeros((3, 4, 4), np.uint8), np.array([0, 1, 0]), class_names=["on", "off"])
    >>> dict(data.image.sizes)
    {'presentation': 3, 'row': 4, 'column': 4}
    """
    import xarray as xr

    if isinstance(images, xr.DataArray):
        known = all(dim in IMAGE_DIMS for dim in images.dims)
        images = images.transpose(
            *(dim for dim in IMAGE_DIMS if known or dim == "presentation"), ..., missing_dims="ignore"
        )
    if isinstance(images, np.ma.MaskedArray) and np.ma.is_masked(images):
        raise DataError(f"{int(np.ma.getmaskarray(images).sum())} values of the images are masked: fill them first")
    images = np.asarray(images)
    if images.ndim < 2 or len(images) == 0:
        raise DataError(f"images must be (presentation, ...) and not empty, got shape {images.shape}")
    n = len(images)
    values, bounds = _scaled(images, value_range)
    inner = _dims(values)
    classes, names = _classes(labels, class_names, n)
    splits = _splits(split, n)
    found = _digests(values) if stimulus_id is None or _is_mixed(splits) else []
    _warn_of_shared(found, splits, name)
    ids = _numbered(found, splits, classes) if stimulus_id is None else [str(given) for given in stimulus_id]
    if len(ids) != n or len(set(ids)) != n:
        raise DataError(f"stimulus_id must hold {n} different names, got {len(ids)} with {len(set(ids))} different")
    dataset = xr.Dataset(
        {
            "image": (("presentation", *inner), values, {"value_range": list(bounds)}),
            "label": ("presentation", classes, {"class_names": json.dumps(names)}),
        },
        coords={
            "stimulus_id": ("presentation", np.asarray(ids, dtype=str)),
            "object_name": ("presentation", np.asarray(names, dtype=str)[classes]),
            "split": ("presentation", splits.copy()),
        },
        attrs={"dataset": name},
    )
    describe(dataset, {"image": ("image", "1"), "label": ("class of the image", "1")})
    describe(dataset, {"stimulus_id": ("name of the stimulus", "1"), "object_name": ("name of the class", "1")})
    describe(dataset, {"split": ("part of the dataset that the presentation belongs to", "1")})
    check_dataset(dataset)
    return dataset


def _scaled(images: np.ndarray, value_range: tuple[float, float] | None) -> tuple[np.ndarray, tuple[float, float]]:
    if images.dtype == np.uint8 and value_range is None:
        return images.astype(np.float32) / np.float32(255), (0.0, 1.0)
    if images.dtype == bool or not np.issubdtype(images.dtype, np.number) or np.iscomplexobj(images):
        raise DataError(f"images must be unsigned bytes or real numbers, got {images.dtype}")
    check_finite(images, "images")
    bounds = (0.0, 1.0) if value_range is None else tuple(float(bound) for bound in value_range)
    if len(bounds) != 2 or not bounds[0] < bounds[1]:
        raise DataError(f"value_range must be (smallest, largest), got {value_range}")
    if np.abs(images).max() > np.finfo(np.float32).max:
        raise DataError("images hold values beyond the range of 32-bit numbers; rescale them")
    return images.astype(np.float32), (bounds[0], bounds[1])


def _dims(values: np.ndarray) -> tuple[str, ...]:
    inner = {1: ("pixel",), 2: ("row", "column"), 3: ("row", "column", "channel")}.get(values.ndim - 1)
    if inner is None:
        raise DataError(
            f"an image must have 1, 2 or 3 dims (pixels; rows, columns; channels last), got {values.ndim - 1}"
        )
    return inner


def _splits(split: str | np.ndarray, n: int) -> np.ndarray:
    splits = np.asarray(split, dtype=str)
    if splits.shape not in ((), (n,)):
        raise DataError(f"split must be one word or have shape ({n},) like the images, got {splits.shape}")
    if unknown := sorted(set(splits.ravel().tolist()) - set(SPLITS)):
        hint = did_you_mean(unknown[0], SPLITS) or "."
        raise DataError(f"split {unknown[0]!r} is unknown{hint} Allowed: {', '.join(SPLITS)}.")
    return np.broadcast_to(splits, (n,))


def _classes(labels: np.ndarray | None, class_names: Sequence[str] | None, n: int) -> tuple[np.ndarray, list[str]]:
    classes = np.zeros(n, np.int64) if labels is None else np.asarray(labels)
    if classes.shape != (n,):
        raise DataError(f"labels must have shape ({n},) like the images, got {classes.shape}")
    if not np.issubdtype(classes.dtype, np.integer) or classes.min() < 0:
        smallest = f" from {classes.min()}" if classes.dtype.kind in "biuf" else ""
        raise DataError(f"labels must be whole numbers from 0 up, got {classes.dtype}{smallest}")
    count = int(classes.max()) + 1
    if count > max(1000, n):
        raise DataError(f"labels go up to {count - 1} for {n} images; number the classes from 0 without gaps")
    names = [str(i) for i in range(count)] if class_names is None else [str(name) for name in class_names]
    if len(names) < count:
        raise DataError(f"labels go up to {count - 1}, but there are only {len(names)} class names")
    return classes.astype(np.int64), names


# ------------------------------------------------------------------------------------------- images as content


def _digests(values: np.ndarray) -> list[str]:
    """Return what each image is known by: 16 digits of the SHA-256 of its shape and its float32 pixels."""
    shape = json.dumps(values.shape[1:]).encode()
    pixels = np.ascontiguousarray(values + 0, "<f4")  # -0.0 becomes 0.0: they are equal
    return [hashlib.sha256(shape + image.tobytes()).hexdigest()[:16] for image in pixels]


def _numbered(found: list[str], splits: np.ndarray, classes: np.ndarray) -> list[str]:
    """Return digests with the number of each among equal ones; split and class decide before the place does."""
    ids, counts = [""] * len(found), Counter[str]()
    for index in sorted(range(len(found)), key=lambda i: (splits[i], classes[i])):
        ids[index] = f"{found[index]}-{counts[found[index]]}"
        counts[found[index]] += 1
    return ids


def _is_mixed(splits: np.ndarray) -> bool:
    return "test" in splits and bool((splits != "test").any())


def _warn_of_shared(found: list[str], splits: np.ndarray, name: str) -> None:
    if not _is_mixed(splits):
        return
    learnt = {digest for digest, split in zip(found, splits, strict=True) if split != "test"}
    tested = [digest for digest, split in zip(found, splits, strict=True) if split == "test"]
    if shared := sum(digest in learnt for digest in tested):
        warnings.warn(
            f"{name}: {shared} of {len(tested)} images of the split 'test' are in the training data as well, pixel by "
            "pixel; what is measured on them is no test. Remove them from one of the two.",
            UserWarning,
            stacklevel=3,
        )
