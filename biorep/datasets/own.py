"""Your own data: an `.npz`, a netCDF file, or a folder of images. Known by what it holds, never by where it lies."""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from biorep.contracts import Dataset
from biorep.datasets.arrays import from_arrays
from biorep.datasets.files import digest
from biorep.datasets.splits import assigned_test, check_part, select
from biorep.errors import DataError, NumericalError
from biorep.schema import SPLITS, subset

if TYPE_CHECKING:
    import xarray as xr

#: What draws and results of all files are named by.
WORD = "own"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
#: What numpy, zlib and netCDF4 raise at files that are damaged or hold something else.
_UNREADABLE = (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)
LAYOUT = (
    "An .npz or netCDF file holds 'images' (or 'image') and 'labels' (or 'label'), and optionally 'split' with the "
    "words train, validation or test; an .npz may instead hold x_train, y_train, x_test, y_test. A folder holds "
    "one sub-folder of images per class, optionally inside folders train/ and test/."
)


class File(Dataset):
    """A file or a folder of your own; its suffix says how it is read."""

    versions: ClassVar[Mapping[str, int]] = {"own-file": 1}

    @property
    def word(self) -> str:
        """The same for all files: draws are not named by paths."""
        return WORD

    def content(self) -> dict[str, Any]:
        """Return the digest of the file; of a folder, the digest of its images with their splits and classes."""
        path = Path(self.name)
        _reader(path)
        try:
            return {"sha256": _folder_digest(path) if path.is_dir() else digest(path)}
        except OSError as error:
            raise DataError(f"cannot read {path}: {error}") from error

    def load(self, split: str) -> xr.Dataset:
        """Return the images of a split, ``image(presentation, ...)``."""
        check_part(split)
        return subset(select(read_path(Path(self.name)), split, self.name), self.limit)


def read_path(path: Path) -> xr.Dataset:
    """Read all splits of a user's data set from a file or a folder.

    Raises
    ------
    DataError
        If the path does not exist or does not have the expected layout; the message says what that is.
    """
    reader = _reader(path)
    try:
        dataset = reader(path)
    except (DataError, NumericalError) as error:
        raise (
            error if str(path) in str(error) else type(error)(f"{path}: {str(error).rstrip('.')}. {LAYOUT}")
        ) from error
    except _UNREADABLE as error:
        raise DataError(f"cannot read {path}: {str(error).rstrip('.')}. {LAYOUT}") from error
    # Two copies of one file are one dataset: what is made of them must not tell their names apart.
    dataset.attrs["dataset"] = WORD
    return dataset


def _reader(path: Path) -> Callable[[Path], xr.Dataset]:
    if not path.exists():
        raise DataError(f"{path} does not exist. {LAYOUT}")
    if path.is_dir():
        return _read_folder
    if path.suffix.lower() not in READERS:
        raise DataError(f"{path}: files ending in {path.suffix!r} are not understood. {LAYOUT}")
    return READERS[path.suffix.lower()]


def _pick(table: Mapping[str, Any], *names: str) -> Any:
    """Return what stands under one of two names; None if nothing does."""
    found = [name for name in names if name in table]
    if len(found) > 1:
        raise DataError(f"it holds both {' and '.join(map(repr, found))}: remove one of them")
    return table[found[0]] if found else None


def _tell_unused(path: Path, sizes: Mapping[str, tuple[int, ...]], used: Collection[str], count: int) -> None:
    """Warn of arrays that are not read; refuse those that look like the labels or the splits that are missing."""
    unused = sorted(set(sizes) - set(used))
    for name in unused:
        meant = "split" if name.lower().startswith("split") else "labels"
        if meant not in sizes and (meant == "split" or "label" not in sizes) and sizes[name] in ((count,), (count, 1)):
            raise DataError(f"{path} has no '{meant}', but '{name}' has one value per image: rename it or remove it")
    if unused:
        warnings.warn(f"{path}: not used: {', '.join(unused)}. {LAYOUT}", stacklevel=2)


def _read_npz(path: Path) -> xr.Dataset:
    with np.load(path, allow_pickle=False) as file:
        table = dict(file.items())
    sizes = {name: array.shape for name, array in table.items()}
    if "x_train" in table:
        parts = [part for part in ("train", "test") if f"x_{part}" in table]
        for part in parts:
            if (found := table[f"y_{part}"].size) != len(table[f"x_{part}"]):
                raise DataError(f"y_{part} has {found} labels for the {len(table[f'x_{part}'])} images of x_{part}")
        images = np.concatenate([table[f"x_{part}"] for part in parts])
        labels = np.concatenate([table[f"y_{part}"].reshape(-1) for part in parts])
        split = np.concatenate([[part] * len(table[f"x_{part}"]) for part in parts])
        _tell_unused(path, sizes, [f"{letter}_{part}" for part in parts for letter in "xy"], -1)
    else:
        images, labels = _pick(table, "images", "image"), _pick(table, "labels", "label")
        if images is None:
            raise DataError(f"{path} holds {', '.join(table)}. {LAYOUT}")
        _tell_unused(path, sizes, ("images", "image", "labels", "label", "split"), len(images))
        split = table["split"].astype(str) if "split" in table else assigned_test(len(images))
    return from_arrays(images, labels, split=split, name=path.stem)


