"""Names of dims and coordinates, and the checks that datasets and results keep them.

The vocabulary: a *dataset* holds ``image(presentation, ...)``, a *representation* ``response(presentation,
neuroid)``. Every presentation carries the `split` that it belongs to, so that training and test data cannot be
mixed unnoticed, not even by concatenating datasets.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from biorep import rng
from biorep.errors import DataError, NumericalError, SplitError, whole

if TYPE_CHECKING:
    import xarray as xr

SPLITS = ("train", "validation", "test")
#: The order of the dims of an image; of those, an image has some, or others of its own.
IMAGE_DIMS = ("presentation", "row", "column", "channel")


def describe(data: xr.Dataset, names: Mapping[str, tuple[str, str]]) -> xr.Dataset:
    """Give variables their ``(long_name, units)``, in place; ``"1"`` is the unit of a pure number."""
    for name, (long_name, units) in names.items():
        if name in data.variables:
            data[name].attrs.update(long_name=long_name, units=units)
    return data


def check_dataset(dataset: xr.Dataset, *, value_range: tuple[float, float] | None = None) -> None:
    """Check a dataset against the contract.

    Parameters
    ----------
    dataset : xr.Dataset
        With ``image(presentation, ...)``, its attribute `value_range`, and the coordinates `stimulus_id` and
        `split`.
    value_range : (float, float), optional
        The range that a network accepts; the images' stated range must lie inside.

    Raises
    ------
    DataError
        If a variable is missing, an image is not finite, or values leave the stated range.
    """
    for name in ("image", "stimulus_id", "split"):
        if name not in getattr(dataset, "variables", ()):
            has = ", ".join(map(str, getattr(dataset, "variables", ()))) or f"none: {type(dataset).__name__}"
            raise DataError(
                f"the dataset has no variable '{name}' (it has {has}). "
                "Make datasets with biorep.datasets.load or biorep.datasets.from_arrays."
            )
    image = dataset["image"]
    if image.dtype.kind not in "fiub":
        raise DataError(f"images must be real numbers, got {image.dtype}")
    if image.dims[0] != "presentation" or image.sizes["presentation"] == 0:
        raise DataError(f"'image' must have a first dim 'presentation' that is not empty, got {dict(image.sizes)}")
    known = [dim for dim in IMAGE_DIMS if dim in image.dims]
    if len(known) == image.ndim and list(image.dims) != known:
        raise DataError(
            f"'image' has the dims {image.dims}, and they are read in the order {tuple(known)}: use "
            f"dataset.transpose({', '.join(map(repr, known))})"
        )
    stated = image.attrs.get("value_range")
    if stated is None:
        raise DataError("'image' has no attribute 'value_range'; biorep.datasets.from_arrays sets it")
    try:
        low, high = (float(bound) for bound in stated)
    except (TypeError, ValueError):
        raise DataError(f"the value_range of 'image' must be (smallest, largest value), got {stated!r}") from None
    values = image.values
    check_finite(values, "image")
    kept = np.asarray([low, high], values.dtype if values.dtype.kind == "f" else float)  # as the images hold them
    smallest, largest = values.min(), values.max()
    if smallest < kept[0] or largest > kept[1]:
        shown = [np.format_float_positional(value, trim="-") for value in (smallest, largest)]  # 1.0000001 is not 1
        raise DataError(
            f"images have values from {shown[0]} to {shown[1]}, outside their stated value_range "
            f"[{low:g}, {high:g}]. Rescale them (for 8-bit images divide by 255) or state the right value_range."
        )
    if value_range is not None and (low < value_range[0] or high > value_range[1]):
        raise DataError(
            f"this network accepts images in [{value_range[0]:g}, {value_range[1]:g}], the dataset "
            f"'{dataset.attrs.get('dataset', '?')}' states [{low:g}, {high:g}]. Rescale the images, or choose a "
            "network that accepts signed values."
        )


def responses_of(data: xr.Dataset | xr.DataArray, *, mean: bool = True) -> xr.DataArray:
    """Return checked responses with their dims in order, (presentation, neuroid).

    Parameters
    ----------
    data : xr.Dataset or xr.DataArray
        A representation, or its `response`.
    mean : bool
        Take the mean over repeats, in float64; otherwise they stay, (repeat, presentation, neuroid).

    Raises
    ------
    DataError
        If there are no responses, or they have other dims.
    NumericalError
        If a response is NaN or infinite, of one repeat too.
    """
    import xarray as xr

    if isinstance(data, xr.Dataset) and "response" not in data:
        raise DataError(
            f"this is no representation: it has no 'response' (it has {', '.join(map(str, data)) or 'none'})"
        )
    if not isinstance(data, xr.Dataset | xr.DataArray):
        raise DataError(f"responses must be an xarray Dataset or DataArray with named dims, got {type(data).__name__}")
    response = data["response"] if isinstance(data, xr.Dataset) else data
    dims = [dim for dim in ("repeat", "presentation", "neuroid") if dim in response.dims]
    if set(response.dims) != set(dims) or dims[-2:] != ["presentation", "neuroid"]:
        raise DataError(f"responses must be ([repeat,] presentation, neuroid), got {response.dims}")
    if response.dtype.kind not in "fiub" or 0 in response.shape:
        raise DataError(f"responses must be real numbers and not empty, got {response.dtype} {dict(response.sizes)}")
    check_finite(response.values, "response")
    if mean and "repeat" in dims:
        dims, response = dims[1:], response.mean("repeat", dtype=np.float64)
    return response.transpose(*dims)


def labels_of(data: xr.Dataset) -> np.ndarray:
    """Return the labels of a dataset or a representation, (presentation,) int64: places in `label_names`.

    Raises
    ------
    DataError
        If there are none, or they are no classes.
    """
    if "label" not in data or data["label"].dims != ("presentation",):
        raise DataError("there are no labels: give 'label(presentation)'")
    labels = data["label"].values
    if labels.dtype.kind not in "iu":
        raise DataError(f"labels must be integers, got {labels.dtype}: name classes by their places in class_names")
    count = len(label_names(data))
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < count:
        raise DataError(f"labels from {labels.min()} to {labels.max()}, but there are {count} class names")
    return np.asarray(labels.astype(np.int64))


def check_real(values: object, what: str) -> None:
    """Raise `DataError` unless this is an array of real numbers: not of objects, texts, dates or complex numbers."""
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        found = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        raise DataError(f"'{what}' must be an array of real numbers, got {found}")


def check_finite(values: np.ndarray, what: str) -> None:
    """Refuse what is no array of real numbers, and NaN and infinite values; say how many and where the first is."""
    check_real(values, what)
    # A sum is finite unless an entry is not (or it overflows): one cheap pass in the usual case.
    with np.errstate(over="ignore", invalid="ignore"):
        suspect = values.dtype.kind == "f" and not np.isfinite(np.sum(values, dtype=np.float64))
    if suspect:
        bad = ~np.isfinite(values)
        if bad.any():
            first = tuple(int(i) for i in np.argwhere(bad)[0])
            raise NumericalError(
                f"'{what}' holds {int(bad.sum())} values that are NaN or infinite, the first at index {first}"
            )


def require_variables(
    data: Any, names: Mapping[str, tuple[str, ...]], what: str, *, numbers: bool = False
) -> xr.Dataset:
    """Return a dataset, or that of a node of a tree; raise `DataError` unless it has these variables along these dims.

    Parameters
    ----------
    data : xr.Dataset or xr.DataTree
    names : mapping of str to tuple of str
        Variable -> its dims, in any order; no dims: any.
    what : str
        What is wanted and where it comes from.
    numbers : bool
        Whether they must be real numbers.
    """
    import xarray as xr

    data = data.to_dataset() if isinstance(data, xr.DataTree) else data
    if not isinstance(data, xr.Dataset):
        raise DataError(f"needs {what}, got an object of type {type(data).__name__}")
    missing = [name for name in names if name not in data.variables]
    if missing:
        has = ", ".join(map(str, data.variables)) or "no variables"
        raise DataError(f"needs {what}: '{', '.join(missing)}' is missing, the dataset has {has}")
    for name, dims in names.items():
        if dims and set(data[name].dims) != set(dims):
            raise DataError(
                f"needs {what}: '{name}' must have the dims {dims}, got {data[name].dims}. Choose one entry of every "
                "other dim with .sel or .isel."
            )
        if numbers:
            check_real(data[name].values, name)
    return data


def learnt_array(
    state: xr.Dataset, name: str, dims: tuple[str, ...], shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """Return an array of a state or a readout, float32, with its dims in order.

    Raises
    ------
    DataError
        If it is missing, or has other dims or another shape.
    NumericalError
        If a value is NaN or infinite.
    """
    require_variables(state, {name: ()}, "the arrays that were learnt")
    array = state[name]
    if set(array.dims) != set(dims):
        raise DataError(f"'{name}' must have the dims {dims}, got {array.dims}")
    values = np.asarray(array.transpose(*dims).values, dtype=np.float32, order="C")
    if shape is not None and values.shape != shape:
        raise DataError(f"'{name}' is {values.shape}, and this network has {shape}: the state is of another network")
    check_finite(values, name)
    return values


def in_order[T: (xr.Dataset, xr.DataArray)](data: T, wanted: np.ndarray) -> T:
    """Return data with its neuroids in the order of the wanted `neuroid_id`; as it is if they have no names.

    Raises
    ------
    DataError
        If they are not the same neuroids.
    """
    if "neuroid_id" not in data.coords or np.array_equal(data["neuroid_id"], wanted):
        return data
    place = {name: index for index, name in enumerate(data["neuroid_id"].values.tolist())}
    names = np.asarray(wanted).tolist()
    if len(place) != data.sizes["neuroid"] or sorted(map(str, place)) != sorted(map(str, names)):
        raise DataError("these are other neuroids than those that are read: see `neuroid_id`")
    return data.isel(neuroid=[place[name] for name in names])


def labels_among(data: xr.Dataset, classes: Sequence[str]) -> np.ndarray:
    """Return the labels of a dataset or a representation as places among classes: they are matched by name.

    Raises
    ------
    DataError
        If there are no labels, or one is of a class that is not there.
    """
    labels, names = labels_of(data), label_names(data)
    if unknown := sorted({names[label] for label in np.unique(labels)} - set(classes)):
        raise DataError(f"there is no class '{unknown[0]}' among those that were learnt: {', '.join(classes)}")
    place = np.array([classes.index(name) if name in classes else -1 for name in names])
    return np.asarray(place[labels])


def require_splits(data: xr.Dataset, allowed: Collection[str], purpose: str) -> None:
    """Raise `SplitError` unless every presentation belongs to one of the allowed splits."""
    require_variables(data, {"split": ("presentation",)}, f"{purpose} needs to know which split images belong to")
    splits = data["split"].values.astype(str)
    wrong = set(splits.tolist()) - set(allowed)
    if wrong:
        count = int(np.isin(splits, list(wrong)).sum())
        raise SplitError(
            f"{purpose} must not see presentations of the split '{', '.join(sorted(wrong))}', found {count} of "
            f"{data.sizes['presentation']}. Allowed: {', '.join(allowed)}."
        )


def require_disjoint(stimuli: Collection[str], fitted: Collection[str], purpose: str, remedy: str = "") -> None:
    """Raise `SplitError` if stimuli that are to be tested were used for fitting."""
    common = set(map(str, stimuli)) & set(map(str, fitted))
    if common:
        raise SplitError(
            f"{purpose}: {len(common)} of {len(stimuli)} stimuli were used for fitting (for example "
            f"{min(common)!r}). Use images that it has not seen{remedy}."
        )


def subset(dataset: xr.Dataset, count: int | None) -> xr.Dataset:
    """Return the first `count` presentations of a permutation that depends on their number alone; None: all."""
    if count is None:
        return dataset
    count = whole(count, "the number of images")
    n = dataset.sizes["presentation"]
    order = rng.stream(0, "limit", n).permutation(n)[:count]
    return dataset.isel(presentation=np.sort(order))


def label_names(dataset: xr.Dataset) -> list[str]:
    """Return the class names in the order of the labels; raise `DataError` if the labels have none."""
    if "label" not in dataset or "class_names" not in dataset["label"].attrs:
        raise DataError(
            "'label' has no attribute 'class_names', the names of the classes as a JSON list: json.dumps(['a', 'b']); "
            "biorep.datasets.from_arrays sets it"
        )
    return [str(name) for name in json.loads(dataset["label"].attrs["class_names"])]


def presentation_coords(data: xr.Dataset) -> dict[str, Any]:
    """Return the coordinates along `presentation` alone, to be carried over to derived results."""
    return {str(n): c for n, c in data.coords.items() if c.dims == ("presentation",)}
