"""Names of dims and coordinates, and the checks that datasets and results keep them.

The vocabulary: a *dataset* holds ``image(presentation, ...)``, a *representation* ``response(presentation,
neuroid)``. Every presentation carries the `split` that it belongs to, so that training and test data cannot be
mixed unnoticed, not even by concatenating datasets.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from biorep import rng
from biorep.errors import ConfigError, DataError, NumericalError, SplitError

if TYPE_CHECKING:
    import xarray as xr

SPLITS = ("train", "validation", "test")


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
        if name not in dataset.variables:
            raise DataError(
                f"the dataset has no variable '{name}' (it has {', '.join(map(str, dataset.variables))}). "
                "Make datasets with biorep.datasets.load or biorep.datasets.from_arrays."
            )
    image = dataset["image"]
    if image.dims[0] != "presentation" or image.sizes["presentation"] == 0:
        raise DataError(f"'image' must have a first dim 'presentation' that is not empty, got {dict(image.sizes)}")
    stated = image.attrs.get("value_range")
    if stated is None:
        raise DataError("'image' has no attribute 'value_range'; biorep.datasets.from_arrays sets it")
    low, high = (float(bound) for bound in stated)
    values = image.values
    check_finite(values, "image")
    kept = np.asarray([low, high], values.dtype if values.dtype.kind == "f" else float)  # as the images hold them
    smallest, largest = float(values.min()), float(values.max())
    if smallest < kept[0] or largest > kept[1]:
        raise DataError(
            f"images have values from {smallest:g} to {largest:g}, outside their stated value_range "
            f"[{low:g}, {high:g}]. Rescale them (for 8-bit images divide by 255) or state the right value_range."
        )
    if value_range is not None and (low < value_range[0] or high > value_range[1]):
        raise DataError(
            f"this network accepts images in [{value_range[0]:g}, {value_range[1]:g}], the dataset "
            f"'{dataset.attrs.get('dataset', '?')}' states [{low:g}, {high:g}]. Rescale the images, or choose a "
            "network that accepts signed values."
        )


def check_finite(values: np.ndarray, what: str) -> None:
    """Raise `NumericalError` if an array holds NaN or infinite values; say how many and where the first is."""
    # A sum is finite unless an entry is not (or it overflows): one cheap pass in the usual case.
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(np.sum(values, dtype=np.float64)):
        bad = ~np.isfinite(values)
        if bad.any():
            first = tuple(int(i) for i in np.argwhere(bad)[0])
            raise NumericalError(
                f"'{what}' holds {int(bad.sum())} values that are NaN or infinite, the first at index {first}"
            )


def require_splits(data: xr.Dataset, allowed: Collection[str], purpose: str) -> None:
    """Raise `SplitError` unless every presentation belongs to one of the allowed splits."""
    splits = data["split"].values.astype(str)
    wrong = set(splits.tolist()) - set(allowed)
    if wrong:
        count = int(np.isin(splits, list(wrong)).sum())
        raise SplitError(
            f"{purpose} must not see presentations of the split '{', '.join(sorted(wrong))}', found {count} of "
            f"{data.sizes['presentation']}. Allowed: {', '.join(allowed)}."
        )


def require_disjoint(stimuli: Collection[str], fitted: Collection[str], purpose: str) -> None:
    """Raise `SplitError` if stimuli that are to be tested were used for fitting."""
    common = set(map(str, stimuli)) & set(map(str, fitted))
    if common:
        raise SplitError(
            f"{purpose}: {len(common)} of {len(stimuli)} stimuli were used for fitting (for example "
            f"{min(common)!r}). Use the test split, or pass allow_seen=True to measure the training accuracy."
        )


def subset(dataset: xr.Dataset, count: int | None) -> xr.Dataset:
    """Return the first `count` presentations of a permutation that depends on their number alone; None: all."""
    if count is None:
        return dataset
    if count < 1:
        raise ConfigError(f"the number of images must be at least 1, got {count}")
    n = dataset.sizes["presentation"]
    order = rng.stream(0, "limit", n).permutation(n)[:count]
    return dataset.isel(presentation=np.sort(order))


def label_names(dataset: xr.Dataset) -> list[str]:
    """Return the class names in the order of the labels."""
    return [str(name) for name in json.loads(dataset["label"].attrs["class_names"])]


def presentation_coords(data: xr.Dataset) -> dict[str, Any]:
    """Return the coordinates along `presentation` alone, to be carried over to derived results."""
    return {str(n): c for n, c in data.coords.items() if c.dims == ("presentation",)}