def _read_netcdf(path: Path) -> xr.Dataset:
    import xarray as xr

    with xr.open_dataset(path) as file:
        table = {str(name): file[name].load() for name in file.variables}
        dims = set(map(str, file.dims))
    images, labels = _pick(table, "images", "image"), _pick(table, "labels", "label")
    if images is None:
        raise DataError(f"{path} holds {', '.join(table)}. {LAYOUT}")
    known = {"images", "image", "labels", "label", "split", "stimulus_id", "object_name", *dims}
    count = images.sizes.get("presentation", len(images))
    _tell_unused(path, {name: array.shape for name, array in table.items()}, known, count)
    split = table["split"].values.astype(str) if "split" in table else assigned_test(count)
    stated = images.attrs.get("value_range")
    names = None if labels is None else labels.attrs.get("class_names")
    if isinstance(names, str):
        names = json.loads(names) if names.startswith("[") else [names]
    return from_arrays(
        images,
        None if labels is None else labels.values,
        split=split,
        value_range=None if stated is None else (float(stated[0]), float(stated[1])),
        class_names=None if names is None else list(names),
        stimulus_id=[str(s) for s in table["stimulus_id"].values] if "stimulus_id" in table else None,
        name=path.stem,
    )


# ------------------------------------------------------------------------------------------- folders of images


@dataclass(frozen=True)
class _Picture:
    """An image file; `part` is "" in folders without splits."""

    part: str
    class_name: str
    file: Path


def _pictures(path: Path) -> list[_Picture]:
    """Return the images of a folder by split and class."""
    parts = [part for part in SPLITS if (path / part).is_dir()]
    strangers = sorted(p.name for p in path.iterdir() if _is_class(p) and p.name not in SPLITS) if parts else []
    if strangers:
        raise DataError(f"{path} holds {', '.join(strangers)} beside {', '.join(parts)}: is that a split? {LAYOUT}")
    found = [
        _Picture(part, folder.name, file)
        for part in parts or [""]
        for folder in sorted(p for p in (path / part).iterdir() if _is_class(p))
        for file in sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    ]
    if not found:
        raise DataError(f"{path} holds no images in class folders. {LAYOUT}")
    return found


def _is_class(path: Path) -> bool:
    """Return whether a path is a folder of images; hidden folders are other programs' business."""
    return path.is_dir() and not path.name.startswith(".")


def _folder_digest(path: Path) -> str:
    """Return the digest of the images of a folder; names of classes count, names of files do not."""
    rows = sorted([picture.part, picture.class_name, digest(picture.file)] for picture in _pictures(path))
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _read_folder(path: Path) -> xr.Dataset:
    pictures = _pictures(path)
    pixels = [_pixels(picture.file) for picture in pictures]
    for picture, image in zip(pictures, pixels, strict=True):
        if image.shape != pixels[0].shape:
            raise DataError(
                f"{picture.file} has shape {image.shape}, the first image {pixels[0].shape}; make them equal"
            )
    # By content within each class, so that what files are called changes neither splits nor subsets.
    marks = [hashlib.sha256(image.tobytes()).hexdigest() for image in pixels]
    order = sorted(range(len(pictures)), key=lambda i: (pictures[i].part, pictures[i].class_name, marks[i]))
    names = sorted({picture.class_name for picture in pictures})
    parts = np.array([pictures[i].part for i in order])
    return from_arrays(
        np.stack([pixels[i] for i in order]),
        np.array([names.index(pictures[i].class_name) for i in order]),
        split=parts if parts[0] else assigned_test(len(order)),
        class_names=names,
        name=path.name,
    )


def _pixels(file: Path) -> np.ndarray:
    """Return an image, (row, column) or (row, column, channel), as unsigned bytes."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            if image.mode.startswith(("I", "F")):
                raise DataError(f"{file} has more than 8 bits per channel; save it as 8 bits, or use an .npz")
            return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    except OSError as error:
        raise DataError(f"cannot read the image {file}: {error}") from error


#: Suffix -> reader of a file.
READERS: dict[str, Callable[[Path], xr.Dataset]] = {
    ".npz": _read_npz,
    **dict.fromkeys((".nc", ".nc4", ".netcdf", ".h5"), _read_netcdf),
}
