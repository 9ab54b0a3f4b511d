"""Sinusoidal gratings: the stimuli of orientation tuning, one for each orientation, frequency and phase."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from biorep.config import setting
from biorep.contracts import Dataset
from biorep.datasets.arrays import from_arrays
from biorep.datasets.classes import array_of
from biorep.errors import ConfigError, whole
from biorep.schema import describe, subset

if TYPE_CHECKING:
    import xarray as xr

#: Cycles per pixel in steps of half an octave, from one cycle across 16 pixels to below the sampling limit.
FREQUENCIES = (0.0625, 0.0884, 0.125, 0.1768, 0.25, 0.3536)
#: A grating that varies less than this at some phase is an artefact of sampling.
SMALLEST_SPREAD = 0.05


def gratings(
    size: int = 16,
    orientations: int = 24,
    frequencies: Sequence[float] = FREQUENCIES,
    phases: int = 8,
    *,
    contrast: float = 1.0,
    normalised: bool = True,
) -> xr.Dataset:
    """Make sinusoidal gratings that fill square patches: all orientations at all frequencies and phases.

    Parameters
    ----------
    size : int
        Side of a patch, in pixels.
    orientations : int
        Number of orientations, evenly spaced over 180 degrees from 0.
    frequencies : sequence of float
        Spatial frequencies, in cycles/pixel: at least half a cycle across the patch, and below 0.5.
    phases : int
        Number of phases, evenly spaced over 360 degrees from 0.
    contrast : float
        Larger than 0, at most 1: the standard deviation of a normalised image, the Michelson contrast of others.
    normalised : bool
        With mean 0 and standard deviation `contrast` in every image, and the range of natural patches, for
        networks that learnt from these. If false, luminances in [0, 1] around the mean luminance 0.5.

    Returns
    -------
    xr.Dataset
        ``image(presentation, row, column)`` float32 and ``label(presentation)``, the index of the orientation, all
        in the split ``test``, with these coordinates along `presentation` beside those of every dataset:
        ``orientation`` of the bars, in degrees counter-clockwise from horizontal, from 0 (included) to 180;
        ``frequency`` in cycles/pixel; ``phase`` in degrees. With x to the right and y upwards from the centre of
        the patch the image is ``cos(2 pi frequency (y cos(orientation) - x sin(orientation)) + phase)``, scaled.

    Raises
    ------
    ConfigError
        If a number is out of bounds or a grating cannot be sampled on this patch.

    References
    ----------
    De Valois, R. L., Albrecht, D. G. & Thorell, L. G. (1982). Spatial frequency selectivity of cells in macaque
    visual cortex. Vision Research 22, 545-559 (half an octave between frequencies resolves their bandwidths).

    Examples
    --------
    >>> data = gratings(size=8, orientations=4, frequencies=[0.125, 0.25], phases=2)
    >>> dict(data.image.sizes), data.orientation.values[::4].tolist()
    ({'presentation': 16, 'row': 8, 'column': 8}, [0.0, 45.0, 90.0, 135.0])
    """
    if not isinstance(normalised, bool | np.bool_):
        raise ConfigError(f"gratings: normalised must be true or false, got {normalised!r}")
    chosen = _checked(size, orientations, frequencies, phases, contrast)
    degrees = np.arange(orientations) * (180 / orientations)
    turns = np.arange(phases) * (360 / phases)
    table = np.array(list(itertools.product(range(orientations), chosen, turns)))
    label = table[:, 0].astype(np.int64)
    orientation, frequency, phase = degrees[label], table[:, 1], table[:, 2]
    waves = _waves(size, np.deg2rad(orientation), frequency, np.deg2rad(phase))
    bound = float(size)  # the largest value that a patch of variance 1 can have, as for natural patches
    dataset = from_arrays(
        contrast * _normalised(waves, frequency) if normalised else 0.5 * (1 + contrast * waves),
        label,
        split="test",
        value_range=(-bound, bound) if normalised else (0.0, 1.0),
        class_names=[f"{angle:g} degrees" for angle in degrees],
        stimulus_id=[f"gratings-test-{index:05d}" for index in range(len(table))],
        name="gratings",
    )
    dataset = dataset.assign_coords(
        orientation=("presentation", orientation), frequency=("presentation", frequency), phase=("presentation", phase)
    )
    dataset.attrs |= {"patch_size": size, "contrast": contrast, "normalised": int(normalised)}
    describe(dataset, {"orientation": ("orientation of the bars", "degree"), "phase": ("phase", "degree")})
    return describe(dataset, {"frequency": ("spatial frequency", "cycles/pixel")})


class Gratings(Dataset):
    """Gratings as the dataset of a recipe, or of a measure; all of them are in the split ``test``."""

    versions: ClassVar[Mapping[str, int]] = {"gratings": 1}

    name: Literal["gratings"] = "gratings"
    size: int = setting(16, ge=4, unit="pixels", description="side of a patch")
    orientations: int = setting(24, ge=1, description="number of orientations over 180 degrees")
    frequencies: tuple[float, ...] = setting(FREQUENCIES, unit="cycles/pixel", description="spatial frequencies")
    phases: int = setting(8, ge=1, description="number of phases over 360 degrees")
    contrast: float = setting(1.0, gt=0, le=1, description="standard deviation, or Michelson contrast in [0, 1]")
    normalised: bool = setting(True, description="mean 0 and variance 1, as natural patches; else luminances in [0, 1]")

    def content(self) -> dict[str, Any]:
        """Return the word: the settings say all."""
        return {"word": self.name}

    def load(self, split: str) -> xr.Dataset:
        """Return the gratings; they have no other split than ``test``."""
        if split != "test":
            raise ConfigError(
                f"gratings have no split '{split}': they are all in 'test', and nothing is learnt from them"
            )
        made = gratings(
            self.size,
            self.orientations,
            self.frequencies,
            self.phases,
            contrast=self.contrast,
            normalised=self.normalised,
        )
        return subset(made, self.limit)


def _checked(size: int, orientations: int, frequencies: Sequence[float], phases: int, contrast: float) -> list[float]:
    for value, name, least in ((size, "size", 4), (orientations, "orientations", 1), (phases, "phases", 1)):
        whole(value, f"gratings: {name}", least=least)
    given, scale = array_of(frequencies, "frequencies"), array_of(contrast, "contrast")
    if scale.shape != () or scale.dtype.kind not in "iuf" or not 0 < scale <= 1:
        raise ConfigError(f"gratings: contrast must be larger than 0 and at most 1, got {contrast}")
    if given.ndim != 1 or given.dtype.kind not in "iuf":
        raise ConfigError(f"gratings: frequencies must be a list of numbers, got {frequencies}")
    chosen = [float(frequency) for frequency in given]
    if not chosen or len(set(chosen)) != len(chosen):
        raise ConfigError(f"gratings: frequencies must be different numbers, at least one, got {chosen}")
    if wrong := [frequency for frequency in chosen if not 0.5 / size <= frequency < 0.5]:
        raise ConfigError(
            f"gratings: frequencies must be from {0.5 / size:g} cycles/pixel (half a cycle across {size} pixels) to "
            f"below 0.5, got {', '.join(f'{frequency:g}' for frequency in wrong)}"
        )
    return chosen


def _waves(size: int, angle: np.ndarray, frequency: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Return cosines of the given angles and phases in radians, (presentation, row, column), from -1 to 1."""
    position = np.arange(size) - (size - 1) / 2
    wave_x, wave_y = -frequency * np.sin(angle), frequency * np.cos(angle)
    # Rows count downwards, y points upwards.
    cycles = wave_x[:, None, None] * position[None, None, :] - wave_y[:, None, None] * position[None, :, None]
    return np.cos(2 * np.pi * cycles + phase[:, None, None])


def _normalised(waves: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """Return images with mean 0 and variance 1; refuse to blow up the rounding of what hardly varies."""
    centred = waves - waves.mean(axis=(1, 2), keepdims=True)
    spread = centred.std(axis=(1, 2), keepdims=True)
    faintest = int(spread.argmin())
    if spread.flat[faintest] < SMALLEST_SPREAD:
        raise ConfigError(
            f"gratings: {frequency[faintest]:g} cycles/pixel nearly vanish at some phase when sampled at the pixels of "
            f"a patch of {waves.shape[1]}; use frequencies further below 0.5"
        )
    return np.asarray(centred / spread)
