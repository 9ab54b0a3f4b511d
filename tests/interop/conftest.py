"""Representations and recordings as the rest of biorep makes them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from biorep.networks.base import representation
from biorep.schema import presentation_coords


@pytest.fixture
def once(tiny):
    """Twenty images, one response of five neuroids each; the neuroids 3, 0, 4 are kept."""
    response = np.random.default_rng(1).random((20, 5)).astype(np.float32)
    return representation(response, tiny, quantity="response", kind="random-features").isel(neuroid=[3, 0, 4])


@pytest.fixture
def repeated(tiny):
    """Twenty images, three noisy counts of five neuroids each, as small integers, with the tries beside them."""
    counts = np.random.default_rng(2).integers(0, 9, (3, 20, 5))
    result = representation(counts.astype(np.uint8), tiny, quantity="response", kind="diehl-cook")
    result["tries"] = (("repeat", "presentation"), np.arange(60).reshape(3, 20) % 4)
    return result


@pytest.fixture
def recording(tiny):
    """Three images of 4 ms in steps of 0.5 ms; spikes of the neuroids 5 and 2 at the edges of the slots, none of 7."""
    result = xr.Dataset(
        {
            "spike_time": ("spike", [3.5, 0.0, 1.5, 0.0, 3.5]),
            "spike_neuroid": ("spike", [5, 5, 2, 2, 5]),
            "spike_presentation": ("spike", [0, 1, 1, 2, 2]),
            "v": (("presentation", "neuroid", "time"), np.zeros((3, 3, 8))),
        },
        coords={"neuroid_id": ("neuroid", [2, 5, 7]), "time": np.arange(8) * 0.5},
    )
    return result.assign_coords(presentation_coords(tiny.isel(presentation=slice(3))))
