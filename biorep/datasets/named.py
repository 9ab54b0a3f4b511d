"""Arrays with names, of an `.npz` or a netCDF file: each is used, refused, or said to be unused."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biorep.datasets.arrays import from_arrays
from biorep.datasets.classes import array_of, class_table, words
from biorep.datasets.layout import LAYOUT, arranged, names_of_dims, one_each, order_of
from biorep.datasets.splits import assigned_test, split_word
from biorep.errors import DataError
from biorep.schema import SPLITS, check_finite

if TYPE_CHECKING:
    import xarray as xr

#: What a file may hold, and the names that it may have there.
NAMES = {
    "images": ("images", "image"),
    "labels": ("labels", "label"),
    **{word: (word,) for word in ("split", "class_names", "value_range", "stimulus_id", "object_name", "dims")},
}
#: The same of one split, whose word stands before or behind: x_train, val_images.
PART_NAMES = {"x": "images", "y": "labels", "stimulus_id": "stimulus_id", "class_names": "class_names"} | {
    name: word for word in ("images", "labels") for name in NAMES[word]
}
#: Words of a netCDF file that may stand as attributes: of a variable, or of the whole file.
_SAID = ("value_range", "class_names", "stimulus_id")
#: Attributes of a variable that describe it and change nothing.
_DESCRIPTIVE = ("long_name", "standard_name", "units", "description", "comment", "coordinates")


def read_npz(path: Path) -> xr.Dataset:
    """Return the dataset of an `.npz`."""
    with np.load(path, allow_pickle=False) as file:
        return _from_table(path, dict(file.items()))


def read_netcdf(path: Path) -> xr.Dataset:
    """Return the dataset of a netCDF file: its dims by their names, and what its attributes say."""
    import xarray as xr

    with contextlib.ExitStack() as stack:
        groups = {name: stack.enter_context(group) for name, group in xr.open_groups(path).items()}
        file = groups.pop("/").load()
    table: dict[str, Any] = {str(name): _unpacked(file[name]) for name in file.variables if not _counts(file, name)}
    unused = [f"the group {name}" for name, group in groups.items() if group.variables]
    known = {name: array.attrs for name, array in table.items() if _is_known(name.lower())}
    for name, attributes in [("", file.attrs), *known.items()]:
        for key, value in attributes.items():
            if key in _SAID:
                _add(table, key, value)
            elif name and key not in _DESCRIPTIVE:
                unused.append(f"{name}.{key}")
    dataset = _from_table(path, table, unused)
    return dataset.assign_attrs({key: value for key, value in file.attrs.items() if key not in _SAID})


def _unpacked(array: xr.DataArray) -> xr.DataArray:
    """Return whole numbers as they are stored: xarray makes floats of them if they have a fill value, used or not."""
    stored = np.dtype(array.encoding.get("dtype", array.dtype))
    packed = {"scale_factor", "add_offset"} & set(array.encoding)
    if array.dtype.kind != "f" or stored.kind not in "iu" or packed or bool(array.isnull().any()):
        return array
    if "_Unsigned" in array.encoding:
        stored = np.dtype(f"{'u' if array.encoding['_Unsigned'] == 'true' else 'i'}{stored.itemsize}")
    return array.astype(stored)


def _counts(file: xr.Dataset, name: Hashable) -> bool:
    """Return whether a variable only numbers the steps along a dim: rising numbers change nothing."""
    values = file[name].values
    if name not in file.dims or (_is_known(str(name)) and name not in NAMES["images"]):
        return False
    return values.dtype.kind in "iuf" and bool((np.diff(values) > 0).all())


def _add(table: dict[str, Any], key: str, value: Any) -> None:
    """Add what an attribute says; it may be said twice, but not in two ways."""
    read: Callable[[Any], Any] = class_table if key == "class_names" else np.asarray
    if key in table and not np.array_equal(read(table[key]), read(value)):
        raise DataError(f"it says twice, and not the same, what '{key}' is")
    table[key] = value


def _is_known(name: str) -> bool:
    return any(name in names for names in NAMES.values()) or bool(_part_of(name))


def _from_table(path: Path, table: Mapping[str, Any], unused: Sequence[str] = ()) -> xr.Dataset:
    """Return the dataset of named arrays; what is not used is refused or said."""
    table = {
        name.lower() if _is_known(name.lower()) and name.lower() not in table else name: table[name] for name in table
    }
    found = {word: _pick(table, *names) for word, names in NAMES.items()}
    used = [name for names in NAMES.values() for name in names]
    if parts := _parts(table):
        found |= {"object_name": None, **_joined(table, parts, found["dims"])}
        used = ["class_names", "value_range", "dims", *(name for names in parts.values() for name in names.values())]
    if found["images"] is None:
        raise DataError(f"{path} holds {', '.join([*table, *unused]) or 'nothing'}. {LAYOUT}")
    images = found["images"]
    dims = names_of_dims(images) if found["dims"] is None else words(np.ravel(found["dims"]))
    count = images.shape[order_of(images.shape, dims).index("presentation")]
    _tell_unused(path, {name: np.shape(array) for name, array in table.items()}, used, count, unused)
    labels, names = _labels(found)
    dataset = from_arrays(
        images,
        labels,
        split=assigned_test(count) if found["split"] is None else found["split"],
        value_range=None if found["value_range"] is None else np.asarray(found["value_range"]),
        class_names=names,
        stimulus_id=found["stimulus_id"],
        dims=dims,
        name=path.stem,
    )
    said = found["object_name"]
    if said is not None and words(np.ravel(said)) != dataset["object_name"].values.tolist():
        raise DataError("object_name says other classes than the labels with their class_names")
    return dataset


def _labels(found: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return labels and names of classes; where one of the two is missing, the names of the images may tell."""
    labels, names, said = found["labels"], found["class_names"], found["object_name"]
    if said is None or names is not None:
        return labels if labels is not None else said, names
    if labels is None or np.asarray(labels).dtype.kind not in "iu":
        return labels if labels is not None else said, None
    return labels, dict(zip(np.ravel(labels).tolist(), words(np.ravel(said)), strict=False))


