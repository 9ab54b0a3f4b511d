"""Measures in a recipe give what their functions give, of any layer, several of a kind side by side."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import biorep
from biorep.context import RunContext
from biorep.errors import ConfigError
from biorep.lab import batch
from biorep.lab.graph import graph
from biorep.lab.perform import Performer
from biorep.lab.recipe import recipe_from
from biorep.lab.store import Stages
from biorep.source import Source, parse_yaml

RECIPE = """
name: m
dataset: {name: digits, limit: 120}
network: {kind: mlp, hidden: [20, 12], epochs: 2, evaluate: 0}
spectrum/all: {layer: all, first: 1, last: 8}
spectrum/first: {layer: hidden_1, first: 1, last: 8}
spectrum/currents: {quantity: preactivation, first: 1, last: 8}
isometry/first: {layer: hidden_1, images: 60}
robustness: null
"""


def test_layers_and_quantities_side_by_side(tmp_path):
    (tmp_path / "m.yaml").write_text(RECIPE)
    record = batch.execute(batch.read(tmp_path / "m.yaml"), tmp_path / "out", say=lambda line: None)
    tree = biorep.open(record.folder)
    assert tree["spectrum/all"]["layer"].values.tolist() == ["hidden_1", "hidden_2"]
    every, first = tree["spectrum/all"]["alpha"], tree["spectrum/first"]["alpha"]
    assert float(every.sel(layer="hidden_1")) == float(first)
    network = biorep.network("mlp", hidden=[20, 12], epochs=2, evaluate=0)
    state, test = tree["state"].to_dataset(), biorep.datasets.load("digits", "test", limit=120)
    code = network.encode(state, test, layer="hidden_2", quantity="preactivation")
    expected = biorep.spectra.eigenspectrum(code)["eigenvalue"]
    np.testing.assert_allclose(tree["spectrum/currents"]["eigenvalue"], expected, rtol=1e-12)
    assert {"spectrum/all.alpha", "spectrum/first.alpha", "isometry/first.pearson"} <= set(record.runs[0].numbers)
    heads = [column["heading"] for column in record.columns]
    assert heads[:4] == ["test accuracy", "exponent (all)", "exponent (first)", "exponent (currents)"]


def test_tuning_is_measured_with_gratings_that_are_no_part_of_the_dataset(tmp_path):
    text = (
        "name: t\ndataset: {name: natural-patches, source: photographs, size: 8, count: 60}\n"
        "network: {kind: random-features, units: 9}\n"
        "readout: null\nspectrum: null\nrobustness: null\n"
        "tuning: {gratings: {name: gratings, size: 8, orientations: 6, frequencies: [0.125], phases: 4}}\n"
    )
    (tmp_path / "t.yaml").write_text(text)
    record = batch.execute(batch.read(tmp_path / "t.yaml"), tmp_path / "out", say=lambda line: None)
    found = biorep.open(record.folder)
    network = biorep.network("random-features", units=9)
    shown = biorep.datasets.gratings(size=8, orientations=6, frequencies=[0.125], phases=4)
    expected = biorep.tuning.tuning(network.encode(found["state"].to_dataset(), shown))
    np.testing.assert_array_equal(found["tuning"]["curve"], expected["curve"])
    assert record.runs[0].numbers["tuning.selectivity"] == float(np.median(expected["selectivity"]))
    with pytest.raises(ConfigError, match="key 'tuning.gratings' is missing: what is shown"):
        recipe_from(parse_yaml(text.replace("{gratings: {name: gratings, size: 8, orientations: 6, frequencies: "
                                            "[0.125], phases: 4}}", "{}"), "t"))  # fmt: skip


def test_repeats_are_what_one_call_gives(tmp_path):
    spiking = {"kind": "diehl-cook", "units": 4, "peak_rate": 300.0, "norm": 6.0, "stimulus_duration": 20.0,
               "rest_duration": 5.0, "max_tries": 2, "epochs": 0}  # fmt: skip
    document = {"name": "r", "dataset": {"name": "digits", "limit": 6}, "network": spiking, "repeats": 3,
                "readout": None, "robustness": None, "spectrum": {"first": 1, "last": 3}}  # fmt: skip
    context = RunContext(engine="runtime-numpy")
    recipe = recipe_from(Source(document, "r", {}))
    nodes = graph(recipe, context)
    performer = Performer(Stages(tmp_path), context, lambda line: None)
    stacked = performer.value(nodes["spectrum"].parents["code"])
    state = performer.value(nodes["state"])
    whole = recipe.network.encode(state, recipe.dataset.load("test"), seed=0, repeats=3, context=context)
    assert stacked["response"].dims == ("repeat", "presentation", "neuroid")
    xr.testing.assert_equal(stacked["response"].drop_vars("repeat", errors="ignore"), whole["response"])
    assert [name for name in nodes if name.startswith("representation/test")][:3] == [
        "representation/test", "representation/test-repeat:1", "representation/test-repeat:2",
    ]  # fmt: skip


def test_what_has_no_meaning_is_refused_when_the_recipe_is_read(tmp_path):
    def read(text):
        (tmp_path / "r.yaml").write_text("name: r\ndataset: {name: digits}\n" + text)
        batch.read(tmp_path / "r.yaml")

    batches = "network: {kind: mlp, hidden: [8, 8], whitening: {after: 1, statistics: batch}}\n"
    with pytest.raises(ConfigError, match="'robustness': robustness has no meaning for a network whose answer"):
        read(batches)
    read(batches + "robustness: null\n")
    with pytest.raises(ConfigError, match="repeats = 3, but 'pixels' answers without noise"):
        read("network: {kind: pixels}\nrepeats: 3\n")
    with pytest.raises(ConfigError, match=r"unknown key 'spectrun'; did you mean 'spectrum'\?"):
        read("network: {kind: pixels}\nspectrun: {}\n")
    with pytest.raises(ConfigError, match=r"unknown key 'robustness.attacks.0.stesp' .*did you mean 'steps'"):
        read("network: {kind: pixels}\nrobustness: {attacks: [{kind: pgd, stesp: 3}]}\n")
    with pytest.raises(ConfigError, match="unknown attack 'pgg'; did you mean 'pgd'"):
        read("network: {kind: pixels}\nrobustness: {attacks: [pgg]}\n")
