"""Which axis of an array of images is what: said by the names of its dims, or by sizes that leave no doubt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from biorep.datasets.splits import split_word
from biorep.errors import DataError, did_you_mean
from biorep.schema import IMAGE_DIMS

#: What a data set of the user's may look like, for messages.
LAYOUT = (
    "An .npz or netCDF file holds 'images' (or 'image') and 'labels' (or 'label'), and optionally 'split' with the "
    "words train, validation or test, 'class_names', 'value_range', 'stimulus_id'; or instead x_train, y_train, x_val, "
    "y_val, x_test, y_test. A folder holds one sub-folder of images per class, optionally inside folders train/, "
    "validation/ and test/."
)
#: Our words for the dims of images, and what other tools call them, whether in capitals or not.
WORDS = {
    "presentation": (
        "n",
        "sample",
        "samples",
        "batch",
        "image",
        "images",
        "stimulus",
        "stimuli",
        "stimulus_id",
        "index",
    ),
    "row": ("rows", "y", "h", "height"),
    "column": ("columns", "col", "cols", "x", "w", "width"),
    "channel": ("channels", "c", "band", "bands", "color", "colour", "rgb"),
    "pixel": ("pixels", "feature", "features"),
}
_WORD_OF = {name: word for word, others in WORDS.items() for name in (word, *others)}
#: What a dim without a name is called by xarray and netCDF.
_NAMELESS = re.compile(r"(phony_)?dim_\d+")
#: Grey, colours, colours with transparency: so many values along one side are channels and no pixels.
CHANNELS = (1, 3, 4)
_REMEDY = (
    "say which dim is what: dims=('presentation', 'row', 'column', 'channel') of from_arrays in the order that they "
    "have, an array 'dims' of such words in an .npz, the names of the dims in a netCDF file"
)


def names_of_dims(array: Any) -> tuple[str, ...] | None:
    """Return the names of the dims of an xarray array; None if it has none, as arrays of numpy and torch."""
    dims = tuple(map(str, getattr(array, "dims", None) or ()))
    return None if all(map(_NAMELESS.fullmatch, dims)) else dims


def arranged(values: np.ndarray, dims: Sequence[str] | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return images with their dims in our order, and our words for these.

    Parameters
    ----------
    values : array
        Images, in any order of the dims if these are named; else (presentation, ...), channels first or last.
    dims : sequence of str, optional
        Names of the dims, see `WORDS`.

    Returns
    -------
    array, (presentation, pixel), (presentation, row, column) or (presentation, row, column, channel)
    tuple of str

    Raises
    ------
    DataError
        If a dim is unknown, or nobody can tell rows from channels.
    """
    given = order_of(values.shape, dims)
    order = tuple(dim for dim in (*IMAGE_DIMS, "pixel") if dim in given)
    return np.ascontiguousarray(values.transpose([given.index(dim) for dim in order])), order


def order_of(shape: tuple[int, ...], dims: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return our words for the dims of images in the order that they have, see `arranged`."""
    if len(shape) < 2 or 0 in shape:
        raise DataError(f"images must be (presentation, ...) and not empty, got shape {shape}")
    given = _by_size(shape) if dims is None else _by_name(tuple(map(str, dims)), shape)
    if set(given) not in ({"presentation", "pixel"}, set(IMAGE_DIMS[:3]), set(IMAGE_DIMS)):
        raise DataError(f"images must be (presentation, row, column[, channel]) or (presentation, pixel), got {given}")
    return given


def _word(dim: str) -> str | None:
    """Return our word for a dim, None if it has none; in files with an array per split it is ``n_train`` and so on."""
    tokens = [token for token in dim.lower().split("_") if not split_word(token)]
    return _WORD_OF.get("_".join(tokens), None if tokens else "presentation")


def _by_name(dims: tuple[str, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
    found = tuple(_word(dim) or "" for dim in dims)
    if "" in found:
        stranger = dims[found.index("")]
        hint = did_you_mean(stranger, WORDS) or "."
        raise DataError(f"images have the dim {stranger!r}, which is unknown{hint} Known: {', '.join(WORDS)}")
    if len(found) != len(shape) or len(set(found)) != len(found):
        raise DataError(f"images of the shape {shape} need as many different dims, got {dims}")
    return found


def _by_size(shape: tuple[int, ...]) -> tuple[str, ...]:
    if len(shape) > 4:
        raise DataError(f"an image must have 1, 2 or 3 dims (pixels; rows, columns; channels), got {len(shape) - 1}")
    if len(shape) < 4:
        return ("presentation", "pixel") if len(shape) == 2 else IMAGE_DIMS[:3]
    first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
    if first == last:
        raise DataError(f"images of the shape {shape[1:]} may have their channels first or last; {_REMEDY}")
    return ("presentation", "channel", "row", "column") if first else IMAGE_DIMS


def one_each(values: Any, what: str) -> Any:
    """Return values that stand one for each image; refuse those which stand along another dim of the images."""
    dims = names_of_dims(values) or ()
    if inner := [dim for dim in dims if _word(dim) not in (None, "presentation")]:
        raise DataError(f"{what} stand along the dim {inner[0]!r}, but there must be one for each presentation")
    return values
