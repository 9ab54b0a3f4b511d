"""The 8 x 8 digits that ship with scikit-learn, in one stored stratified split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from biorep.config import setting
from biorep.datasets.known import ClassImages
from biorep.errors import DataError

CLASSES = [str(digit) for digit in range(10)]


class Digits(ClassImages):
    """8 x 8 handwritten digits, embedded: 1437 to learn from, 360 to test on."""

    classes: ClassVar[Sequence[str]] = CLASSES
    maximum: ClassVar[int] = 16  # the images count pixels of 4 x 4 blocks

    name: Literal["digits"] = setting("digits", hashed=False)

    def arrays(self, part: str, root: str | Path | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return images (presentation, 8, 8) in 0..16 and labels (presentation,); part is train or test."""
        from sklearn.datasets import load_digits

        bunch = load_digits()
        images, labels = bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)
        found = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
        if found != self.entry.checksum:
            raise DataError(f"scikit-learn's digits have changed: SHA-256 {found}, expected {self.entry.checksum}")
        test = np.zeros(len(images), bool)
        test[self.entry.extra["test"]] = True
        chosen = test if part == "test" else ~test
        return images[chosen], labels[chosen]

    def where(self, root: str | Path | None = None) -> str | None:
        """Return where it comes from."""
        return "ships with scikit-learn"
