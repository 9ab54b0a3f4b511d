"""What is wanted, and what is said when something else comes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from biorep import interop
from biorep.errors import ConfigError, DataError, NumericalError
from biorep.interop.table import response_table


@pytest.fixture(params=["to_brainscore", "to_rsatoolbox"])
def convert(request, tmp_path):
    if request.param == "to_brainscore":
        return lambda representation: interop.to_brainscore(representation, tmp_path / "a.nc")
    return interop.to_rsatoolbox


def test_anything_but_a_representation_is_refused(convert, once, tiny, tmp_path):
    with pytest.raises(DataError, match="got an object of type DataArray"):
        convert(once["response"])
    with pytest.raises(DataError, match="'response' is missing, the dataset has image, label, stimulus_id"):
        convert(tiny)
    with pytest.raises(DataError, match="'response' is missing, the dataset has no variables"):
        convert(xr.Dataset())
    with pytest.raises(DataError, match=r"dims \('seed', 'presentation', 'neuroid'\). Choose one entry"):
        convert(once.expand_dims(seed=[0, 1]))
    with pytest.raises(DataError, match=r"dims \('presentation',\)"):
        convert(once.isel(neuroid=0))
    with pytest.raises(DataError, match="empty: {'presentation': 0, 'neuroid': 3}"):
        convert(once.isel(presentation=[]))
    with pytest.raises(NumericalError, match="1 values that are NaN"):
        convert(once.assign(response=once["response"].where(once["response"] < once["response"].max())))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("call", "library"), [("to_rsatoolbox", "rsatoolbox"), ("to_pynapple", "pynapple")])
def test_a_missing_library_is_named_with_its_remedy(call, library, once, recording, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=rf'cannot import {library}.*`pip install "biorep\[interop\]"`'):
        getattr(interop, call)(recording if call == "to_pynapple" else once)


def test_importing_the_package_loads_no_library():
    probe = "import sys, biorep.interop; print(*{name.split('.')[0] for name in sys.modules})"
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert not set(answer.stdout.split()) & {"pynapple", "rsatoolbox", "torch", "brian2", "xarray"}


def test_repeats_become_presentations_with_all_their_coordinates(repeated):
    table = response_table(repeated.transpose("neuroid", "repeat", "presentation"))
    assert table.dims == ("presentation", "neuroid") and table.shape == (60, 5) and table.dtype == np.float32
    np.testing.assert_array_equal(table.values, repeated["response"].values.reshape(60, 5))
    np.testing.assert_array_equal(table["repetition"], np.repeat([0, 1, 2], 20))
    np.testing.assert_array_equal(table["stimulus_id"], np.tile(repeated["stimulus_id"].values, 3))
    np.testing.assert_array_equal(table["tries"], repeated["tries"].values.ravel())
    assert not table.indexes


def test_indexes_become_flat_coordinates(once, repeated):
    indexed = repeated.assign_coords(repeat=[7, 8, 9], neuroid=list("abcde"))
    table = response_table(indexed)
    assert table["repetition"].values[[0, 20, 40]].tolist() == [7, 8, 9]
    assert table["neuroid_index"].values.tolist() == list("abcde")
    assert not table.indexes and not {"repeat", "neuroid"} & set(table.coords)
    table = response_table(once.set_index(presentation=["stimulus_id", "object_name"]))
    np.testing.assert_array_equal(table["stimulus_id"], once["stimulus_id"])
    assert not table.indexes and "presentation" not in table.coords


def test_scalars_become_attributes_and_attributes_storable(repeated):
    swept = (
        repeated.expand_dims(seed=[4]).isel(seed=0, repeat=2).assign_attrs(seen=True, sizes={"a": [1]}, nothing=None)
    )
    table = response_table(swept)
    np.testing.assert_array_equal(table.values, repeated["response"].values[2])
    assert {name: table.attrs[name] for name in ("seed", "seen", "sizes", "nothing", "network", "units")} == {
        "seed": 4, "seen": 1, "sizes": '{"a": [1]}', "nothing": "null", "network": "diehl-cook", "units": "1",
    }  # fmt: skip


def test_differences_of_counts_do_not_wrap(repeated):
    assert repeated["response"].dtype == np.uint8
    table = response_table(repeated)
    assert float((table - table.max()).min()) == -float(repeated["response"].max())
