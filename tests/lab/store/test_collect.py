"""Collected files: equal to the stages, refreshed by what has changed, with gaps, padded, apart where shapes differ."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import xarray as xr

import biorep
from biorep.errors import StoreError
from biorep.lab import batch
from biorep.lab.report.page import write_report
from biorep.lab.store import RunRecord, Stages, collect, gather, read_plan, write_plan, write_run
from biorep.lab.store.collected import collected_path

UNITS, SEEDS = (2, 3), (0, 1, 2)


def spectrum(units, seed, extra=()):
    """A small result with everything that can differ: length of `component`, integers, a shared coordinate."""
    data = xr.Dataset(
        {
            "eigenvalue": ("component", np.arange(1, units + 1) * (seed + 1.0)),
            "alpha": 1.0 + seed + units,
            "rank": np.int16(units),
            "correct": ("presentation", np.array([seed % 2, 1], np.int8)),
            **dict(extra),
        },
        coords={"component": np.arange(1, units + 1), "stimulus_id": ("presentation", ["a", "b"])},
        attrs={"ddof": 1, "units_here": units, "warnings": "[]"},
    )
    for variable in data.variables.values():
        variable.attrs.update(long_name="something", units="1")
    return data


@pytest.fixture
def plan(tmp_path):
    """Return a function that adds finished runs to a plan of 2 x 3 runs."""
    stages = Stages(tmp_path)
    planned = {f"u{u}-s{s}": {"units": u, "seed": s} for u in UNITS for s in SEEDS}
    write_plan(tmp_path / "p", ["units", "seed"], planned, {})

    def finish(*names, version="1", make=spectrum):
        for name in names:
            result = make(**planned[name])
            key = f"{name}{version}"
            stages.save("spectrum", key, result, config={}, seconds=0.1)
            write_run(
                tmp_path / "p",
                RunRecord(name, {}, planned[name], {"spectrum": f"spectrum/{key}"}, {}, [], 0.5, version),
            )

    finish.names = list(planned)
    finish.folder = tmp_path / "p"
    return finish


def test_collected_values_are_those_of_the_stages_over_the_dims(plan):
    plan(*plan.names)
    tree = biorep.open(plan.folder)
    data = tree["spectrum"].to_dataset()
    assert data["eigenvalue"].dims == ("units", "seed", "component")
    for units in UNITS:
        for seed in SEEDS:
            one, alone = data.sel(units=units, seed=seed), spectrum(units, seed)
            assert float(one["alpha"]) == float(alone["alpha"])
            np.testing.assert_array_equal(one["eigenvalue"][:units], alone["eigenvalue"])
            assert one["eigenvalue"][units:].isnull().all()
            np.testing.assert_array_equal(one["correct"], alone["correct"])
    assert (data["rank"].dtype, data["correct"].dtype) == (np.int16, np.int8)
    assert data["stimulus_id"].values.tolist() == ["a", "b"]
    assert (data.attrs["ddof"], data.attrs["units_here"]) == (1, "varies")
    assert data["component"].values.tolist() == [1, 2, 3]
    assert all("long_name" in variable.attrs for variable in data.data_vars.values())
    assert tree["index"]["status"].values.tolist() == [["done"] * 3] * 2


def test_runs_that_are_not_finished_are_gaps(plan):
    plan("u2-s0", "u3-s2")
    tree = biorep.open(plan.folder)
    data = tree["spectrum"].to_dataset()
    assert data["alpha"].notnull().values.tolist() == [[True, False, False], [False, False, True]]
    assert data["rank"].encoding["_FillValue"] == np.iinfo(np.int16).min
    assert data["rank"].encoding["dtype"] == np.int16
    assert tree["index"]["status"].sel(units=3, seed=2) == "done"
    assert tree["index"]["status"].sel(units=3, seed=1) == "missing"
    assert tree.attrs["runs_missing"] == 4


def test_what_is_new_is_added_without_reading_the_rest_again(plan, monkeypatch):
    plan(*plan.names[:4])
    assert [path.name for path in collect(plan.folder)] == ["spectrum.nc"]
    assert collect(plan.folder) == []
    read = []
    whole = gather.read
    monkeypatch.setattr(gather, "read", lambda path, *rest: (read.append(path.parent.name), whole(path, *rest))[1])
    plan(*plan.names[4:])
    collect(plan.folder)
    assert [name for name in read if name != "collected"] == [f"{name}1" for name in plan.names[4:]]
    added = biorep.open(plan.folder)["spectrum"].to_dataset().load()
    collected_path(read_plan(plan.folder), "spectrum").unlink()
    xr.testing.assert_identical(added, biorep.open(plan.folder)["spectrum"].to_dataset().load())


def test_a_run_that_was_made_again_replaces_its_old_values(plan):
    plan(*plan.names)
    biorep.open(plan.folder).close()
    plan("u2-s1", version="2", make=lambda units, seed: spectrum(units, seed + 10))
    tree = biorep.open(plan.folder)
    assert float(tree["spectrum"]["alpha"].sel(units=2, seed=1)) == 14.0
    assert float(tree["spectrum"]["alpha"].sel(units=2, seed=0)) == 3.0
    assert set(tree["index"]["code_version"].values.ravel()) == {"1", "2"}


def test_what_differs_in_shape_is_apart(plan):
    def make(units, seed):
        return spectrum(units, seed, {"field": ("pixel", np.arange(units, dtype=float))})

    plan(*plan.names, make=make)
    tree = biorep.open(plan.folder)
    assert "field" not in tree["spectrum"]
    assert tree["spectrum"].attrs["left_out"] == "field"
    for number, units in enumerate(UNITS, 1):
        apart = tree[f"spectrum/shape_{number}"]
        assert apart["field"].sizes == {"run": 3, "pixel": units}
        assert apart["run"].values.tolist() == [f"u{units}-s{seed}" for seed in SEEDS]


def test_a_damaged_collected_file_is_made_again(plan):
    plan(*plan.names)
    (path,) = collect(plan.folder)
    path.write_bytes(path.read_bytes()[:200])
    assert float(biorep.open(plan.folder)["spectrum"]["alpha"].sum()) == sum(1 + s + u for s in SEEDS for u in UNITS)


def test_a_damaged_stage_is_named(plan):
    plan(*plan.names)
    path = Stages(plan.folder.parent).path("spectrum", "u2-s01")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"u2-s01.* is damaged"):
        biorep.open(plan.folder)


def test_a_folder_that_may_only_be_read_is_opened_all_the_same(plan, monkeypatch):
    plan(*plan.names)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # tests may run as root, who may write everywhere

    def refuse(path, write):
        raise StoreError("read-only")

    monkeypatch.setattr("biorep.atomic.write_with", refuse)
    assert biorep.open(plan.folder)["spectrum"]["alpha"].dims == ("units", "seed")
    assert not collected_path(read_plan(plan.folder), "spectrum").exists()


def test_nothing_finished_is_explained(plan):
    for action in (biorep.open, write_report):
        with pytest.raises(StoreError, match="no run of the plan .* is finished.*biorep status"):
            action(plan.folder)


def test_two_runs_at_one_place_are_refused(tmp_path):
    planned = {"a": {"seed": 0, "units": 1}, "b": {"seed": 0, "units": 1}}
    write_plan(tmp_path / "p", ["seed"], {name: {"seed": at["seed"]} for name, at in planned.items()}, {})
    index = json.loads((tmp_path / "p" / "plan.json").read_text())
    assert len(index["runs"]) == 2
    for name in planned:
        Stages(tmp_path).save("spectrum", name, spectrum(2, 0), config={}, seconds=0)
        write_run(tmp_path / "p", RunRecord(name, {}, {"seed": 0}, {"spectrum": f"spectrum/{name}"}))
    tree = biorep.open(tmp_path / "p")  # no full product: one dim `run`, whose names are unique
    assert tree["spectrum"]["alpha"].dims == ("run",)


def test_histories_of_trainings_are_collected_from_the_states(tmp_path):
    """Trainings of different length, and a network that keeps no history, in one plan."""
    planned = {name: {"model": name, "seed": 0} for name in ("short", "long", "none")}
    write_plan(tmp_path / "p", ["model", "seed"], planned, {})
    for name, epochs in (("short", 2), ("long", 4), ("none", 0)):
        state = xr.Dataset({"weights_0": (("neuroid", "input"), np.ones((2, 3)))})
        if epochs:
            state = state.assign_coords(epoch=np.arange(1, epochs + 1))
            state["loss"] = ("epoch", np.arange(epochs) + 0.5)
            if name == "short":  # which the longer one does not have
                state["accuracy"] = ("epoch", np.array([0.1, 0.2]))
        for variable in state.variables.values():
            variable.attrs.update(long_name="something", units="1")
        Stages(tmp_path).save("state", name, state, config={}, seconds=0.1)
        write_run(tmp_path / "p", RunRecord(name, {}, planned[name], {"state": f"state/{name}"}, {}, [], 0.5, "1"))
    history = biorep.open(tmp_path / "p")["history"]
    assert set(history.data_vars) == {"loss", "accuracy"}
    np.testing.assert_array_equal(history["accuracy"].sel(model="short", seed=0), [0.1, 0.2, np.nan, np.nan])
    loss = history["loss"].sel(seed=0)
    np.testing.assert_array_equal(loss.sel(model="long"), [0.5, 1.5, 2.5, 3.5])
    np.testing.assert_array_equal(loss.sel(model="short"), [0.5, 1.5, np.nan, np.nan])
    assert loss.sel(model="none").isnull().all()
    assert history["epoch"].values.tolist() == [1, 2, 3, 4]
    assert [path.stem for path in collect(tmp_path / "p")] == []


def test_an_opened_plan_holds_no_file_open(tmp_path):
    """netCDF4 crashes when a file with texts is opened twice and one of the two is closed."""
    plan = tmp_path / "p.yaml"
    plan.write_text(
        "name: p\nrecipe: {dataset: {name: digits, limit: 40}, network: {kind: pixels}, spectrum: null, "
        "robustness: null}\ngrid: {readout.penalty: [0.1, 0.2]}\n"
    )
    record = batch.execute(batch.read(plan), tmp_path / "out", say=lambda line: None)
    tree = biorep.open(record.folder)
    held = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if _is_open(name)]
    assert not [path for path in held if path.startswith(str(tmp_path))]
    assert tree["readout"]["test_accuracy"].notnull().all()


def _is_open(name):
    return os.path.exists(f"/proc/self/fd/{name}")


def test_what_stands_for_other_stimuli_is_not_stacked_by_its_place(plan):
    def make(units, seed):
        stimuli = ["a", "b"] if units == 2 else ["c", "d"]
        return spectrum(units, seed).assign_coords(stimulus_id=("presentation", stimuli))

    plan(*plan.names, make=make)
    tree = biorep.open(plan.folder)
    assert {"correct", "stimulus_id"} <= set(tree["spectrum"].attrs["left_out"].split())
    assert [tree[f"spectrum/shape_{number}"]["stimulus_id"].values.tolist() for number in (1, 2)] == [
        ["a", "b"],
        ["c", "d"],
    ]
    assert tree["spectrum"]["alpha"].notnull().all()
