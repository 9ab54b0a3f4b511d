"""Content, not places: plans that are copied, renamed, linked or entered; a user's code; what a plan has no more."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import biorep
from biorep import plot
from biorep.errors import ConfigError, DataError, StoreError
from biorep.lab import batch
from biorep.lab.report.page import write_report
from biorep.lab.report.rows import by_network
from biorep.lab.store import RunRecord, Stages, collect, read_plan, status, write_plan
from biorep.lab.store.runs import open_root, write_run
from biorep.spectra import fit_powerlaw

PLAN = """
name: p
recipe:
  dataset: {name: digits, limit: 60}
  network: {kind: random-features, units: 12}
  spectrum: {first: 1, last: 8}
  robustness: null
grid: {seed: {range: 2}}
"""
OWN = """
from helper import scale
import xarray as xr
from biorep.contracts import Code, Measure

class Loudness(Measure):
    kind: str = "own.py:Loudness"
    power: float = 1.0

    def needs(self, recipe):
        return {"code": Code("test")}

    def make(self, given):
        loud = scale() * float((given["code"]["response"] ** self.power).mean())
        return xr.Dataset({"loud": ((), loud, {"long_name": "loudness", "units": "1"})})
"""


def run(path, out, *overrides):
    said = []
    record = batch.execute(batch.read(path, overrides), out, replace=True, say=said.append)
    return record, [line.split(": ", 1)[1] for line in said]


def made(said):
    return [line.split()[0] for line in said if line.endswith(" s")]


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "p.yaml").write_text(PLAN)
    record, _ = run(tmp_path / "p.yaml", tmp_path / "out")
    write_report(record.folder)
    return record.folder


@pytest.mark.parametrize("how", ["renamed", "copied", "linked", "entered"])
def test_a_plan_writes_into_the_folder_that_was_opened(plan, how, monkeypatch):
    other = plan.parent / "other"
    if how == "renamed":
        plan.rename(other)
    elif how == "copied":
        shutil.copytree(plan, other)
    elif how == "linked":
        other.symlink_to(plan)
    else:
        monkeypatch.chdir(plan)
        other = "."
    tree = biorep.open(other)
    assert tree["spectrum"]["alpha"].dims == ("seed",)
    record = read_plan(other)
    for path in (record.folder / "collected").glob("*.nc"):
        path.unlink()
    before = {path.name for path in plan.parent.iterdir()}
    assert {path.parent.parent for path in collect(other)} == {record.folder}
    assert write_report(other).parent == record.folder
    assert {path.name for path in plan.parent.iterdir()} == before  # nobody made the old folder again
    if how == "renamed":
        assert not plan.exists()
        assert "other: 2 runs: 2 done" in status(other)[0]


def test_what_a_plan_asks_for_no_more_is_gone_from_table_page_tree_and_figures(plan, tmp_path):
    assert (plan / "figures" / "spectrum.svg").is_file()
    assert (plan / "collected" / "spectrum.nc").is_file()
    record, said = run(tmp_path / "p.yaml", tmp_path / "out", "recipe.spectrum=null")
    assert made(said) == []
    collect(plan)
    page = write_report(plan).read_text()
    assert "spectrum" not in biorep.open(plan)
    assert not (plan / "collected" / "spectrum.nc").exists()
    assert not (plan / "figures" / "spectrum.svg").exists()
    assert "exponent" not in page
    assert all("spectrum" not in run.stages for run in record.runs)
    assert not any("spectrum" in column["name"] for column in record.columns)


def test_a_page_is_written_again_only_when_something_has_changed(plan, tmp_path):
    stamp = (plan / "report.html").stat().st_mtime_ns
    run(tmp_path / "p.yaml", tmp_path / "out")
    assert write_report(plan).stat().st_mtime_ns == stamp
    run(tmp_path / "p.yaml", tmp_path / "out", "grid.seed=[0,1,2]")
    assert write_report(plan).stat().st_mtime_ns != stamp


def test_a_repeated_plan_opens_no_result_and_checks_each_once(plan, tmp_path, monkeypatch):
    from biorep import atomic

    hashed = []
    real = atomic.sha256
    monkeypatch.setattr(atomic, "sha256", lambda path: (hashed.append(path), real(path))[1])
    monkeypatch.setattr(Stages, "load", lambda *_: 1 / 0)
    record, said = run(tmp_path / "p.yaml", tmp_path / "out")
    assert len(record.runs) == 2
    assert made(said) == []
    stages = {address for one in record.runs for address in one.stages.values()}
    assert sorted(path.parent.name for path in hashed) == sorted(address.split("/")[1] for address in stages)


def test_a_store_of_another_form_is_refused_and_left_alone(tmp_path):
    (tmp_path / "p.yaml").write_text(PLAN)
    (tmp_path / "old" / "stages" / "state").mkdir(parents=True)
    with pytest.raises(StoreError, match="made by an older biorep: choose another folder with --out"):
        run(tmp_path / "p.yaml", tmp_path / "old")
    assert sorted(os.listdir(tmp_path / "old" / "stages")) == ["state"]
    assert not (tmp_path / "old" / "store.json").exists()


# ------------------------------------------------------------------------------------------- a user's own code


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "helper.py").write_text("def scale():\n    return 2.0\n")
    (tmp_path / "p.yaml").write_text(
        PLAN.replace("  robustness", '  loudness: {kind: "own.py:Loudness"}\n  robustness')
    )
    return tmp_path / "p.yaml"


def loud(folder):
    return float(biorep.open(folder)["loudness"]["loud"].sel(seed=0))


def test_a_measure_of_the_user_s_own_runs_and_follows_its_text(own, tmp_path):
    record, said = run(own, tmp_path / "out")
    assert made(said).count("loudness") == 2
    first = loud(record.folder)
    _, said = run(own, tmp_path / "out")
    assert made(said) == []
    (tmp_path / "helper.py").write_text("def scale():\n    return 6.0\n")  # a module beside it, imported by it
    record, said = run(own, tmp_path / "out")
    assert made(said) == ["loudness", "loudness"]
    assert loud(record.folder) == pytest.approx(3 * first)


def test_the_log_says_that_the_code_has_changed_and_status_warns_of_a_mixture(own, tmp_path):
    record, _ = run(own, tmp_path / "out")
    (tmp_path / "own.py").write_text(OWN + "\n# another text\n")
    said = []
    batch.execute(batch.read(own), tmp_path / "out", say=said.append)
    assert said[0] == "the code of 'Loudness' has changed since the last run: what it made is made anew"
    from dataclasses import replace

    write_run(record.folder, replace(record.runs[0], code={"Loudness": "another"}))
    assert any("come from 2 versions of the code of 'Loudness'" in line for line in status(record.folder))


def test_where_a_user_s_file_lies_makes_no_difference(own, tmp_path):
    run(own, tmp_path / "out")
    shutil.copytree(tmp_path, tmp_path / "elsewhere", ignore=shutil.ignore_patterns("out", "elsewhere"))
    (tmp_path / "elsewhere" / "own.py").rename(tmp_path / "elsewhere" / "mine.py")
    text = own.read_text().replace("own.py", "mine.py")
    (tmp_path / "elsewhere" / "p.yaml").write_text(text)
    _, said = run(tmp_path / "elsewhere" / "p.yaml", tmp_path / "out")
    assert made(said) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def broken(:\n", r"own\.py:1: invalid syntax"),
        ("import absent_module\n", r"own\.py:1: ModuleNotFoundError: No module named 'absent_module'"),
        ("import sys\n\nsys.exit(0)\n", r"own\.py:3: SystemExit: 0"),
        ("Loudness = 3\n", r"own\.py defines no measure 'Loudness' \(it defines: none\)"),
    ],
)
def test_mistakes_in_a_user_s_file_name_its_line(own, tmp_path, text, message):
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(ConfigError, match=message):
        batch.read(own)


MEAN = """
import xarray as xr
from biorep.contracts import Images, Measure

