"""Results for the tools of neighbouring fields: by file where there is a format, by their own objects elsewhere.

No library named here is a dependency of biorep; ``pip install "biorep[interop]"`` adds those that are called.
"""

from __future__ import annotations

from biorep.interop.brainscore import to_brainscore
from biorep.interop.pynapple import to_pynapple
from biorep.interop.rsatoolbox import to_rsatoolbox

__all__ = ["to_brainscore", "to_pynapple", "to_rsatoolbox"]
