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

_PUBLIC = {
    "datasets": "biorep.datasets",
    "spectra": "biorep.spectra",
    "geometry": "biorep.geometry",
    "tuning": "biorep.tuning",
    "robustness": "biorep.robustness",
    "penalties": "biorep.penalties",
    "bridge": "biorep.bridge",
    "plot": "biorep.plot",
    "interop": "biorep.interop",
    "network": "biorep.networks:network",
    "run": "biorep.lab.batch:run",
    "sweep": "biorep.lab.batch:sweep",
    "open": "biorep.lab.store:open",
    "RunContext": "biorep.context:RunContext",
    "BiorepError": "biorep.errors:BiorepError",
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
    if name not in _PUBLIC:
        from biorep.errors import did_you_mean

        raise AttributeError(f"biorep has no '{name}'{did_you_mean(name, _PUBLIC)}")
    module, _, attribute = _PUBLIC[name].partition(":")
    loaded = importlib.import_module(module)
    value = getattr(loaded, attribute) if attribute else loaded
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