class Mean{NAME}(Measure):
    kind: str = "mean"
    files = {FILES}

    def needs(self, recipe):
        return {{"images": Images("test")}}

    def make(self, given):
        {BODY}
        return xr.Dataset({{"value": ((), value, {{"long_name": "value", "units": "1"}})}})
"""


def own_plan(tmp_path, measures):
    lines = "".join(f'  {name}: {{kind: "{kind}"}}\n' for name, kind in measures.items())
    (tmp_path / "q.yaml").write_text(
        "name: q\nrecipe:\n  dataset: {name: digits, limit: 40}\n  network: {kind: pixels}\n  readout: null\n"
        f"  spectrum: null\n  robustness: null\n{lines}grid: {{seed: [0]}}\n"
    )
    return tmp_path / "q.yaml"


def value(folder, name):
    return float(biorep.open(folder)[name]["value"])


def test_modules_of_one_name_in_two_folders_are_refused(tmp_path):
    for number in (1, 2):
        folder = tmp_path / f"d{number}"
        folder.mkdir()
        (folder / "twin.py").write_text(f"V = {number}.0\n")
        text = MEAN.format(NAME=number, FILES=(), BODY="from twin import V; value = V")
        (folder / "mine.py").write_text(text)
    plan = own_plan(tmp_path, {"one": "d1/mine.py:Mean1", "two": "d2/mine.py:Mean2"})
    with pytest.raises(ConfigError, match="imports the module 'twin' beside it, and another module 'twin'"):
        batch.read(plan)


def test_a_change_behind_a_module_that_stays_as_it_is_is_seen_at_once(tmp_path):
    """mine.py imports a value from `chain`, which imports it from `end`; and a package takes it from inside itself."""
    (tmp_path / "chain.py").write_text("from end import V\n")
    (tmp_path / "mine.py").write_text(MEAN.format(NAME="", FILES=(), BODY="from chain import V; value = V"))
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "__init__.py").write_text("from .deep import V\n")
    (tmp_path / "packed.py").write_text("from box import V\n" + MEAN.format(NAME="Two", FILES=(), BODY="value = V"))
    for number in (1.0, 2.0, 1.0):
        (tmp_path / "end.py").write_text(f"V = {number}\n")
        (tmp_path / "box" / "deep.py").write_text(f"V = {number}\n")
        record, _ = run(own_plan(tmp_path, {"mine": "mine.py:Mean", "two": "packed.py:MeanTwo"}), tmp_path / "out")
        assert (value(record.folder, "mine"), value(record.folder, "two")) == (number, number)


def test_data_that_a_file_reads_when_it_is_loaded_is_read_again(tmp_path):
    read = "import pathlib\nV = float((pathlib.Path(__file__).parent / 'v.txt').read_text())\n"
    (tmp_path / "mine.py").write_text(read + MEAN.format(NAME="", FILES=("v.txt",), BODY="value = V"))
    for number in (1.0, 2.0, 1.0):
        (tmp_path / "v.txt").write_text(f"{number}")
        record, _ = run(own_plan(tmp_path, {"mine": "mine.py:Mean"}), tmp_path / "out")
        assert value(record.folder, "mine") == number
    (tmp_path / "mine.py").write_text(MEAN.format(NAME="", FILES="'v.txt'", BODY="value = 1"))
    with pytest.raises(ConfigError, match=r"Mean.files is the text 'v.txt'; write a tuple"):
        batch.read(own_plan(tmp_path, {"mine": "mine.py:Mean"}))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return {'value': 1.0}", "'mine' made dict; what is stored must be an xarray.Dataset or DataTree"),
        ("return None", "'mine' made NoneType"),
    ],
)
def test_what_a_user_s_measure_returns_is_checked(tmp_path, body, message):
    (tmp_path / "mine.py").write_text(MEAN.format(NAME="", FILES=(), BODY=body))
    with pytest.raises(ConfigError, match=message):
        run(own_plan(tmp_path, {"mine": "mine.py:Mean"}), tmp_path / "out")


NETWORK = """
import numpy as np
import xarray as xr
from biorep.contracts import Network
from biorep.networks.base import representation

