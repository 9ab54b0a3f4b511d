"""MNIST and Fashion-MNIST: the IDX format (big-endian header, then unsigned bytes)."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from biorep.config import setting
from biorep.datasets.files import read
from biorep.datasets.known import ClassImages
from biorep.errors import DataError


def parse_idx(data: bytes, name: str) -> np.ndarray:
    """Return the array of an IDX file of unsigned bytes, in its stated shape.

    Raises
    ------
    DataError
        If the header is not that of an IDX file of unsigned bytes or the length does not fit it.
    """
    if not isinstance(data, bytes):
        raise DataError(f"{name}: an IDX file is read as bytes, Path(file).read_bytes(), got {type(data).__name__}")
    if len(data) < 4 or data[:3] != b"\x00\x00\x08" or len(data) < 4 + 4 * data[3]:
        raise DataError(f"{name}: not an IDX file of unsigned bytes (it starts with {data[:4].hex()})")
    dims = data[3]
    shape = struct.unpack(f">{dims}I", data[4 : 4 + 4 * dims])
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * dims)
    if values.size != math.prod(shape):
        raise DataError(f"{name}: the header promises {shape} values, the file holds {values.size}")
    return values.reshape(shape)


class IDX(ClassImages):
    """Four IDX files: images and labels of 28 x 28 pixels, to learn from and to test on."""

    def arrays(self, part: str, root: str | Path | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return images (presentation, 28, 28) and labels (presentation,) as unsigned bytes; part is train or test."""
        prefix = {"train": "train", "test": "t10k"}[part]
        by_name = {file.name: file for file in self.entry.files}
        names = [f"{prefix}-{what}-ubyte" for what in ("images-idx3", "labels-idx1")]
        images, labels = (parse_idx(read(self.entry, by_name[name], root), name) for name in names)
        return images, labels


class MNIST(IDX):
    """Handwritten digits, 28 x 28."""

    classes: ClassVar[Sequence[str]] = [str(digit) for digit in range(10)]

    name: Literal["mnist"] = setting("mnist", hashed=False)


class FashionMNIST(IDX):
    """Articles of clothing, 28 x 28."""

    classes: ClassVar[Sequence[str]] = [
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ]  # fmt: skip

    name: Literal["fashion-mnist"] = setting("fashion-mnist", hashed=False)
