"""How a representation changes the geometry of its inputs.

`within_class_isometry` asks how far the distances within each class are kept.
"""

from __future__ import annotations

from biorep.geometry.isometry import within_class_isometry
from biorep.geometry.measure import Isometry

__all__ = ["Isometry", "within_class_isometry"]
