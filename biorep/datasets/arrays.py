"""Datasets from arrays: checked, scaled, and every image known by its content."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from biorep.datasets.classes import array_of, classes, words
from biorep.datasets.layout import arranged, names_of_dims, one_each
from biorep.datasets.splits import split_word
from biorep.errors import DataError, did_you_mean
from biorep.schema import SPLITS, check_dataset, check_finite, describe

if TYPE_CHECKING:
    import xarray as xr


def from_arrays(
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    split: str | Sequence[str] | np.ndarray | None = None,
    value_range: Sequence[float] | np.ndarray | None = None,
    class_names: Sequence[str] | Mapping[Any, Any] | None = None,
    stimulus_id: Sequence[str] | None = None,
    name: str = "own",
    dims: Sequence[str] | None = None,
) -> xr.Dataset:
    """Make a dataset from arrays.

    Parameters
    ----------
    images : array, (presentation, ...)
        Unsigned bytes (divided by 255), or floats inside `value_range`. Of an xarray array are read: the names of its
        dims, and where they are not given its attribute `value_range` and its coordinates `split` and `stimulus_id`.
        Of others one side of 1, 3 or 4 is that of the channels, first or last.
    labels : array of integers or words, (presentation,), optional
        Class of each image, counted from 0, or its name; all 0 if not given.
    split : str or array of str, (presentation,)
        ``train``, ``validation`` or ``test``, or what others call them: ``Training``, ``val``; ``train`` if not given.
    value_range : (float, float), optional
        Smallest and largest value that an image may have; [0, 1] if not given.
    class_names : sequence of str or dict, optional
        Names of the classes in the order of the labels, or number -> name, or name -> number. Labels that are words
        are sorted as people count (1, 2, 10) if it is not given.
    stimulus_id : sequence of str, optional
        Unique name of each image; by default made of its content: a digest of its shape and pixels, and its number
        among equal images of the set. So an image keeps its name, and with it its random draws, wherever it stands.
    name : str
        Name of the dataset, for messages and its attribute `dataset`.
    dims : sequence of str, optional
        Which dim of the images is what, for example ``("presentation", "channel", "row", "column")``; needed only
        where sizes leave a doubt, see `biorep.datasets.layout`.

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
        If images of the test split are in the training data as well, pixel by pixel; if a class has no image and no
        name; if bytes hold nothing but 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> data = from_arrays(np.zeros((3, 4, 4), np.uint8), np.array([0, 1, 0]), class_names=["on", "off"])
    >>> dict(data.image.sizes)
    {'presentation': 3, 'row': 4, 'column': 4}
    """
    import xarray as xr

    # An xarray array of images knows these itself: those of a test split must not become training data unnoticed.
    attributes, coords = getattr(images, "attrs", {}), getattr(images, "coords", {})
    value_range = attributes.get("value_range") if value_range is None else value_range
    if split is None:
        split = coords.get("split", "train")
    if stimulus_id is None and "stimulus_id" in coords:  # a dim of this name has none by itself
        stimulus_id = coords["stimulus_id"]
    class_names = getattr(labels, "attrs", {}).get("class_names") if class_names is None else class_names
    # Values are judged in the order of the dims in which they came: messages say where one stands.
    values, bounds = _scaled(array_of(images, "images"), value_range)
    values, order = arranged(
        values,
        names_of_dims(images) if dims is None else words(np.ravel(list(dims) if isinstance(dims, str) else dims)),
    )
    n = len(values)
    label, names = classes(labels, class_names, n)
    splits = _splits(split, n)
    found = _digests(values) if stimulus_id is None or _is_mixed(splits) else []
    _warn_of_shared(found, splits, name)
    ids = _numbered(found, splits, label) if stimulus_id is None else _given(stimulus_id)
    if len(ids) != n or len(set(ids)) != n:
        raise DataError(f"stimulus_id must hold {n} different names, got {len(ids)} with {len(set(ids))} different")
    dataset = xr.Dataset(
        {
            "image": (order, values, {"value_range": list(bounds)}),
            "label": ("presentation", label, {"class_names": json.dumps(names)}),
        },
        coords={
            "stimulus_id": ("presentation", np.asarray(ids, dtype=str)),
            "object_name": ("presentation", np.asarray(names, dtype=str)[label]),
            "split": ("presentation", splits.copy()),
        },
        attrs={"dataset": name},
    )
    describe(dataset, {"image": ("image", "1"), "label": ("class of the image", "1")})
    describe(dataset, {"stimulus_id": ("name of the stimulus", "1"), "object_name": ("name of the class", "1")})
    describe(dataset, {"split": ("part of the dataset that the presentation belongs to", "1")})
    check_dataset(dataset)
    return dataset


def _scaled(images: np.ndarray, value_range: Any) -> tuple[np.ndarray, tuple[float, float]]:
    if images.dtype == np.uint8 and value_range is None:
        if images.max(initial=0) == 1:
            warnings.warn(
                "images hold the bytes 0 and 1 alone, and bytes are divided by 255: if 1 is the largest value that "
                "they may have, give value_range=(0, 1)",
                stacklevel=3,
            )
        return images.astype(np.float32) / np.float32(255), (0.0, 1.0)
    if images.dtype.kind not in "iuf":
        raise DataError(
            f"images must be unsigned bytes or real numbers, got {images.dtype}; turn them into such, for example with "
            "images.astype(float)"
        )
    check_finite(images, "images")
    bounds = (0.0, 1.0) if value_range is None else _bounds(value_range)
    if np.abs(images).max(initial=0) > np.finfo(np.float32).max:
        raise DataError("images hold values beyond the range of 32-bit numbers; rescale them")
    return images.astype(np.float32), bounds


def _bounds(value_range: Any) -> tuple[float, float]:
    bounds = array_of(value_range, "value_range")
    most = np.finfo(np.float32).max
    if bounds.shape != (2,) or bounds.dtype.kind not in "iuf" or not -most <= bounds[0] < bounds[1] <= most:
        raise DataError(f"value_range must be (smallest, largest), got {value_range}")
    return float(bounds[0]), float(bounds[1])


def _given(stimulus_id: Any) -> list[str]:
    return words(array_of(one_each(stimulus_id, "stimulus_id"), "stimulus_id").ravel())


def _splits(split: Any, n: int) -> np.ndarray:
    given = array_of(one_each(split, "split"), "split")
    splits = np.array([split_word(word) or word for word in words(given.ravel())], dtype=str)
    if given.shape not in ((), (n,), (n, 1)):
        raise DataError(f"split must be one word or have shape ({n},) like the images, got {given.shape}")
    if unknown := sorted(set(splits.tolist()) - set(SPLITS)):
        hint = did_you_mean(unknown[0], SPLITS) or "."
        raise DataError(f"split {unknown[0]!r} is unknown{hint} Allowed: {', '.join(SPLITS)}.")
    return np.broadcast_to(splits, (n,))


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
