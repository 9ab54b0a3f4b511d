"""Networks: things that learn a code from images, one file each.

`local/` learn by local rules, `brian/` are simulated by Brian2, `controls/` do not learn, `backprop/` are trained end
to end. `base.py` has what they share; the contract is `biorep.contracts.Network`, the list `biorep.tables.NETWORKS`.
"""

from __future__ import annotations

from typing import Any, cast

from biorep.contracts import Network
from biorep.tables import NETWORKS

__all__ = ["network"]


def network(kind: str, **settings: Any) -> Network:
    """Return a network by name.

    Parameters
    ----------
    kind : str
        A word of `biorep.tables.NETWORKS`, for example ``"krotov-hopfield"``, or ``"file.py:Class"``.
    **settings
        Its settings.

    Raises
    ------
    ConfigError
        If the kind or a setting is unknown or has a value that is not allowed.

    Examples
    --------
    >>> network("random-features", units=100).units
    100
    """
    return cast(Network, NETWORKS.parse({"kind": kind, **settings}))
