"""Figures from stored results; nothing here simulates. Each function returns a matplotlib figure."""

from __future__ import annotations

from biorep.plot.fields import receptive_fields
from biorep.plot.penalties import strength_curves
from biorep.plot.robustness import accuracy_curves
from biorep.plot.spectrum import spectrum_lines
from biorep.plot.spiking import learning_curves, occupancy, raster
from biorep.plot.training import training_curves
from biorep.plot.tuning import tuning_summary

__all__ = [
    "accuracy_curves",
    "learning_curves",
    "occupancy",
    "raster",
    "receptive_fields",
    "spectrum_lines",
    "strength_curves",
    "training_curves",
    "tuning_summary",
]
