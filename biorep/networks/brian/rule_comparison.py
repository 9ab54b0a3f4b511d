"""Where the plasticity of competing rates differs from the fast rank rule that replaces them."""

from __future__ import annotations

import numpy as np
import xarray as xr

from biorep.context import RunContext
from biorep.networks.base import flat_images
from biorep.networks.brian.competing_rates import CompetingRates
from biorep.schema import describe


def compare_with_rank_rule(
    network: CompetingRates, state: xr.Dataset, dataset: xr.Dataset, *, context: RunContext | None = None
) -> xr.Dataset:
    """Compare, image by image, which units the rates and the fast rank rule would change.

    The rank rule lets the unit with the largest current learn (g = 1) and one other unit turn away (g = -delta).

    Parameters
    ----------
    network : CompetingRates
    state : xr.Dataset
        What `fit` returned.
    dataset : xr.Dataset
        Images; nothing is learnt from them.
    context : RunContext, optional

    Returns
    -------
    xr.Dataset
        Along `presentation`: ``winner`` of the simulated rates (-1: all are silent), ``rank_winner``, whether they
        are the same (``same_winner``), the number of units with g = 1 (``learning``) and with g = -delta
        (``turning_away``); the attributes hold the shares of images with the same winner, with one unit learning and
        with one unit turning away.
    """
    rates = network.encode(state, dataset, context=context)["response"].values.astype(np.float64)
    currents = np.concatenate(list(network.currents(state, network.prepare_images(flat_images(dataset)))))
    pooled = rates.sum(1, keepdims=True)
    sign = network.model_copy(update={"delta": 1.0}).gate(rates, pooled)  # tells -delta from 0 for delta = 0, too
    winner = np.where(pooled[:, 0] > 0, rates.argmax(1), -1)
    rank_winner = currents.argmax(1)
    columns = {
        "winner": (winner, "unit with the largest rate"),
        "rank_winner": (rank_winner, "unit with the largest current"),
        "same_winner": ((winner == rank_winner).astype(np.int8), "1 if both are the same"),
        "learning": ((sign > 0).sum(1), "units with g = 1"),
        "turning_away": ((sign < 0).sum(1), "units with g = -delta"),
    }
    result = xr.Dataset(
        {name: ("presentation", values) for name, (values, _) in columns.items()},
        coords={"stimulus_id": ("presentation", dataset["stimulus_id"].values)},
        attrs={
            "share_same_winner": float((winner == rank_winner).mean()),
            "share_one_learning": float(((sign > 0).sum(1) == 1).mean()),
            "share_one_turning_away": float(((sign < 0).sum(1) == 1).mean()),
        },
    )
    return describe(result, {name: (text, "1") for name, (_, text) in columns.items()})
