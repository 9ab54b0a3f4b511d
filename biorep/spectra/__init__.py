"""Spectra: how the variance of a representation is spread over its principal components."""

from __future__ import annotations

from biorep.spectra.covariance import StreamedCovariance, eigenspectrum
from biorep.spectra.powerlaw import CONVENTIONS, fit_powerlaw, law_deviation

__all__ = ["CONVENTIONS", "StreamedCovariance", "eigenspectrum", "fit_powerlaw", "law_deviation"]
