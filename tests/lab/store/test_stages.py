"""Finished stages: whole or not there, verified, readable by plain xarray."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from biorep import atomic
from biorep.errors import StoreError
from biorep.lab.store import Stages


@pytest.fixture
def result():
    return xr.Dataset(
        {"eigenvalue": ("component", np.arange(5.0), {"long_name": "eigenvalue", "units": "1"})},
        coords={"component": np.arange(1, 6)},
        attrs={"layer": "response"},
    )


def _save(stages, result, key="abc"):
    stages.save("spectrum", key, result, config={"seed": 3, "engine": "torch-cpu", "a": [1, 2]}, seconds=1.5)


def test_round_trip_through_plain_xarray_with_provenance(tmp_path, result):
    stages = Stages(tmp_path)
    assert not stages.done("spectrum", "abc")
    _save(stages, result)
    assert stages.done("spectrum", "abc")
    with xr.open_dataset(tmp_path / "stages/spectrum/abc/spectrum.nc") as plain:
        xr.testing.assert_equal(plain.load(), result)
        assert plain.attrs["biorep_config_hash"] == "abc"
        assert plain.attrs["biorep_seed"] == 3
        assert json.loads(plain.attrs["biorep_config"])["a"] == [1, 2]
        assert {"Conventions", "source", "created_at", "biorep_code_version", "history"} <= set(plain.attrs)
    manifest = stages.manifest("spectrum", "abc")
    assert manifest["seconds"] == 1.5
    assert manifest["sha256"] == atomic.sha256(stages.path("spectrum", "abc"))
    assert result.attrs == {"layer": "response"}


def test_a_tree_keeps_its_groups(tmp_path, result):
    stages = Stages(tmp_path)
    tree = xr.DataTree.from_dict({"/": xr.Dataset({"a": 1}), "linf": result})
    stages.save("robustness", "k", tree, config={}, seconds=0)
    assert int(stages.load("robustness", "k")["a"]) == 1
    xr.testing.assert_equal(stages.load("robustness", "k")["linf"].to_dataset(inherit=False), result)
    with xr.open_dataset(stages.path("robustness", "k"), group="linf") as group:
        xr.testing.assert_equal(group.load(), result)


def test_a_file_without_manifest_is_not_done(tmp_path, result):
    stages = Stages(tmp_path)
    _save(stages, result)
    (stages.folder("spectrum", "abc") / "manifest.json").unlink()
    assert not stages.done("spectrum", "abc")


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_file_is_an_error_and_never_a_result(tmp_path, result, damage):
    stages = Stages(tmp_path)
    _save(stages, result)
    path = stages.path("spectrum", "abc")
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(content[:-10])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged: expected .* this stage alone is repeated"):
        stages.done("spectrum", "abc")


def test_a_broken_manifest_is_explained(tmp_path, result):
    stages = Stages(tmp_path)
    _save(stages, result)
    (stages.folder("spectrum", "abc") / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be read"):
        stages.done("spectrum", "abc")


def test_a_failed_write_leaves_neither_file_nor_manifest(tmp_path, result, monkeypatch):
    stages = Stages(tmp_path)

    def full(self, path, **_):
        path.write_bytes(b"half")
        raise RuntimeError("NetCDF: HDF error")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", full)
    with pytest.raises(StoreError, match="NetCDF: HDF error .* MiB free"):
        _save(stages, result)
    assert [path.name for path in stages.folder("spectrum", "abc").iterdir()] == ["stage.json"]
    assert not stages.done("spectrum", "abc")


def test_a_manifest_without_checksum_is_explained(tmp_path, result):
    stages = Stages(tmp_path)
    _save(stages, result)
    (stages.folder("spectrum", "abc") / "manifest.json").write_text("{}")
    with pytest.raises(StoreError, match="it has no bytes and no sha256"):
        stages.done("spectrum", "abc")


def test_a_stage_that_another_process_finished_meanwhile_is_kept(tmp_path, result):
    stages = Stages(tmp_path)
    _save(stages, result)
    _save(stages, result * 2)
    assert stages.done("spectrum", "abc")
    xr.testing.assert_equal(stages.load("spectrum", "abc"), result)


def test_a_stage_that_is_gone_is_explained(tmp_path):
    with pytest.raises(StoreError, match="is gone; run the recipe again"):
        Stages(tmp_path).load("spectrum", "abc")


def test_sparse_codes_are_stored_without_shuffle(tmp_path):
    stages = Stages(tmp_path)
    response = np.maximum(np.random.default_rng(0).standard_normal((50, 20)), 0).astype(np.float32)
    data = xr.Dataset({"response": (("presentation", "neuroid"), response), "weights": (("a", "b"), response)})
    stages.save("representation", "k", data, config={}, seconds=0)
    loaded = stages.load("representation", "k")
    assert loaded["response"].encoding["shuffle"] is False
    assert loaded["weights"].encoding["shuffle"] is True
    assert loaded["response"].encoding["complevel"] == 4
    np.testing.assert_array_equal(loaded["response"], response)
