"""Representations: what a frozen network answers to images.

`encode` is the arrow from a trained network and a dataset to ``response(presentation, neuroid)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from biorep.context import RunContext
from biorep.networks.base import Layer, Network

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["encode"]


def encode(
    network: Network,
    state: xr.Dataset,
    dataset: xr.Dataset,
    *,
    seed: int = 0,
    repeats: int | None = None,
    layer: Layer = "response",
    run: RunContext | None = None,
) -> xr.Dataset:
    """Show images to a frozen network.

    Parameters
    ----------
    network : Network
    state : xr.Dataset
        What ``network.fit`` returned.
    dataset : xr.Dataset
        Images, ``image(presentation, ...)``.
    seed : int
        Seed of the noise of stochastic networks.
    repeats : int, optional
        Number of noisy repeats; None for one without the dim `repeat`.
    layer : {"response", "preactivation"}
        After or before the nonlinearity.
    run : RunContext, optional

    Returns
    -------
    xr.Dataset
        ``response(presentation, neuroid)`` or ``response(repeat, presentation, neuroid)``, and
        ``label(presentation)``, with the coordinates `stimulus_id`, `object_name`, `split`, `neuroid_id`.

    Examples
    --------
    >>> import biorep
    >>> images = biorep.datasets.load("digits")
    >>> network = biorep.network("random-features", units=50)
    >>> state = network.fit(images, seed=0)
    >>> dict(encode(network, state, images).sizes)
    {'presentation': 1294, 'neuroid': 50}
    """
    return network.encode(state, dataset, seed=seed, repeats=repeats, layer=layer, run=run)
