"""Bring your own data: arrays, an `.npz`, a netCDF file, or a folder of images."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from biorep import rng
from biorep.errors import DataError, NumericalError
from biorep.schema import SPLITS, check_dataset, check_finite, describe

if TYPE_CHECKING:
    import xarray as xr

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
#: What numpy, zlib and netCDF4 raise at files that are damaged or hold something else.
_UNREADABLE = (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)
LAYOUT = (
    "An .npz or netCDF file holds 'images' (or 'image') and 'labels' (or 'label'), and optionally 'split' with the "
    "words train, validation or test; an .npz may instead hold x_train, y_train, x_test, y_test. A folder holds "
    "one sub-folder of images per class, optionally inside folders train/ and test/."
)


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
        Unique name of each image; by default ``<name>-<split>-<index>``.
    name : str
        Name of the dataset.

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

    Examples
    --------
    >>> import numpy as np
    >>> data = from_arrays(np.zeros((3, 4, 4), np.uint8), np.array([0, 1, 0]), class_names=["on", "off"])
    >>> dict(data.image.sizes)
    {'presentation': 3, 'row': 4, 'column': 4}
    """
    import xarray as xr

    images = np.asarray(images)
    if images.ndim < 2 or len(images) == 0:
        raise DataError(f"images must be (presentation, ...) and not empty, got shape {images.shape}")
    n = len(images)
    values, bounds = _scaled(images, value_range)
    classes, names = _classes(labels, class_names, n)
    splits = np.asarray(split, dtype=str)
    if splits.shape not in ((), (n,)):
        raise DataError(f"split must be one word or have shape ({n},) like the images, got {splits.shape}")
    splits = np.broadcast_to(splits, (n,))
    if unknown := set(splits.tolist()) - set(SPLITS):
        raise DataError(f"split {sorted(unknown)} is unknown. Allowed: {', '.join(SPLITS)}.")
    ids = [f"{name}-{s}-{i:05d}" for i, s in enumerate(splits)] if stimulus_id is None else list(stimulus_id)
    if len(ids) != n or len(set(ids)) != n:
        raise DataError(f"stimulus_id must hold {n} different names, got {len(ids)} with {len(set(ids))} different")
    inner = {1: ("pixel",), 2: ("row", "column"), 3: ("row", "column", "channel")}.get(values.ndim - 1)
    if inner is None:
        raise DataError(
            f"an image must have 1, 2 or 3 dims (pixels; rows, columns; channels last), got {values.ndim - 1}"
        )
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


def read_path(path: Path) -> xr.Dataset:
    """Read all splits of a user's data set from a file or a folder.

    Raises
    ------
    DataError
        If the path does not exist or does not have the expected layout; the message says what that is.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist. {LAYOUT}")
    if path.is_dir():
        return _read_folder(path)
    try:
        if path.suffix.lower() == ".npz":
            return _read_npz(path)
        if path.suffix.lower() in (".nc", ".nc4", ".netcdf", ".h5"):
            return _read_netcdf(path)
    except (DataError, NumericalError) as error:
        raise (
            error if str(path) in str(error) else type(error)(f"{path}: {str(error).rstrip('.')}. {LAYOUT}")
        ) from error
    except _UNREADABLE as error:
        raise DataError(f"cannot read {path}: {str(error).rstrip('.')}. {LAYOUT}") from error
    raise DataError(f"{path}: files ending in {path.suffix!r} are not understood. {LAYOUT}")


def fingerprint(path: Path) -> str:
    """Return a checksum of a user's file, or of all images in a folder with their names."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    total = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise DataError(f"{path} holds no images. {LAYOUT}")
    for file in files:
        total.update(f"{file.relative_to(path)}\0".encode() + file.read_bytes())
    return total.hexdigest()


def _pick(table: dict[str, np.ndarray], *names: str) -> np.ndarray | None:
    return next((table[name] for name in names if name in table), None)


