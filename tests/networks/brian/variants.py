"""Small Diehl-Cook networks of every kind, and images for them."""

from __future__ import annotations

import itertools

import numpy as np

import biorep
from biorep import datasets

#: Lively enough that six units spike within 20 ms.
SMALL = {
    "units": 5,
    "peak_rate": 400.0,
    "dt": 0.5,
    "stimulus_duration": 20.0,
    "rest_duration": 5.0,
    "min_spikes": 0,
    "max_tries": 1,
    "norm": 6.0,
}
CURRENT = {**SMALL, "norm": 60.0, "inhibition_strength": 2.0}


def variants(**settings):
    """Yield (name, network) over neuron x rule x inhibition x one_spike x delay, all of them with these settings."""
    rules, inhibitions, delays = ("pair", "triplet", "target"), ("pool", "direct", "layer"), (0.0, 3.0)
    for rule, inhibition, delay in itertools.product(rules, inhibitions, delays):
        own = {"rule": rule, "inhibition": inhibition, "delay": delay, **settings}
        name = f"{rule}-{inhibition}-{'delay' if delay else 'prompt'}"
        yield f"conductance-{name}", biorep.network("diehl-cook", **SMALL, **own)
        for one_spike in (False, True):
            network = biorep.network("diehl-cook-current", **CURRENT, **own, one_spike=one_spike)
            yield f"current-{name}-{'one' if one_spike else 'all'}", network


def images(count=6, seed=0):
    """Return images of 3 x 3 pixels of two classes."""
    values = np.random.default_rng(seed).random((count, 3, 3)) * 0.6
    values[::2, :2] += 0.4
    return datasets.from_arrays(values, np.arange(count) % 2, class_names=["a", "b"])