def _part_of(name: str) -> tuple[str, str] | None:
    """Return split and word of the name of an array, ``("validation", "images")`` of ``x_val``; None if it has none."""
    tokens = name.split("_")
    for place, token in enumerate(tokens):
        word = PART_NAMES.get("_".join(tokens[:place] + tokens[place + 1 :]))
        if (split := split_word(token)) and word:
            return split, word
    return None


def _parts(table: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the names of arrays that hold one split each: split -> word -> name."""
    found: dict[str, dict[str, str]] = {split: {} for split in SPLITS}
    for name in table:
        if part := _part_of(name):
            names = found[part[0]]
            if part[1] in names:
                raise DataError(f"it holds both '{names[part[1]]}' and '{name}': remove one of them")
            names[part[1]] = name
    return {split: names for split, names in found.items() if "images" in names}


def _joined(table: Mapping[str, Any], parts: Mapping[str, Mapping[str, str]], dims: Any) -> dict[str, Any]:
    """Return the arrays of all splits as one table."""
    images, order = _joined_images(table, [names["images"] for names in parts.values()], dims)
    counts = [len(part) for part in images]
    joined = {
        "images": np.concatenate(images),
        "dims": order,
        "labels": _joined_column(table, parts, "labels", counts),
        "stimulus_id": _joined_column(table, parts, "stimulus_id", counts),
        "split": np.repeat(list(parts), counts),
    }
    tables = [class_table(table[names["class_names"]]) for names in parts.values() if "class_names" in names]
    if any(names != tables[0] for names in tables):
        raise DataError("class_names of two splits differ: give one 'class_names', and labels that count in it")
    return joined | ({"class_names": tables[0]} if tables else {})


def _joined_images(table: Mapping[str, Any], names: list[str], dims: Any) -> tuple[list[np.ndarray], tuple[str, ...]]:
    found: list[np.ndarray] = []
    order: tuple[str, ...] = ()
    for name in names:
        values = array_of(table[name], name)
        check_finite(values, name)  # here, while a place in the array is one in the file
        values, order = arranged(values, names_of_dims(table[name]) if dims is None else words(np.ravel(dims)))
        found.append(values)
        if values.shape[1:] != found[0].shape[1:]:
            raise DataError(f"{name} has images of shape {values.shape[1:]}, but {names[0]} {found[0].shape[1:]}")
    return found, order


def _joined_column(
    table: Mapping[str, Any], parts: Mapping[str, Mapping[str, str]], word: str, counts: list[int]
) -> np.ndarray | None:
    """Return what stands one for each image, of all splits; None if no split has it."""
    found = []
    for names, count in zip(parts.values(), counts, strict=True):
        if name := names.get(word):
            values = array_of(one_each(table[name], name), name)
            if values.size != count:
                raise DataError(f"{name} has {values.size} {word} for the {count} images of {names['images']}")
            found.append(values.ravel())
    if 0 < len(found) < len(parts) or (word == "labels" and not found):
        missing = next(names["images"] for names in parts.values() if word not in names)
        raise DataError(f"there are no {word} for '{missing}', for example y_train for x_train")
    if len({values.dtype.kind in "USO" for values in found}) > 1:
        raise DataError(f"{word} are words in one split and numbers in another: give words in all, or numbers in all")
    return np.concatenate(found) if found else None


def _pick(table: Mapping[str, Any], *names: str) -> Any:
    """Return what stands under one of two names; None if nothing does."""
    found = [name for name in names if name in table]
    if len(found) > 1:
        raise DataError(f"it holds both {' and '.join(map(repr, found))}: remove one of them")
    return table[found[0]] if found else None


def _tell_unused(
    path: Path, sizes: Mapping[str, tuple[int, ...]], used: Collection[str], count: int, others: Sequence[str]
) -> None:
    """Warn of what is not read; refuse arrays that look like the labels or the splits that are missing."""
    arrays = sorted(set(sizes) - set(used))
    for name in arrays:
        meant = "split" if name.lower().startswith("split") else "labels"
        if meant not in sizes and (meant == "split" or "label" not in sizes) and sizes[name] in ((count,), (count, 1)):
            raise DataError(f"{path} has no '{meant}', but '{name}' has one value per image: rename it or remove it")
    if unused := [*arrays, *others]:
        warnings.warn(f"{path}: not used: {', '.join(unused)}. {LAYOUT}", stacklevel=2)
