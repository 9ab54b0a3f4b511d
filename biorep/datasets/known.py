"""What the known data sets share: an entry of the registry, checked files, and images with classes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from biorep.contracts import Dataset
from biorep.datasets import files, registry
from biorep.datasets.arrays import from_arrays
from biorep.datasets.splits import VALIDATION_SEED, check_part, validation_part
from biorep.schema import subset

if TYPE_CHECKING:
    import xarray as xr


class Known(Dataset):
    """A data set of the registry: its word is its name there."""

    @property
    def entry(self) -> registry.Entry:
        """What the registry says about it."""
        return registry.entries()[self.name]

    def content(self, root: str | Path | None = None) -> dict[str, Any]:
        """Return the word and the registered checksum of all files; only these are ever read, so none is opened.

        The word counts because the validation part is drawn under it.
        """
        return {"word": self.name, "sha256": self.entry.checksum}

    def load(self, split: str, root: str | Path | None = None) -> xr.Dataset:
        """Return the images of a split; `root` is the folder that holds the files, see `biorep.datasets.load`."""
        dataset = self.images(check_part(split), root)
        dataset.attrs |= {"licence": self.entry.licence, "citation": self.entry.citation}
        return subset(dataset, self.limit)

    @abstractmethod
    def images(self, split: str, root: str | Path | None) -> xr.Dataset:
        """Return all images of a split."""

    def where(self, root: str | Path | None = None) -> str | None:
        """Return where its files are, or None if they are not at hand."""
        paths = [files.find(self.entry, file, root) for file in self.entry.files]
        return str(paths[0].parent) if paths[0] is not None and all(paths) else None


class ClassImages(Known):
    """Images with classes, published in two parts, train and test, as unsigned bytes."""

    versions: ClassVar[Mapping[str, int]] = {"class-images": 1}
    #: In the order of the labels.
    classes: ClassVar[Sequence[str]]
    #: The byte that becomes 1.
    maximum: ClassVar[int] = 255

    @abstractmethod
    def arrays(self, part: str, root: str | Path | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return images (presentation, ...) and labels (presentation,) as unsigned bytes; part is train or test."""

    def images(self, split: str, root: str | Path | None) -> xr.Dataset:
        """Return all images of a split; the validation split is a seeded part of the published training set."""
        part = "test" if split == "test" else "train"
        images, labels = self.arrays(part, root)
        splits = np.full(len(images), part, dtype="<U10")
        if part == "train":
            splits[validation_part(self.name, len(images))] = "validation"
        chosen = np.isin(splits, split.split("+"))
        dataset = from_arrays(
            images[chosen].astype(np.float32) / np.float32(self.maximum),
            labels[chosen],
            split=splits[chosen],
            class_names=self.classes,
            stimulus_id=[f"{self.name}-{part}-{index:05d}" for index in np.flatnonzero(chosen)],
            name=self.name,
        )
        if part == "train":
            count = int((splits == "validation").sum())
            dataset.attrs |= {"validation_seed": VALIDATION_SEED, "validation_count": count}
        return dataset