class Net(Network):
    kind: str = "net"
    seeded = False

    def fit(self, dataset, *, seed, context=None):
        return {STATE}

    def encode(self, state, dataset, *, seed=0, context=None, **rest):
        images = dataset.isel(presentation=slice(0, {SHOWN}))
        return representation(images["image"].values.reshape(images.sizes["presentation"], -1), images,
                              quantity="response", kind="net")
"""


@pytest.mark.parametrize(
    ("state", "shown", "message"),
    [
        ("xr.Dataset()", 20, "Net.encode: it returned the responses to 20 of 40 images"),
        ("{'a': 1}", None, "Net.fit returned dict; it must return an xarray.Dataset"),
    ],
)
def test_what_a_user_s_network_returns_is_checked(tmp_path, state, shown, message):
    (tmp_path / "net.py").write_text(NETWORK.format(STATE=state, SHOWN=shown))
    with pytest.raises(ConfigError, match=message):
        run(network_plan(tmp_path), tmp_path / "out")


def network_plan(tmp_path):
    plan = own_plan(tmp_path, {})
    plan.write_text(plan.read_text().replace("{kind: pixels}", '{kind: "net.py:Net"}').replace("[0]", "[3, 4]"))
    return plan


def test_a_network_that_says_it_draws_nothing_gets_no_seed(tmp_path):
    """One training serves all seeds, so it must not be the training of the first of them."""
    state = "xr.Dataset({'w': ((), float(seed), {'long_name': 'seed', 'units': '1'})})"
    (tmp_path / "net.py").write_text(NETWORK.format(STATE=state, SHOWN=None))
    record, _ = run(network_plan(tmp_path), tmp_path / "out")
    assert len({one.stages["state"] for one in record.runs}) == 1
    assert float(xr.open_dataset(biorep.open(record.folder)["index"]["state"][0].item())["w"]) == 0
    assert set(by_network(record)) == {"net.py:Net"}  # a row is not called by a path


def test_images_that_are_replaced_while_a_plan_runs_are_refused(tmp_path):
    images = np.random.default_rng(0).integers(0, 200, (40, 4, 4), dtype=np.uint8)

    def save(offset):
        split = np.array(["train"] * 30 + ["test"] * 10)
        np.savez(tmp_path / "d.npz", images=images + np.uint8(offset), labels=np.arange(40) % 2, split=split)

    save(0)
    text = own_plan(tmp_path, {}).read_text().replace("{name: digits, limit: 40}", "{name: d.npz}")
    (tmp_path / "q.yaml").write_text(text.replace("readout: null", "readout: {}"))
    plan = batch.read(tmp_path / "q.yaml")

    def say(line):
        if "state" in line:  # the training is done, the test images are still to be read
            save(50)

    with pytest.raises(DataError, match=r"the files of the dataset '.*d.npz' have changed since the run began"):
        batch.execute(plan, tmp_path / "out", say=say)


def test_what_a_session_has_set_for_torch_reaches_no_result(tmp_path):
    text = own_plan(tmp_path, {}).read_text().replace("{kind: pixels}", "{kind: mlp, hidden: [9], epochs: 2}")
    (tmp_path / "q.yaml").write_text(text)
    plain, _ = run(tmp_path / "q.yaml", tmp_path / "plain")
    with torch.autocast("cpu"), torch.no_grad():
        torch.set_default_dtype(torch.float64)
        try:
            other, _ = run(tmp_path / "q.yaml", tmp_path / "other")
        finally:
            assert torch.get_default_dtype() == torch.float64
            torch.set_default_dtype(torch.float32)
    files = [str(biorep.open(record.folder)["index"]["state"].item()) for record in (plain, other)]
    one, two = (xr.open_dataset(file) for file in files)
    np.testing.assert_array_equal(one["weights_0"], two["weights_0"])


def test_which_of_the_files_has_which_content_matters(tmp_path):
    body = "from pathlib import Path; value = float(Path(__file__).with_name('a.txt').read_text())"
    (tmp_path / "mine.py").write_text(MEAN.format(NAME="", FILES=("a.txt", "b.txt"), BODY=body))
    found = []
    for a, b in ((5, 7), (7, 5)):
        (tmp_path / "a.txt").write_text(f"{a}")
        (tmp_path / "b.txt").write_text(f"{b}")
        record, _ = run(own_plan(tmp_path, {"mine": "mine.py:Mean"}), tmp_path / "out")
        found.append(value(record.folder, "mine"))
    assert found == [5, 7]


def test_what_a_user_s_measure_does_to_its_images_reaches_nobody_else(tmp_path):
    spoil = "given['images']['image'].values[...] = 0.5; value = 0.5"
    (tmp_path / "bad.py").write_text(MEAN.format(NAME="Bad", FILES=(), BODY=spoil))
    look = "value = float(given['images']['image'].mean())"
    (tmp_path / "good.py").write_text(MEAN.format(NAME="Good", FILES=(), BODY=look))
    record, _ = run(own_plan(tmp_path, {"bad": "bad.py:MeanBad", "good": "good.py:MeanGood"}), tmp_path / "out")
    expected = float(biorep.datasets.load("digits", "test", limit=40)["image"].mean())
    assert value(record.folder, "good") == pytest.approx(expected)


def test_a_class_that_a_file_only_imports_is_refused_and_stays_itself(tmp_path):
    from biorep.networks.controls.random_features import RandomFeatures
    from biorep.tables import MEASURES, NETWORKS

    (tmp_path / "mine.py").write_text("from biorep.networks.controls.random_features import RandomFeatures\n")
    with pytest.raises(ConfigError, match=r"defines no network 'RandomFeatures' \(it defines: none\)"):
        NETWORKS.parse({"kind": f"{tmp_path / 'mine.py'}:RandomFeatures"})
    assert (RandomFeatures().word, RandomFeatures().code) == ("random-features", "")
    (tmp_path / "base.py").write_text("from biorep.contracts import Measure\n")
    with pytest.raises(ConfigError, match="defines no measure 'Measure'"):
        MEASURES.parse({"kind": f"{tmp_path / 'base.py'}:Measure"})
    assert MEASURES.parse({"kind": "spectrum"}).word == "spectrum"


def test_two_classes_of_one_name_are_refused(tmp_path):
    for name, number in (("a.py", 1), ("b.py", 2)):
        (tmp_path / name).write_text(MEAN.format(NAME="", FILES=(), BODY=f"value = {number}.0"))
    with pytest.raises(ConfigError, match="two different classes 'Mean'"):
        batch.read(own_plan(tmp_path, {"one": "a.py:Mean", "two": "b.py:Mean"}))


def test_labels_that_change_their_kind_are_written_anew(tmp_path):
    (tmp_path / "p.yaml").write_text(PLAN.replace("grid: {seed: {range: 2}}", "grid: {readout.images: [20, 30]}"))
    run(tmp_path / "p.yaml", tmp_path / "out")
    record, _ = run(tmp_path / "p.yaml", tmp_path / "out", "grid.readout.images=[20,30,null]")
    assert [one.coordinates["images"] for one in record.runs] == ["20", "30", "null"]
    write_report(record.folder)


def test_what_has_other_dims_in_some_runs_is_apart(tmp_path):
    text = PLAN.replace("grid: {seed: {range: 2}}", "cases: {every: {spectrum.layer: all}, last: {}}")
    (tmp_path / "p.yaml").write_text(text)
    record, _ = run(tmp_path / "p.yaml", tmp_path / "out")
    tree = biorep.open(record.folder)
    assert "alpha" not in tree["spectrum"]
    shapes = {tree[f"spectrum/shape_{n}"].attrs["runs"]: tree[f"spectrum/shape_{n}"]["alpha"].dims for n in (1, 2)}
    assert shapes == {"every": ("run", "layer"), "last": ("run",)}
    write_report(record.folder)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("readout/a: {}\nreadout/b: {}", "'readout' is needed, and the recipe has readout/a, readout/b: keep one"),
        ("spectrum: {kind: isometry}", "'spectrum' is the word of a measure of its own"),
        ("shape_1: {kind: isometry}", "a measure cannot be called 'shape_1'"),
        ("network/x: {kind: isometry}", "a measure cannot be called 'network/x'"),
        ("5: {}", "unknown key '5'"),
    ],
)
def test_names_that_would_mislead_are_refused(tmp_path, lines, message):
    (tmp_path / "r.yaml").write_text(f"name: r\ndataset: {{name: digits}}\nnetwork: {{kind: pixels}}\n{lines}\n")
    with pytest.raises(ConfigError, match=message):
        batch.read(tmp_path / "r.yaml")


def test_a_count_and_a_layer_of_the_same_name_are_two_nodes(tmp_path):
    from biorep.context import RunContext
    from biorep.lab.graph import graph
    from biorep.lab.recipe import recipe_from
    from biorep.source import Source

    document = {"name": "r", "dataset": {"name": "digits"}, "network": {"kind": "pixels"}, "isometry/a": {"images": 10},
                "isometry/b": {"layer": "10"}, "robustness": None}  # fmt: skip
    nodes = graph(recipe_from(Source(document, "r", {})), RunContext())
    assert nodes["isometry/a"].parents["code"] is not nodes["isometry/b"].parents["code"]


# ------------------------------------------------------------------------------------- facts of a run, folders


def test_facts_of_runs_are_in_what_is_opened(tmp_path):
    """Warnings of each run, numbers with dims, and a spectrum that can be fitted again, of networks of two widths."""
    text = PLAN.replace("{first: 1, last: 8}", "{}").replace("grid: {", "grid: {network.units: [12, 60], ")
    (tmp_path / "p.yaml").write_text(text)
    record, _ = run(tmp_path / "p.yaml", tmp_path / "out")
    tree = biorep.open(record.folder)
    assert [bool(one.warnings) for one in record.runs] == [True, True, False, False]
    for one in record.runs:
        at = {dim: one.coordinates[dim] for dim in ("units", "seed")}
        assert json.loads(tree["index"]["warnings"].sel(at).item()) == one.warnings
        spectrum = tree["spectrum"].sel(at)
        assert int(spectrum["n_neuroids"]) == at["units"]
        stage = Stages(tmp_path / "out").load(*one.stages["spectrum"].split("/"))
        expected = fit_powerlaw(stage, first=1, last=8)
        for form in (spectrum, spectrum.to_dataset(), tree["spectrum"].to_dataset().sel(at)):
            xr.testing.assert_equal(fit_powerlaw(form, first=1, last=8), expected)
        plot.spectrum_lines({"one": [spectrum], "other": [spectrum.to_dataset()]})


def small(root, name, seeds=2):
    """Write a plan with its results, without running anything."""
    planned = {f"s{seed}": {"seed": seed} for seed in range(seeds)}
    open_root(root)
    write_plan(root / name, ["seed"], planned, {})
    for seed in range(seeds):
        data = xr.Dataset({"value": ((), float(seed), {"long_name": "value", "units": "1"})})
        Stages(root).save("spectrum", f"{name}{seed}", data, config={}, seconds=0)
        Stages(root).save("state", f"{name}{seed}", data, config={}, seconds=0)
        stages = {kind: f"{kind}/{name}{seed}" for kind in ("state", "spectrum")}
        document = {"name": name, "dataset": {"name": "digits"}, "network": {"kind": "pixels"}, "spectrum": None}
        write_run(root / name, RunRecord(f"s{seed}", document, {"seed": seed}, stages))
    return root / name


def contents(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


HOW = st.lists(st.sampled_from(["copy", "rename", "link", "enter"]), min_size=1, max_size=3)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(steps=HOW, name=st.sampled_from(["p-2024", "a b", "P", "ä", "p.yaml"]))
def test_whatever_is_done_to_a_folder_only_what_was_opened_is_written(steps, name):
    with tempfile.TemporaryDirectory() as root, contextlib.chdir(root):
        place = small(Path(root) / "store", "p")
        small(place.parent, "q")
        for number, step in enumerate(steps):
            other = place.with_name(f"{name}{number}")
            if step == "copy":
                shutil.copytree(place, other)
            elif step == "rename":
                place.rename(other)
            elif step == "link":
                other.symlink_to(place)
            place = other if step != "enter" else place
        opened = place
        if steps[-1] == "enter":
            os.chdir(place)
            opened = Path()
        before = contents(place.parent)
        assert biorep.open(opened)["spectrum"]["value"].values.tolist() == [0, 1]
        collect(opened)
        assert write_report(opened).parent == place.resolve()
        after = contents(place.parent)
        touched = {path.resolve() for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
        assert touched
        assert all(path.is_relative_to(place.resolve()) for path in touched)
        os.chdir(root)


def test_a_plan_that_was_copied_without_its_store_says_so(tmp_path):
    plan = small(tmp_path / "store", "p")
    copy = tmp_path / "elsewhere" / "p"
    shutil.copytree(plan, copy)
    for action in (biorep.open, collect, write_report):
        with pytest.raises(StoreError, match=r"is gone; this is a copy of a plan without its store: results lie in"):
            action(copy)
    with pytest.raises(StoreError, match="holds folders of plans without their store"):
        open_root(copy.parent)
    assert {path.name for path in copy.iterdir()} == {"plan.json", "runs"}


def test_labels_that_no_folder_can_have_do_not_collide(tmp_path):
    labels = ["a b", "a_b", "a/b", "a:b"]
    cases = "".join(f'  "{label}": {{seed: {seed}}}\n' for seed, label in enumerate(labels))
    (tmp_path / "p.yaml").write_text(PLAN.split("grid")[0] + f"cases:\n{cases}")
    record, _ = run(tmp_path / "p.yaml", tmp_path / "out")
    assert len(record.runs) == len({one.stages["state"] for one in record.runs}) == 4
    assert record.runs[1].name == "a_b"
    assert biorep.open(record.folder)["spectrum"]["model"].values.tolist() == labels


def test_a_collected_file_says_where_its_data_are(plan):
    (path,) = (plan / "collected").glob("spectrum.nc")
    with xr.open_dataset(path) as root:
        assert root.attrs["comment"].startswith("the data are in the group spectrum, for example xarray.open_dataset")
    with xr.open_dataset(path, group="spectrum") as data:
        assert data["alpha"].dims == ("seed",)
