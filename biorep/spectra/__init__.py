"""Spectra: how the variance of a representation is spread over its principal components."""

from __future__ import annotations

from biorep.spectra.covariance import StreamedCovariance, eigenspectrum
from biorep.spectra.measure import Spectrum
from biorep.spectra.powerlaw import fit_powerlaw, powerlaw_deviation

__all__ = ["Spectrum", "StreamedCovariance", "eigenspectrum", "fit_powerlaw", "powerlaw_deviation"]
