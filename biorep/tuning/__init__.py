"""Tuning: what units of a V1 model respond to, from their receptive fields and from their responses to gratings.

Ask for both. A Gabor function fits round blobs as well as it fits bars; only gratings tell whether a unit cares
for orientation.
"""

from __future__ import annotations

from biorep.tuning.fields import fit_gabors
from biorep.tuning.measure import Tuning
from biorep.tuning.orientation import tuning

__all__ = ["Tuning", "fit_gabors", "tuning"]
