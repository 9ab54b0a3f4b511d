"""Files for Brain-Score, read as BrainIO reads them."""

from __future__ import annotations

import netCDF4
import numpy as np
import pytest
import xarray as xr

import biorep
from biorep.errors import DataError, StoreError
from biorep.interop import to_brainscore


def _assembly(path):
    """Return what BrainIO makes of a file: all coordinates of a dim in one MultiIndex, at least two of them."""
    with xr.open_dataarray(path) as file:
        flat = file.load()
    assert not flat.indexes
    levels = {dim: [str(n) for n, c in flat.coords.items() if c.dims == (dim,)] for dim in flat.dims}
    assert all(len(names) >= 2 for names in levels.values())
    return flat.set_index(append=True, **levels), levels


def test_the_file_has_the_same_numbers_for_the_same_stimuli(once, tmp_path):
    to_brainscore(once, tmp_path / "a.nc")
    assert [path.name for path in tmp_path.iterdir()] == ["a.nc"]
    found, levels = _assembly(tmp_path / "a.nc")
    assert found.name == "response" and set(found.dims) == {"presentation", "neuroid"}
    assert set(levels["presentation"]) == {"stimulus_id", "object_name", "split", "label"}
    assert set(levels["neuroid"]) == {"neuroid_id", "layer", "model"}
    np.testing.assert_array_equal(found.values, once["response"].values)
    for name in ("stimulus_id", "object_name", "label"):
        assert found[name].values.tolist() == once[name].values.tolist()
    assert found["neuroid_id"].values.tolist() == [3, 0, 4]
    assert set(found["layer"].values) == {"last"} and set(found["model"].values) == {"random-features"}
    one = found.sel(stimulus_id=once["stimulus_id"].values[7]).sel(neuroid_id=4)
    assert float(one.squeeze()) == float(once["response"].values[7, 2])
    assert found.attrs["dataset"] == once.attrs["dataset"] and found.attrs["units"] == "1"


def test_repeats_average_to_the_mean_response_of_each_stimulus(repeated, tmp_path):
    to_brainscore(repeated, str(tmp_path / "a.nc"))
    found, _ = _assembly(tmp_path / "a.nc")
    assert found.sizes == {"presentation": 60, "neuroid": 5}
    assert sorted(set(found["repetition"].values)) == [0, 1, 2]
    mean = found.groupby("stimulus_id").mean("presentation").sel(stimulus_id=repeated["stimulus_id"].values)
    np.testing.assert_allclose(mean.values, repeated["response"].mean("repeat").values, rtol=1e-6)
    second = found.sel(repetition=1)
    np.testing.assert_array_equal(second.values, repeated["response"].values[1])


def test_on_disk_is_plain_compressed_netcdf(repeated, tmp_path):
    to_brainscore(repeated.assign_attrs(biorep_seed=3), tmp_path / "a.nc")
    with netCDF4.Dataset(tmp_path / "a.nc") as file:
        assert not set(file.variables) & set(file.dimensions)  # a variable with the name of its dim is an index
        assert file["response"].filters()["zlib"] and not file["response"].filters()["shuffle"]
        assert file["response"].dtype == np.float32 and file.biorep_seed == 3
        assert [name for name, v in file.variables.items() if v.ndim == 2] == ["response"]


def test_a_representation_that_was_itself_read_from_a_file(repeated, tmp_path):
    packed = {"response": {"zlib": True, "chunksizes": (1, 20, 5)}}
    repeated.to_netcdf(tmp_path / "stage.nc", engine="netcdf4", encoding=packed)
    with xr.open_dataset(tmp_path / "stage.nc") as stage:
        to_brainscore(stage, tmp_path / "new" / "a.nc")
    to_brainscore(repeated, tmp_path / "b.nc")
    with xr.open_dataset(tmp_path / "new" / "a.nc") as found, xr.open_dataset(tmp_path / "b.nc") as expected:
        xr.testing.assert_identical(found.load(), expected.load())


def test_own_coordinates_are_kept(once, tmp_path):
    named = once.assign_coords(region=("neuroid", ["V1", "V1", "V2"]), layer=("neuroid", list("abc")))
    to_brainscore(named, tmp_path / "a.nc")
    found, _ = _assembly(tmp_path / "a.nc")
    assert found.sel(region="V1").sizes["neuroid"] == 2
    assert found["layer"].values.tolist() == list("abc")


def test_what_a_network_answers_can_be_written(tiny, tmp_path):
    network = biorep.network("random-features", units=6)
    answers = network.encode(network.fit(tiny, seed=0), tiny)
    to_brainscore(answers, tmp_path / "a.nc")
    np.testing.assert_array_equal(_assembly(tmp_path / "a.nc")[0].values, answers["response"].values)


def test_missing_coordinates_are_named(once, tmp_path):
    bare = once.drop_vars(["object_name", "neuroid_id"])
    with pytest.raises(DataError, match=r"object_name\(presentation\), neuroid_id\(neuroid\); .* has .*stimulus_id"):
        to_brainscore(bare, tmp_path / "a.nc")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(once, tmp_path, monkeypatch):
    to_brainscore(once, tmp_path / "a.nc")
    before = (tmp_path / "a.nc").read_bytes()

    def fail(self, path, **options):
        path.write_bytes(b"half")
        raise RuntimeError("NetCDF: HDF error")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", fail)
    with pytest.raises(StoreError, match="cannot write"):
        to_brainscore(once, tmp_path / "a.nc")
    assert (tmp_path / "a.nc").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.nc"]
