"""The 8 x 8 digits that ship with scikit-learn, in one stored stratified split."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from biorep.datasets.registry import Entry
from biorep.errors import DataError

CLASSES = [str(digit) for digit in range(10)]
MAXIMUM = 16  # the images count pixels of 4 x 4 blocks


def arrays(entry: Entry, part: str, root: str | Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Return images (presentation, 8, 8) in 0..16 and labels (presentation,); part is train or test."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)
    found = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    if found != entry.checksum:
        raise DataError(f"scikit-learn's digits have changed: SHA-256 {found}, expected {entry.checksum}")
    test = np.zeros(len(images), bool)
    test[entry.extra["test"]] = True
    chosen = test if part == "test" else ~test
    return images[chosen], labels[chosen]
