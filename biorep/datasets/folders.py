"""A folder of images: one sub-folder per class, optionally inside folders of splits."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biorep.datasets.arrays import from_arrays
from biorep.datasets.classes import sort_naturally
from biorep.datasets.files import digest
from biorep.datasets.layout import LAYOUT
from biorep.datasets.splits import assigned_test, split_word
from biorep.errors import DataError
from biorep.schema import IMAGE_DIMS, SPLITS

if TYPE_CHECKING:
    import xarray as xr

#: Endings of the files that are read.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class _Picture:
    """An image file; `part` is "" in folders without splits."""

    part: str
    class_name: str
    file: Path


def _pictures(path: Path) -> list[_Picture]:
    """Return the images of a folder by split and class."""
    found = [
        _Picture(part, _name(folder), file)
        for part, place in _parts(path).items()
        for folder in _folders(place)
        for file in _shown(folder)
        if file.suffix.lower() in SUFFIXES
    ]
    if not found:
        raise DataError(f"{path} holds no images in class folders. {LAYOUT}")
    return found


def _parts(path: Path) -> dict[str, Path]:
    """Return the folders of splits by our words for these; of a folder without them, itself by ""."""
    folders = _folders(path)
    found: dict[str, Path] = {}
    for folder in folders:
        if word := split_word(folder.name):
            if word in found:
                raise DataError(f"{path} holds both {found[word].name} and {folder.name}: make them one. {LAYOUT}")
            found[word] = folder
    found = {word: found[word] for word in SPLITS if word in found}
    strangers = [folder.name for folder in folders if folder not in found.values()] if found else []
    if strangers:
        raise DataError(f"{path} holds {', '.join(strangers)} beside {', '.join(found)}: is that a split? {LAYOUT}")
    return found or {"": path}


def _shown(path: Path) -> list[Path]:
    """Return what a folder holds; hidden files and folders are other programs' business."""
    return sorted(item for item in path.iterdir() if not item.name.startswith("."))


def _folders(path: Path) -> list[Path]:
    return [item for item in _shown(path) if item.is_dir()]


def _name(folder: Path) -> str:
    """Return the name of a class: systems that take an umlaut for one letter or two must not make two classes of it."""
    return unicodedata.normalize("NFC", folder.name)


def _unused(path: Path) -> list[str]:
    """Return what seems to be meant and is not read: classes without images, images at other places, other formats."""
    from PIL import Image

    Image.init()
    formats = set(Image.registered_extensions())
    found = []
    for place in _parts(path).values():
        for folder in _folders(place):
            items = _shown(folder)
            read = [item for item in items if item.suffix.lower() in SUFFIXES]
            found += [item for item in items if item not in read and (item.is_dir() or item.suffix.lower() in formats)]
            found += [] if read else [folder]
        found += [item for item in _shown(place) if item.is_file() and item.suffix.lower() in formats]
    return [str(item.relative_to(path)) for item in found]


def folder_digest(path: Path) -> str:
    """Return the digest of the images of a folder; names of classes count, names of files do not."""
    rows = sorted([picture.part, picture.class_name, digest(picture.file)] for picture in _pictures(path))
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def read_folder(path: Path) -> xr.Dataset:
    """Return the images of a folder; classes are in the order in which people count."""
    pictures = _pictures(path)
    read = [_pixels(picture.file) for picture in pictures]
    pixels, opaque = [image for image, _ in read], [clear for _, clear in read]
    for picture, image in zip(pictures, pixels, strict=True):
        if image.shape != pixels[0].shape:
            raise DataError(
                f"{picture.file} has shape {image.shape}, the first image {pixels[0].shape}; make them equal"
            )
    if not all(opaque):
        warnings.warn(
            f"{path}: the transparency of {opaque.count(False)} images is not used, but the colours below it, for "
            f"example of {pictures[opaque.index(False)].file}",
            stacklevel=2,
        )
    if unused := _unused(path):
        more = ", ..." if len(unused) > 10 else ""
        warnings.warn(f"{path}: not used: {', '.join(unused[:10])}{more}. {LAYOUT}", stacklevel=2)
    # By content within each class, so that what files are called changes neither splits nor subsets.
    marks = [hashlib.sha256(image.tobytes()).hexdigest() for image in pixels]
    order = sorted(range(len(pictures)), key=lambda i: (pictures[i].part, pictures[i].class_name, marks[i]))
    parts = np.array([pictures[i].part for i in order])
    return from_arrays(
        np.stack([pixels[i] for i in order]),
        np.array([pictures[i].class_name for i in order]),
        split=parts if parts[0] else assigned_test(len(order)),
        class_names=sort_naturally(picture.class_name for picture in pictures),
        dims=IMAGE_DIMS[: pixels[0].ndim + 1],
        name=path.name,
    )


def _pixels(file: Path) -> tuple[np.ndarray, bool]:
    """Return an image as it is seen, (row, column) or (row, column, channel) unsigned bytes; whether it is opaque."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            _check_kind(file, image)
            upright = ImageOps.exif_transpose(image)
            opaque = not upright.has_transparency_data or upright.convert("RGBA").getchannel("A").getextrema() == (
                255,
                255,
            )
            return np.asarray(upright.convert("L" if image.mode in ("1", "L", "LA") else "RGB")), opaque
    except DataError:
        raise
    except Exception as error:  # each format of Pillow has errors of its own for files that are damaged
        raise DataError(f"cannot read the image {file}: {error}") from error


def _check_kind(file: Path, image: Any) -> None:
    # Pillow would clip grey values of 16 bits to 255, and cut the lower half off colours.
    if image.mode.startswith(("I", "F")) or re.search(";16[BLN]", str(image.tile)):
        raise DataError(f"{file} has more than 8 bits per channel; save it as 8 bits, or use an .npz")
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # a telephone's photograph with its preview
        raise DataError(f"{file} holds {image.n_frames} images, and one is read of each file; save them one by one")
