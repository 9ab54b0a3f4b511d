"""Networks: things that learn a code from images. One file each; `base.py` is the contract.

`TABLE` names every network by a dotted string, the backprop ones of `biorep.baselines` included, and imports
none of them before it is asked for. To add a network: one file and one line here.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from biorep import resources
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
    "cnn": "biorep.baselines.cnn:CNN",
    "hierarchical": "biorep.baselines.hierarchical:Hierarchical",
}


def network_class(kind: object) -> type[Network]:
    """Return the class of a network by the name that recipes use, or by ``file.py:Class`` for a network of your own.

    A file is looked for as given and then in the folder of the models.
    """
    if isinstance(kind, str) and ".py:" in kind:
        return _own(kind)
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


def _own(kind: str) -> type[Network]:
    """Load ``file.py:Class``."""
    file, _, name = kind.rpartition(":")
    places = [Path(file), resources.folder("models") / file]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise ConfigError(f"network kind {kind!r}: there is no file {' or '.join(map(str, places))}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, name, None)
    if not isinstance(found, type) or not issubclass(found, Network):
        classes = [n for n, c in vars(module).items() if isinstance(c, type) and issubclass(c, Network)]
        raise ConfigError(f"network kind {kind!r}: {path} has no network '{name}' (it has {', '.join(classes)})")
    return found
