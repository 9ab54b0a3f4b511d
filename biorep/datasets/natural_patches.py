"""Whitened patches of natural images, the food of V1 models.

By default from the ten whitened scenes of Olshausen & Field (1996) if they are at hand, else from the two
photographs that ship with scikit-learn, whitened with the same filter. Two photographs are a smoke test, not
natural-scene statistics.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from biorep import rng
from biorep.config import setting
from biorep.datasets.arrays import from_arrays
from biorep.datasets.classes import array_of
from biorep.datasets.files import find, read
from biorep.datasets.known import Known
from biorep.datasets.registry import Entry
from biorep.errors import DataError, choose, whole
from biorep.words import checked

if TYPE_CHECKING:
    import xarray as xr

#: Columns of an image, as shares of its width, that each split takes its patches from; they do not overlap.
BANDS = {"train": (0.0, 0.7), "validation": (0.7, 0.8), "test": (0.8, 1.0)}
BORDER = 4  # pixels at the rim that the whitening filter has spoilt


class NaturalPatches(Known):
    """Whitened patches of natural images, each with mean 0 and variance 1, from columns that no other split has."""

    versions: ClassVar[Mapping[str, int]] = {"natural-patches": 1}

    name: Literal["natural-patches"] = setting("natural-patches", hashed=False)
    source: Literal["auto", "photographs", "olshausen"] = setting(
        "auto", hashed=False, description="whose images; auto: the scenes of Olshausen & Field if they are at hand"
    )
    size: int = setting(16, ge=2, unit="pixel", description="side of a patch")
    count: int = setting(20_000, ge=1, description="number of patches to learn from; the other splits have a fifth")
    seed: int = setting(0, ge=0, description="seed of the positions")

    def resolved(self, root: str | Path | None = None) -> Literal["photographs", "olshausen"]:
        """Return ``"olshausen"`` or ``"photographs"``; ``"auto"`` takes the scenes if they are at hand."""
        if self.source != "auto":
            return self.source
        return "olshausen" if find(self.entry, self.entry.files[0], root) else "photographs"

    def content(self, root: str | Path | None = None) -> dict[str, Any]:
        """Return the word, the source that is at hand, and the registered checksum of its images."""
        source = self.resolved(root)
        checksum = self.entry.checksum if source == "olshausen" else self.entry.extra["sha256"]
        return {"word": self.name, "source": source, "sha256": str(checksum)}

    def images(self, split: str, root: str | Path | None) -> xr.Dataset:
        """Return the patches of a split; the label says which image a patch was cut from."""
        import xarray as xr

        source = self.resolved(root)
        if (self.source, source) == ("auto", "photographs"):
            warnings.warn(
                f"natural-patches: the scenes of Olshausen & Field, {self.entry.files[0].name}, are not at hand, so "
                "patches are cut from two photographs: a smoke test, no statistics of natural scenes. Name the folder "
                "of the scenes with BIOREP_DATA, or ask for source photographs",
                stacklevel=2,
            )
        parts = [self._part(part, source, root) for part in split.split("+")]
        dataset = xr.concat(parts, "presentation", combine_attrs="override") if len(parts) > 1 else parts[0]
        dataset.attrs |= {"dataset": self.name, "source": source, "patch_size": self.size, "patch_seed": self.seed}
        return dataset

    def _part(self, part: str, source: Literal["photographs", "olshausen"], root: str | Path | None) -> xr.Dataset:
        count = self.count if part == "train" else max(1, self.count // 5)
        whole = images(self.entry, source, root)
        patches, image = cut(whole, part, size=self.size, count=count, seed=self.seed)
        bound = float(self.size)  # the largest value that a patch of variance 1 can have
        return from_arrays(
            patches,
            image,
            split=part,
            value_range=(-bound, bound),
            class_names=[f"{source}-{number}" for number in range(len(whole))],
            stimulus_id=[f"{self.name}-{source}-{part}-{index:05d}" for index in range(count)],
            name=self.name,
        )

    def where(self, root: str | Path | None = None) -> str | None:
        """Return where the scenes are, else where the photographs come from."""
        return super().where(root) or "ships with scikit-learn"


def whiten(image: np.ndarray) -> np.ndarray:
    """Return an image filtered with ``f exp(-(f/f0)^4)``, f0 = 0.4 cycles per pixel x side (Olshausen & Field).

    Parameters
    ----------
    image : (height, width) array
        Grey values in any unit.

    Returns
    -------
    (height, width) array of float64 with mean 0 and variance 1.

    Raises
    ------
    DataError
        If nothing varies, or these are no grey values of an image.
    """
    image = array_of(image, "image")
    if image.ndim != 2 or image.dtype.kind not in "iufb" or not np.isfinite(image).all() or image.size == 0:
        raise DataError(
            f"an image to be whitened must be (height, width) finite numbers, got {image.dtype} {image.shape}"
        )
    fy = np.fft.fftfreq(image.shape[0])[:, None]
    fx = np.fft.rfftfreq(image.shape[1])[None, :]
    frequency = np.hypot(fy, fx)  # cycles per pixel
    spectrum = np.fft.rfft2(image - image.mean()) * frequency * np.exp(-((frequency / 0.4) ** 4))
    filtered = np.fft.irfft2(spectrum, s=image.shape)
    spread = float(filtered.std())
    if not spread > 1e-12 * max(float(np.abs(image).max()), 1e-300):
        raise DataError("a constant image cannot be whitened")
    return np.asarray(filtered / spread)


@checked
def images(entry: Entry, source: Literal["photographs", "olshausen"], root: str | Path | None) -> list[np.ndarray]:
    """Return the whitened images of a source, each (height, width) with variance 1."""
    if source == "olshausen":
        scenes = np.load(io.BytesIO(read(entry, entry.files[0], root)), allow_pickle=False)
        return [scene / scene.std() for scene in scenes.astype(np.float64)]
    from sklearn.datasets import load_sample_image

    photographs = [load_sample_image(f"{name}.jpg") for name in ("china", "flower")]
    found = hashlib.sha256(b"".join(photograph.tobytes() for photograph in photographs)).hexdigest()
    if found != entry.extra["sha256"]:
        raise DataError(f"scikit-learn's photographs have changed: SHA-256 {found}, expected {entry.extra['sha256']}")
    luminance = np.array([0.299, 0.587, 0.114])
    return [whiten(np.log1p(photograph @ luminance)) for photograph in photographs]


def cut(images: Sequence[np.ndarray], part: str, *, size: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut patches.

    Parameters
    ----------
    images : sequence of (height, width) arrays
        What `images` returns.
    part : str
        ``train``, ``validation`` or ``test``; each takes its patches from columns of its own.
    size : int
        Side of a patch, in pixels.
    count : int
        Number of patches.
    seed : int
        Seed of the positions.

    Returns
    -------
    patches : (count, size, size) float32, each with mean 0 and variance 1
    image : (count,) int, the image that each patch was cut from

    Raises
    ------
    DataError
        If patches do not fit into the columns of the split.
    ConfigError
        If there is no such split, or `size`, `count` or `seed` is no such number.
    """
    choose(part, BANDS, "split")
    whole(size, "size", least=2)
    whole(count, "count")
    generator = rng.stream(seed, "natural-patches", part)
    which = generator.integers(len(images), size=count)
    place = generator.random((count, 2))
    patches = np.empty((count, size, size), np.float32)
    for index, (image, (v, u)) in enumerate(zip(which, place, strict=True)):
        patches[index] = _patch(images[image], BANDS[part], size, v, u)
    return patches, which


def _patch(image: np.ndarray, band: tuple[float, float], size: int, v: float, u: float) -> np.ndarray:
    height, width = image.shape
    left, right = max(BORDER, round(band[0] * width)), min(width - BORDER, round(band[1] * width))
    if right - left < size or height - 2 * BORDER < size:
        raise DataError(f"natural-patches: patches of {size} pixels do not fit a band of {right - left} pixels")
    y = BORDER + int(v * (height - 2 * BORDER - size + 1))
    x = left + int(u * (right - left - size + 1))
    patch = image[y : y + size, x : x + size]
    patch = patch - patch.mean()
    return np.asarray(patch / max(patch.std(), 1e-6))