def _read_npz(path: Path) -> xr.Dataset:
    with np.load(path, allow_pickle=False) as file:
        table = dict(file.items())
    if "x_train" in table:
        parts = [part for part in ("train", "test") if f"x_{part}" in table]
        images = np.concatenate([table[f"x_{part}"] for part in parts])
        labels = np.concatenate([table[f"y_{part}"].reshape(-1) for part in parts])
        split = np.concatenate([[part] * len(table[f"x_{part}"]) for part in parts])
    else:
        found = _pick(table, "images", "image")
        if found is None:
            raise DataError(f"{path} holds {', '.join(table)}. {LAYOUT}")
        images, labels = found, _pick(table, "labels", "label")  # type: ignore[assignment]
        split = table["split"].astype(str) if "split" in table else _assign_test(len(images))
    return from_arrays(images, labels, split=split, name=path.stem)


def _read_netcdf(path: Path) -> xr.Dataset:
    import xarray as xr

    with xr.open_dataset(path) as file:
        table = {str(name): variable.values for name, variable in file.variables.items()}
        attrs = {str(name): dict(variable.attrs) for name, variable in file.variables.items()}
    name = "images" if "images" in table else "image"
    if name not in table:
        raise DataError(f"{path} holds {', '.join(table)}. {LAYOUT}")
    split = table["split"].astype(str) if "split" in table else _assign_test(len(table[name]))
    stated = attrs[name].get("value_range")
    names = attrs.get("label", {}).get("class_names")
    if isinstance(names, str):
        names = json.loads(names) if names.startswith("[") else [names]
    return from_arrays(
        table[name],
        _pick(table, "labels", "label"),
        split=split,
        value_range=None if stated is None else (float(stated[0]), float(stated[1])),
        class_names=None if names is None else list(names),
        stimulus_id=[str(s) for s in table["stimulus_id"]] if "stimulus_id" in table else None,
        name=path.stem,
    )


def _read_folder(path: Path) -> xr.Dataset:
    from PIL import Image

    parts = [part for part in SPLITS if (path / part).is_dir()]
    strangers = sorted(p.name for p in path.iterdir() if _is_class(p) and p.name not in SPLITS) if parts else []
    if strangers:
        raise DataError(f"{path} holds {', '.join(strangers)} beside {', '.join(parts)}: is that a split? {LAYOUT}")
    rows = []
    for part in parts or [""]:
        for folder in sorted(p for p in (path / part).iterdir() if _is_class(p)):
            files = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            rows += [(part, folder.name, file) for file in files]
    if not rows:
        raise DataError(f"{path} holds no images in class folders. {LAYOUT}")
    names = sorted({name for _, name, _ in rows})
    pixels = []
    for _, _, file in rows:
        try:
            with Image.open(file) as image:
                if image.mode.startswith(("I", "F")):
                    raise DataError(f"{file} has more than 8 bits per channel; save it as 8 bits, or use an .npz")
                pixels.append(np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")))
        except OSError as error:
            raise DataError(f"cannot read the image {file}: {error}") from error
        if pixels[-1].shape != pixels[0].shape:
            raise DataError(f"{file} has shape {pixels[-1].shape}, the first image {pixels[0].shape}; make them equal")
    labels = np.array([names.index(name) for _, name, _ in rows])
    split = np.array([part for part, _, _ in rows]) if parts else _assign_test(len(rows))
    return from_arrays(np.stack(pixels), labels, split=split, class_names=names, name=path.name)


def _is_class(path: Path) -> bool:
    """Return whether a path is a folder of images; hidden folders are other programs' business."""
    return path.is_dir() and not path.name.startswith(".")


def _assign_test(n: int) -> np.ndarray:
    """Return the splits of data that come without: a seeded fifth of them (at least one) is for testing."""
    split = np.full(n, "train", dtype="<U10")
    split[rng.stream(0, "test-split", n).permutation(n)[: max(1, n // 5)]] = "test"
    return split
