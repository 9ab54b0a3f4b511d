"""Labels and names of classes: numbers or words, and which number each name has."""

from __future__ import annotations

import json
import operator
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from biorep.datasets.layout import one_each
from biorep.errors import DataError, did_you_mean

_RENUMBER = "number the classes from 0 without gaps: np.unique(labels, return_inverse=True)[1]"


def array_of(values: Any, what: str) -> np.ndarray:
    """Return what a user gives as an array; refuse masked values, which numpy would fill with what lies below."""
    try:
        if isinstance(values, list | tuple) and any(isinstance(value, np.ma.MaskedArray) for value in values):
            values = np.ma.stack([np.ma.asanyarray(value) for value in values])
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{what} cannot be read as an array: {error}") from error
    if np.ma.is_masked(values):
        bad = np.argwhere(np.ma.getmaskarray(values))
        first = tuple(map(int, bad[0]))
        raise DataError(f"{len(bad)} values of the {what} are masked: fill them first (one is at index {first})")
    return array


def words(values: Iterable[Any]) -> list[str]:
    """Return values as text; numpy stores it as bytes at times."""
    try:
        return [value.decode() if isinstance(value, bytes) else str(value) for value in values]
    except UnicodeDecodeError as error:
        raise DataError(f"{error.object!r} is no text in UTF-8") from error


def sort_naturally(names: Iterable[str]) -> list[str]:
    """Return different names sorted as people count: 1, 2, 10, not 1, 10, 2; the same on every machine."""

    def key(name: str) -> tuple[list[str | int], str]:
        parts = re.split("([0-9]+)", name)  # text and numbers in turn
        return [int(part) if place % 2 else part for place, part in enumerate(parts)], name

    return sorted(set(names), key=key)


def class_table(class_names: Any) -> list[str] | None:
    """Return the names of classes in the order of the labels.

    Parameters
    ----------
    class_names : sequence of str, dict, or JSON text of either
        A dict says which number has which name, or the other way round.

    Raises
    ------
    DataError
        If there is no order, a name stands for two classes, or numbers do not count from 0.
    """
    given = np.asarray(class_names).tolist() if hasattr(class_names, "__array__") else class_names
    if isinstance(given, str):
        given = _json(given) if given.lstrip().startswith(("[", "{")) else [given]
    if isinstance(given, Mapping):
        given = _by_number(given)
    if given is None:
        return None
    if isinstance(given, set | frozenset | bytes) or not isinstance(given, Iterable):
        raise DataError(f"class_names must be a list in the order of the labels, got {given!r}")
    given = list(given)
    if not all(isinstance(name, str | bytes | int | float | np.generic) and name == name for name in given):
        raise DataError(f"class_names must be words, got {given}")
    names = words(given)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"class_names must be different, got {twice[0]!r} more than once")
    return names


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"class_names begin like a list in JSON and are none: {error}, in {text!r}") from error


def _by_number(table: Mapping[Any, Any]) -> list[Any]:
    turned = all(isinstance(key, str) and isinstance(value, int | np.integer) for key, value in table.items())
    items = [(value, key) if turned else (key, value) for key, value in table.items()]
    try:
        pairs: dict[int, Any] = {
            int(key) if isinstance(key, str) else operator.index(key): value for key, value in items
        }
    except (TypeError, ValueError):
        pairs = {}
    if not pairs or set(pairs) != set(range(len(table))):
        raise DataError(f"class_names must name the classes from 0 on without gaps, each once, got {dict(table)}")
    return [pairs[number] for number in range(len(pairs))]


def classes(labels: Any, class_names: Any, n: int) -> tuple[np.ndarray, list[str]]:
    """Return the class of each image, (presentation,) int64, and the names of all classes.

    Parameters
    ----------
    labels : array, (presentation,) or (presentation, 1), optional
        Numbers from 0, or words; without `class_names` these are sorted and become the names.
    class_names
        See `class_table`.
    n : int
        Number of images.

    Raises
    ------
    DataError
        If these are no classes; the message says how to make them.

    Warns
    -----
    UserWarning
        If numbers without a name have no image: networks would get outputs for them.
    """
    names = class_table(class_names)
    values = np.zeros(n, np.int64) if labels is None else array_of(one_each(labels, "labels"), "labels")
    values = _flat(values, n)
    if values.dtype.kind in "USO":
        return _of_words(values, names)
    _check_numbers(values)
    count = int(values.max()) + 1
    if count > max(1000, n):
        raise DataError(f"labels go up to {count - 1} for {n} images; {_RENUMBER}")
    if names is not None and len(names) < count:
        raise DataError(f"labels go up to {count - 1}, but there are only {len(names)} class names")
    if names is None and (idle := np.setdiff1d(np.arange(count), values).tolist()):
        shown = ", ".join(map(str, idle[:10])) + (", ..." if len(idle) > 10 else "")
        warnings.warn(
            f"no image has the label {shown}, though labels go up to {count - 1}, and each is a class: {_RENUMBER}, or "
            "give class_names",
            stacklevel=3,
        )
    return values.astype(np.int64), names if names is not None else [str(number) for number in range(count)]


def _flat(values: np.ndarray, n: int) -> np.ndarray:
    if values.shape in ((n,), (n, 1)):
        return values.reshape(n)
    hint = "; give labels.ravel()" if values.size == n else ""
    if values.ndim == 2 and len(values) == n and values.dtype.kind in "biuf":
        one_hot = ((values == 0) | (values == 1)).all() and (values.sum(axis=1) == 1).all()
        hint = "; of one-hot labels give labels.argmax(axis=1)" if one_hot else hint
    raise DataError(f"labels must have shape ({n},) like the images, got {values.shape}{hint}")


def _of_words(values: np.ndarray, names: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    no_words = [place for place, value in enumerate(values) if not isinstance(value, str | bytes) or not value]
    if no_words:
        raise DataError(
            f"labels must all be words or all whole numbers, got {values[no_words[0]]!r} at index {no_words[0]}; give "
            "labels.astype(int), or name the class"
        )
    said = words(values)
    known = list(names) if names is not None else sort_naturally(said)
    places = {name: place for place, name in enumerate(known)}
    if strangers := sorted(set(said) - set(known)):
        hint = did_you_mean(strangers[0], known) or "."
        raise DataError(f"labels hold {strangers[0]!r}, which is none of the class_names{hint} These are {known}")
    return np.array([places[word] for word in said], np.int64), known


def _check_numbers(values: np.ndarray) -> None:
    if values.dtype.kind == "f" and (missing := np.flatnonzero(np.isnan(values))).size:
        raise DataError(
            f"{len(missing)} labels are missing (NaN), the first at index {missing[0]}: leave these images out"
        )
    if values.dtype.kind not in "iu" or values.min() < 0:
        smallest = f" from {values.min()}" if values.dtype.kind in "biuf" else ""
        remedy = _RENUMBER if values.dtype.kind == "i" else "give labels.astype(int) if they are meant so"
        raise DataError(f"labels must be whole numbers from 0 up, got {values.dtype}{smallest}; {remedy}")
