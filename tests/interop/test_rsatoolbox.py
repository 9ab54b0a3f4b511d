"""Representations for rsatoolbox, through its own files and its own distances."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from biorep.interop import to_rsatoolbox

rsatoolbox = pytest.importorskip("rsatoolbox", reason='needs `pip install "biorep[interop]"`')


def test_its_own_file_gives_the_same_back(repeated, tmp_path):
    data = to_rsatoolbox(repeated.assign_attrs(biorep_seed=3))
    data.save(str(tmp_path / "a.h5"), file_type="hdf5")
    found = rsatoolbox.data.dataset.load_dataset(str(tmp_path / "a.h5"))
    assert type(found) is rsatoolbox.data.Dataset
    np.testing.assert_array_equal(found.measurements, repeated["response"].values.reshape(60, 5))
    assert found.measurements.dtype == np.float64
    stimuli = np.tile(repeated["stimulus_id"].values, 3).tolist()
    assert list(found.obs_descriptors["stimulus_id"]) == stimuli
    assert list(found.obs_descriptors["repetition"]) == np.repeat([0, 1, 2], 20).tolist()
    assert {name: list(v) for name, v in found.obs_descriptors.items()} == {
        name: list(v) for name, v in data.obs_descriptors.items()
    }
    assert list(found.channel_descriptors["neuroid_id"]) == [0, 1, 2, 3, 4]
    assert found.descriptors["network"] == "diehl-cook" and found.descriptors["biorep_seed"] == 3


def test_a_representation_from_a_file_is_the_same(once, tmp_path):
    once.to_netcdf(tmp_path / "stage.nc", engine="netcdf4")
    with xr.open_dataset(tmp_path / "stage.nc") as stage:
        assert to_rsatoolbox(stage) == to_rsatoolbox(once)


def test_distances_between_classes_are_those_of_the_mean_responses(once):
    found = rsatoolbox.rdm.calc_rdm(to_rsatoolbox(once), method="euclidean", descriptor="object_name")
    mean = once["response"].astype(float).groupby("object_name").mean().values
    np.testing.assert_allclose(found.dissimilarities, [[((mean[0] - mean[1]) ** 2).mean()]], rtol=1e-6)


def test_repeats_cross_validate(repeated):
    data = to_rsatoolbox(repeated)
    found = rsatoolbox.rdm.calc_rdm(data, method="crossnobis", descriptor="object_name", cv_descriptor="repetition")
    response = repeated["response"].astype(float)
    low, high = (response[:, i::2].mean("presentation").values for i in (0, 1))
    steps = low - high  # (repeat, neuroid)
    folds = [steps[i] @ steps[j] / 5 for i in range(3) for j in range(3) if i != j]
    np.testing.assert_allclose(found.dissimilarities, [[np.mean(folds)]], rtol=1e-6)
