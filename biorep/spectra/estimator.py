"""The contract of estimators of the spectrum: how eigenvalues are taken from a representation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import xarray as xr

from biorep.config import Config


class Estimator(Config, ABC):
    """How the eigenspectrum of a representation is estimated."""

    #: Noisy repeats that it needs; None: any number, their mean is taken.
    repeats: ClassVar[int | None] = None

    kind: str

    @abstractmethod
    def __call__(self, representation: xr.Dataset) -> xr.Dataset:
        """Return the spectrum as `biorep.spectra.eigenspectrum` does, with ``eigenvalue(component)``."""
