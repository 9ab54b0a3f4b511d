"""biorep: biologically inspired learning, and what it does to a representation.

One pipeline, and every arrow is a labelled dataset on disk::

    dataset -> trained network -> representation -> { readout | spectrum | robustness } -> one Dataset

Public names are loaded on first use, so that ``import biorep`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from biorep import bridge, datasets, geometry, interop, penalties, plot, robustness, spectra, tuning
    from biorep.context import RunContext
    from biorep.errors import BiorepError
    from biorep.lab.batch import run, sweep
    from biorep.lab.store import open
    from biorep.networks import network

#: Where public names come from that are no packages of their own.
_FROM = {
    "network": "biorep.networks",
    "run": "biorep.lab.batch",
    "sweep": "biorep.lab.batch",
    "open": "biorep.lab.store",
    "RunContext": "biorep.context",
    "BiorepError": "biorep.errors",
}

__all__ = [
    "BiorepError",
    "RunContext",
    "__version__",
    "bridge",
    "datasets",
    "geometry",
    "interop",
    "network",
    "open",
    "penalties",
    "plot",
    "robustness",
    "run",
    "spectra",
    "sweep",
    "tuning",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("biorep")
    if name not in __all__:
        from biorep.errors import did_you_mean

        raise AttributeError(f"biorep has no '{name}'{did_you_mean(name, __all__)}")
    value = (
        getattr(importlib.import_module(_FROM[name]), name)
        if name in _FROM
        else importlib.import_module(f"biorep.{name}")
    )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
