"""Networks: things that learn a code from images. One file each; `base.py` is the contract.

`TABLE` names every network by a dotted string, the backprop ones of `biorep.baselines` included, and imports
none of them before it is asked for. To add a network: one file and one line here.
"""

from __future__ import annotations

import importlib
from typing import Any

from pydantic import ValidationError

from biorep.config import Source
from biorep.errors import ConfigError, choose
from biorep.explain import explain
from biorep.networks.base import Network

__all__ = ["TABLE", "Network", "network", "network_class"]

TABLE = {
    "krotov-hopfield": "biorep.networks.krotov_hopfield:KrotovHopfield",
    "competing-rates": "biorep.networks.competing_rates:CompetingRates",
    "random-features": "biorep.networks.random_features:RandomFeatures",
    "diehl-cook": "biorep.networks.diehl_cook:DiehlCook",
    "sailnet": "biorep.networks.sailnet:SAILnet",
    "pixels": "biorep.networks.pixels:Pixels",
    "mlp": "biorep.baselines.mlp:MLP",
}


def network_class(kind: object) -> type[Network]:
    """Return the class of a network by the name that recipes use."""
    module, _, name = TABLE[choose(kind, TABLE, "network kind")].partition(":")
    loaded: type[Network] = getattr(importlib.import_module(module), name)
    return loaded


def network(kind: str, **settings: Any) -> Network:
    """Return a network by name.

    Parameters
    ----------
    kind : str
        A key of `TABLE`, for example ``"krotov-hopfield"``.
    **settings
        Fields of the network's configuration.

    Raises
    ------
    ConfigError
        If the kind or a setting is unknown or has a value that is not allowed.

    Examples
    --------
    >>> network("random-features", units=100).units
    100
    """
    cls = network_class(kind)
    try:
        return cls.model_validate({"kind": kind, **settings})
    except ValidationError as error:
        source = Source(settings, kind, {})
        raise ConfigError("\n".join(explain(item, source, cls) for item in error.errors())) from None
