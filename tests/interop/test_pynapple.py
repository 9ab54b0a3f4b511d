"""Recorded spikes for pynapple, through its own files and its own counts."""

from __future__ import annotations

import numpy as np
import pytest

import biorep
from biorep.context import RunContext
from biorep.errors import DataError
from biorep.interop import to_pynapple


def test_anything_but_a_whole_recording_is_refused(recording, tiny):
    with pytest.raises(DataError, match="a recording of spikes.*got an object of type DataArray"):
        to_pynapple(recording["v"])
    with pytest.raises(DataError, match="'spike_time, spike_neuroid, spike_presentation, neuroid_id, time' is missing"):
        to_pynapple(tiny)
    with pytest.raises(DataError, match="'spike_time, spike_neuroid, spike_presentation' is missing, .* has v"):
        to_pynapple(recording.drop_dims("spike"))
    with pytest.raises(DataError, match=r"'time' must have the dims \('time',\), got \(\)"):
        to_pynapple(recording.isel(time=0))
    with pytest.raises(DataError, match="at least two time steps"):
        to_pynapple(recording.isel(time=[0]))
    with pytest.raises(DataError, match="of 2 presentations, but .* presentation 2. Convert it before"):
        to_pynapple(recording.isel(presentation=slice(2)))
    with pytest.raises(DataError, match="covers 0 to 1.5 ms of 3 presentations, but its spikes reach 3.5 ms"):
        to_pynapple(recording.isel(time=slice(4)))
    with pytest.raises(DataError, match="covers 0.5 to 3.5 ms"):
        to_pynapple(recording.isel(time=slice(1, None)))


def test_its_own_files_give_the_same_back(recording, tmp_path):
    nap = pytest.importorskip("pynapple", reason='needs `pip install "biorep[interop]"`')
    spikes, epochs = to_pynapple(recording)
    spikes.save(str(tmp_path / "spikes.npz"))
    epochs.save(str(tmp_path / "epochs.npz"))
    found, intervals = nap.load_file(str(tmp_path / "spikes.npz")), nap.load_file(str(tmp_path / "epochs.npz"))
    assert type(found) is nap.TsGroup and type(intervals) is nap.IntervalSet
    assert found.index.tolist() == [2, 5, 7]
    expected = {2: [0.0055, 0.008], 5: [0.0035, 0.004, 0.0115], 7: []}
    for key, times in expected.items():
        np.testing.assert_allclose(found[key].t, times, atol=1e-12)
    assert found["neuroid_id"].tolist() == [2, 5, 7]
    np.testing.assert_allclose(found.time_support.values, [[0, 0.012]], atol=1e-12)
    np.testing.assert_allclose(np.asarray(found.rates)[:2], [2 / 0.012, 3 / 0.012])
    np.testing.assert_allclose(intervals.start, [0, 0.004, 0.008], atol=1e-12)
    np.testing.assert_allclose(intervals.end, [0.004, 0.008, 0.012], atol=2e-6)
    assert list(intervals["stimulus_id"]) == recording["stimulus_id"].values.tolist()
    assert list(intervals["presentation_split"]) == recording["split"].values.tolist()


def test_every_spike_belongs_to_one_epoch(recording):
    pytest.importorskip("pynapple", reason='needs `pip install "biorep[interop]"`')
    spikes, epochs = to_pynapple(recording)
    assert spikes.count(ep=epochs).values.tolist() == [[0, 1, 0], [1, 1, 0], [1, 1, 0]]
    low = epochs[epochs["object_name"] == "low"]
    assert spikes.count(ep=low).values.tolist() == [[0, 1, 0], [1, 1, 0]]
    chosen, _ = to_pynapple(recording.isel(neuroid=[2, 1]))
    assert chosen.index.tolist() == [5, 7] and len(chosen[5]) == 3


def test_names_that_pynapple_uses_itself_get_a_prefix(recording):
    pytest.importorskip("pynapple", reason='needs `pip install "biorep[interop]"`')
    spikes, _ = to_pynapple(recording.assign_coords(rate=("neuroid", [1.0, 2.0, 3.0])))
    assert spikes["neuroid_rate"].tolist() == [1.0, 2.0, 3.0]


def test_a_recording_of_a_network_has_the_counts_of_its_representation():
    pytest.importorskip("pynapple", reason='needs `pip install "biorep[interop]"`')
    from biorep.networks.brian.recording import record

    images = biorep.datasets.from_arrays(np.random.default_rng(0).random((5, 4, 4)) * 0.5, [0, 1, 0, 1, 0])
    network = biorep.network(
        "diehl-cook",
        units=4,
        peak_rate=300.0,
        norm=6.0,
        stimulus_duration=30.0,
        rest_duration=10.0,
        min_spikes=3,
        max_tries=2,
    )
    context = RunContext(engine="runtime-numpy")
    state = network.fit(images, seed=0, context=context)
    spikes, epochs = to_pynapple(record(network, state, images, variables=(), seed=2, context=context))
    counts = network.encode(state, images, seed=2, context=context)["response"].values
    np.testing.assert_array_equal(spikes.count(ep=epochs).values, counts)
    assert counts.sum() > 0
    np.testing.assert_allclose(epochs.end - epochs.start, 0.04, atol=2e-6)


def test_a_recording_without_spikes_has_empty_trains(recording):
    pytest.importorskip("pynapple", reason='needs `pip install "biorep[interop]"`')
    spikes, epochs = to_pynapple(recording.isel(spike=[]))
    assert [len(spikes[key]) for key in (2, 5, 7)] == [0, 0, 0] and len(epochs) == 3
