"""CIFAR-10: pickled python batches, read without trusting the pickle."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from biorep.config import setting
from biorep.datasets.files import read
from biorep.datasets.known import ClassImages
from biorep.errors import DataError

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

# What a pickled numpy array of plain numbers needs, under its old and its new names, and nothing else.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _ArraysOnly(pickle.Unpickler):
    """Unpickle containers, numbers, strings and numpy arrays; refuse anything that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise DataError(f"the batch asks for '{module}.{name}', which a CIFAR-10 batch never does; not loaded")
        if name == "_reconstruct":
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        return super().find_class(module, name)


def parse_batch(data: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images (presentation, 32, 32, 3) and labels (presentation,) of one batch, as unsigned bytes.

    Raises
    ------
    DataError
        If the pickle holds anything but plain data, or not the arrays of a batch.
    """
    try:
        batch = _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
        pixels, labels = np.asarray(batch[b"data"], np.uint8), np.asarray(batch[b"labels"], np.uint8)
        images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    except Exception as error:
        raise DataError(f"{name}: not a CIFAR-10 python batch ({type(error).__name__}: {error})") from error
    if len(images) != len(labels):
        raise DataError(f"{name}: {len(images)} images but {len(labels)} labels")
    return np.ascontiguousarray(images), labels


class CIFAR10(ClassImages):
    """Colour photographs of ten classes, 32 x 32."""

    classes: ClassVar[Sequence[str]] = CLASSES

    name: Literal["cifar10"] = setting("cifar10", hashed=False)

    def arrays(self, part: str, root: str | Path | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return images (presentation, 32, 32, 3) and labels (presentation,); part is train or test."""
        files = [file for file in self.entry.files if (file.name == "test_batch") == (part == "test")]
        batches = [parse_batch(read(self.entry, file, root), file.name) for file in files]
        return np.concatenate([b[0] for b in batches]), np.concatenate([b[1] for b in batches])
