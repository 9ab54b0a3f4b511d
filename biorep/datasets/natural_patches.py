"""Whitened patches of natural images, the food of V1 models.

By default from the ten whitened scenes of Olshausen & Field (1996) if they are at hand, else from the two
photographs that ship with scikit-learn, whitened with the same filter. Two photographs are a smoke test, not
natural-scene statistics.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np

from biorep import rng
from biorep.datasets.registry import Entry, find, read
from biorep.errors import ConfigError, DataError

SOURCES = ("auto", "photographs", "olshausen")
#: Columns of an image, as shares of its width, that each split takes its patches from; they do not overlap.
BANDS = {"train": (0.0, 0.7), "validation": (0.7, 0.8), "test": (0.8, 1.0)}
BORDER = 4  # pixels at the rim that the whitening filter has spoilt


def resolve_source(entry: Entry, source: str, root: str | Path | None) -> str:
    """Return ``"olshausen"`` or ``"photographs"``; ``"auto"`` takes the scenes if they are at hand."""
    if source not in SOURCES:
        raise ConfigError(f"natural-patches: source {source!r} is unknown. Allowed: {', '.join(SOURCES)}.")
    if source != "auto":
        return source
    return "olshausen" if find(entry, entry.files[0], root) else "photographs"


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
        If nothing varies.
    """
    fy = np.fft.fftfreq(image.shape[0])[:, None]
    fx = np.fft.rfftfreq(image.shape[1])[None, :]
    frequency = np.hypot(fy, fx)  # cycles per pixel
    spectrum = np.fft.rfft2(image - image.mean()) * frequency * np.exp(-((frequency / 0.4) ** 4))
    filtered = np.fft.irfft2(spectrum, s=image.shape)
    spread = float(filtered.std())
    if not spread > 1e-12 * max(float(np.abs(image).max()), 1e-300):
        raise DataError("a constant image cannot be whitened")
    return np.asarray(filtered / spread)


def images(entry: Entry, source: str, root: str | Path | None) -> list[np.ndarray]:
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


def arrays(
    entry: Entry, part: str, root: str | Path | None, *, source: str, size: int, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cut patches.

    Parameters
    ----------
    part : str
        ``train``, ``validation`` or ``test``; each takes its patches from columns of its own.
    source : str
        ``photographs`` or ``olshausen``.
    size : int
        Side of a patch in pixels.
    count : int
        Number of patches.
    seed : int
        Seed of the positions.

    Returns
    -------
    patches : (count, size, size) float32, each with mean 0 and variance 1
    image : (count,) int, the image that each patch was cut from
    """
    whole = images(entry, source, root)
    generator = rng.stream(seed, "natural-patches", part)
    which = generator.integers(len(whole), size=count)
    place = generator.random((count, 2))
    patches = np.empty((count, size, size), np.float32)
    for index, (image, (v, u)) in enumerate(zip(which, place, strict=True)):
        patches[index] = _patch(whole[image], BANDS[part], size, v, u)
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
