"""Spikes and membranes on request."""

from __future__ import annotations

import numpy as np
import pytest

import biorep
from biorep.context import RunContext
from biorep.errors import ConfigError
from biorep.networks.brian.recording import record

NUMPY = RunContext(engine="runtime-numpy")


def test_recorded_spikes_are_those_that_are_counted():
    images = biorep.datasets.from_arrays(np.random.default_rng(0).random((5, 4, 4)) * 0.5, [0, 1, 0, 1, 0])
    network = biorep.network(
        "diehl-cook",
        units=6,
        peak_rate=300.0,
        norm=6.0,
        stimulus_duration=30.0,
        rest_duration=10.0,
        min_spikes=3,
        max_tries=3,
    )
    state = network.fit(images, seed=0, context=NUMPY)
    counts = network.encode(state, images, seed=2, context=NUMPY)["response"].values
    found = record(network, state, images, neurons=[4, 1, 2], seed=2, context=NUMPY)
    assert found["neuroid_id"].values.tolist() == [1, 2, 4]
    assert found["v"].dims == ("presentation", "neuroid", "time")
    assert found["v"].shape == (5, 3, 80)
    seen = np.zeros((5, 6))
    np.add.at(seen, (found["spike_presentation"].values, found["spike_neuroid"].values), 1)
    np.testing.assert_array_equal(seen[:, [1, 2, 4]], counts[:, [1, 2, 4]])
    assert counts.sum() > 0
    # The reset leaves the membrane at -65 mV in the step of the spike.
    for p, n, t in zip(found["spike_presentation"], found["spike_neuroid"], found["spike_time"], strict=True):
        trace = found["v"].isel(presentation=int(p), neuroid=[1, 2, 4].index(int(n)))
        after = trace.sel(time=slice(float(t) + 0.4, float(t) + 3)).values
        np.testing.assert_allclose(after, -65e-3)
    with pytest.raises(ConfigError, match=r"layer 'excitatory' has neurons 0 to 5, asked for \[6\]"):
        record(network, state, images, neurons=[6], context=NUMPY)
    with pytest.raises(ConfigError, match="variable of 'diehl-cook' 'vv'"):
        record(network, state, images, variables=["vv"], context=NUMPY)
