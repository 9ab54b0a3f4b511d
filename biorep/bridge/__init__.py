"""The bridge to PyTorch: readouts on frozen representations, and network + readout as one module."""

from __future__ import annotations

from biorep.bridge.classifier import Classifier, classifier
from biorep.bridge.readout import Readout, predict, score
from biorep.bridge.surrogate import Surrogate, fidelity

__all__ = ["Classifier", "Readout", "Surrogate", "classifier", "fidelity", "predict", "score"]
