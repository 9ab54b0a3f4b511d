"""Runs: stages are shared, skipped, resumed, and hashed by what changes them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import biorep
from biorep.context import RunContext
from biorep.errors import StoreError
from biorep.lab import batch
from biorep.lab.graph import graph, stages
from biorep.lab.store import Stages, read_plan
from biorep.source import parse_yaml

TEXT = """
name: small
dataset: {name: digits, limit: 200}
network: {kind: krotov-hopfield, units: 30, k: 2, p: 2, epochs: 3, batch_size: 50}
spectrum: {first: 3, last: 20}
robustness: {images: 20, attacks: [fgsm, {kind: pgd, steps: 3}], linf: [0.1], l2: [], noise: [0.1], noise_draws: 2}
"""


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(TEXT)
    return path


def _run(path, out, *overrides, **context):
    lines = []
    plan, context = batch.read(path, overrides), RunContext(**context)
    return batch.execute(plan, out, context=context, replace=True, say=lines.append), lines


def _made(lines):
    return [line.split(": ")[1].split()[0] for line in lines if line.endswith(" s")]


def test_a_recipe_makes_every_stage_once(recipe_file, tmp_path):
    record, lines = _run(recipe_file, tmp_path / "out")
    assert _made(lines) == ["state", "representation/test", "readout", "spectrum", "robustness"]
    again, lines = _run(recipe_file, tmp_path / "out")
    assert _made(lines) == []
    assert sum(line.endswith("done before") for line in lines) == 5
    assert again.runs == record.runs


@pytest.mark.parametrize(
    ("override", "remade"),
    [
        ("robustness.linf=[0.2]", ["robustness"]),
        ("spectrum.last=25", ["spectrum"]),
        ("readout.penalty=1e-3", ["readout", "robustness"]),
        ("network.delta=0.1", ["state", "representation/test", "readout", "spectrum", "robustness"]),
        ("seed=1", ["state", "representation/test", "readout", "spectrum", "robustness"]),
        ("dataset.limit=150", ["state", "representation/test", "readout", "spectrum", "robustness"]),
        ("about=other words", []),
        ("name=other", []),
    ],
)
def test_only_what_changes_is_made_again(recipe_file, tmp_path, override, remade):
    _run(recipe_file, tmp_path / "out")
    _, lines = _run(recipe_file, tmp_path / "out", override)
    assert _made(lines) == remade


def _keys(tmp_path, text):
    (tmp_path / "k.yaml").write_text(text)
    (planned,) = batch.read(tmp_path / "k.yaml").runs
    return {name: node.key for name, node in stages(graph(planned.recipe, RunContext())).items()}


def test_the_number_of_repeats_reaches_whatever_is_made_of_them(tmp_path):
    text = "name: k\ndataset: {name: digits}\nnetwork: {kind: diehl-cook, units: 5}\n"
    one, seven = (_keys(tmp_path, f"{text}repeats: {repeats}\n") for repeats in (1, 7))
    same = {name for name in one if one[name] == seven[name]}
    assert same == {"state", "representation/test", "representation/train", "representation/validation"}
    assert {"representation/test-repeat:6", "representation/train-repeat:6"} <= set(seven)


def test_a_readout_of_its_own_is_scored_on_the_images_asked_for_and_owns_all_it_has_learnt(tmp_path):
    text = TEXT.replace(TEXT.splitlines()[3], "network: {kind: mlp, hidden: [5], epochs: 1}")
    keys = [_keys(tmp_path, f"{text}readout: {{images: {images}}}\n") for images in (50, 100)]
    same = [kind for kind in keys[0] if keys[0][kind] == keys[1].get(kind)]
    assert same == ["state", "representation/test", "spectrum"]
    record, _ = _run(tmp_path / "k.yaml", tmp_path / "out", "readout.images=50")
    readout = Stages(tmp_path / "out").load(*record.runs[0].stages["readout"].split("/"))
    learnt = biorep.datasets.load("digits", "train", limit=200)["stimulus_id"].values
    assert set(readout["fitted_stimulus_id"].values) == set(learnt)


def test_how_a_network_answers_does_not_train_it_again(recipe_file, tmp_path):
    _run(recipe_file, tmp_path / "out")
    for override in ("network.power=2", "network.inference=plain"):
        _, lines = _run(recipe_file, tmp_path / "out", override)
        assert _made(lines) == ["representation/test", "readout", "spectrum", "robustness"]


def test_a_run_that_changes_is_not_finished_until_it_is(recipe_file, tmp_path, monkeypatch):
    from biorep.spectra import covariance

    record, _ = _run(recipe_file, tmp_path / "out")
    monkeypatch.setattr(covariance, "eigenspectrum", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        _run(recipe_file, tmp_path / "out", "network.units=20")
    with pytest.raises(StoreError, match="no run of the plan .* is finished"):
        biorep.open(record.folder)


def test_labels_of_other_stimuli_are_not_attached(tmp_path):
    plan = "name: p\nrecipe:\n" + "\n".join(f"  {line}" for line in TEXT.strip().splitlines()[1:])
    plan += "\ngrid: {dataset.limit: [150, 200]}\n"
    (tmp_path / "p.yaml").write_text(plan)
    record, _ = _run(tmp_path / "p.yaml", tmp_path / "out")
    tree = biorep.open(record.folder)
    assert {"stimulus_id", "correct"} <= set(tree["readout"].attrs["left_out"].split())
    assert not {"stimulus_id", "correct"} & set(tree["readout"].variables)
    assert "label" in tree["robustness"].attrs["left_out"].split()
    assert tree["readout"]["test_accuracy"].dims == ("limit",)
    for number, (run, limit) in enumerate(zip(record.runs, (150, 200), strict=True), 1):
        apart = tree[f"readout/shape_{number}"]
        assert apart["run"].values.tolist() == [run.name]
        assert apart["correct"].sizes == {"run": 1, "presentation": limit}


def test_a_tree_keeps_what_all_runs_share_of_their_attributes(tmp_path):
    plan = "name: p\nrecipe:\n" + "\n".join(f"  {line}" for line in TEXT.strip().splitlines()[1:])
    (tmp_path / "p.yaml").write_text(plan + "\ngrid: {spectrum.quantity: [response, preactivation]}\n")
    record, _ = _run(tmp_path / "p.yaml", tmp_path / "out")
    attrs = biorep.open(record.folder)["spectrum"].attrs
    assert (attrs["convention"], attrs["weight"], attrs["quantity"]) == ("biorep", "1/rank", "varies")


def test_progress_and_checkpoints_are_not_part_of_the_key(recipe_file, tmp_path, capsys):
    first, _ = _run(recipe_file, tmp_path / "a")
    second, _ = _run(recipe_file, tmp_path / "b", progress=True, checkpoint_every=0.0)
    assert first.runs[0].stages == second.runs[0].stages
    for address in first.runs[0].stages.values():
        one, two = (Stages(tmp_path / folder).load(*address.split("/")) for folder in "ab")
        assert one.equals(two)


def test_own_data_are_identified_by_content_not_by_path(tmp_path):
    images = biorep.datasets.load("digits").image.values
    labels = biorep.datasets.load("digits").label.values
    keys = []
    for name in ("a.npz", "b.npz"):
        np.savez(tmp_path / name, images=images, labels=labels)
        recipe = TEXT.replace("digits", str(tmp_path / name))
        (tmp_path / "r.yaml").write_text(recipe)
        record, lines = _run(tmp_path / "r.yaml", tmp_path / "out")
        keys.append(record.runs[0].stages)
    assert keys[0] == keys[1]
    assert _made(lines) == []


def test_a_run_that_was_killed_goes_on(recipe_file, tmp_path, monkeypatch):
    from biorep.spectra import covariance

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(covariance, "eigenspectrum", die)
        with pytest.raises(KeyboardInterrupt):
            _run(recipe_file, tmp_path / "out")
    with pytest.raises(StoreError, match="no run of the plan .* is finished"):
        biorep.open(tmp_path / "out" / "small")
    _, lines = _run(recipe_file, tmp_path / "out")
    assert _made(lines) == ["spectrum", "robustness"]


def test_results_of_a_run_open_as_a_tree(recipe_file, tmp_path):
    record, _ = _run(recipe_file, tmp_path / "out")
    tree = biorep.open(record.folder)
    assert set(tree.children) == {"index", "state", "representation", "readout", "spectrum", "robustness"}
    assert tree["representation"]["response"].dims == ("presentation", "neuroid")
    assert set(tree["representation"]["split"].values.tolist()) == {"test"}
    assert float(tree["readout"]["test_accuracy"]) == float(tree["readout"]["correct"].mean())
    assert "validation_accuracy" in tree["readout"]
    assert {"linf", "noise"} == set(tree["robustness"].children)
    with xr.open_dataset(Stages(tmp_path / "out").path(*record.runs[0].stages["spectrum"].split("/"))) as plain:
        np.testing.assert_array_equal(plain["eigenvalue"], tree["spectrum"]["eigenvalue"])
    for node in tree.subtree:
        for name, variable in node.dataset.variables.items():
            assert "long_name" in variable.attrs, (node.path, name)
            assert "units" in variable.attrs, (node.path, name)


def test_results_of_a_plan_have_its_dims(tmp_path):
    plan = "name: p\nrecipe:\n" + "\n".join(f"  {line}" for line in TEXT.strip().splitlines()[1:])
    plan += "\ngrid: {network.units: [20, 30], seed: {range: 2}}\n"
    (tmp_path / "p.yaml").write_text(plan)
    record, _ = _run(tmp_path / "p.yaml", tmp_path / "out")
    tree = biorep.open(record.folder)
    assert tree["spectrum"]["alpha"].dims == ("units", "seed")
    assert tree["spectrum"]["eigenvalue"].sizes["component"] == 30
    assert np.isnan(tree["spectrum"]["eigenvalue"].sel(units=20, component=30)).all()
    stages = Stages(tmp_path / "out")
    for run in record.runs:
        alone = stages.load(*run.stages["spectrum"].split("/"))
        assert float(tree["spectrum"]["alpha"].sel(run.coordinates)) == float(alone["alpha"])
        group = stages.load(*run.stages["robustness"].split("/"))["linf"]
        together = tree["robustness/linf"]["critical_distance"].sel(run.coordinates)
        np.testing.assert_array_equal(together, group["critical_distance"])


def test_incomplete_combinations_become_the_dim_run(tmp_path):
    plan = "name: p\nrecipe:\n" + "\n".join(f"  {line}" for line in TEXT.strip().splitlines()[1:])
    plan += "\nzip: {network.units: [20, 30], seed: [0, 1]}\n"
    (tmp_path / "p.yaml").write_text(plan)
    record, _ = _run(tmp_path / "p.yaml", tmp_path / "out")
    spectrum = biorep.open(record.folder)["spectrum"]
    assert spectrum["alpha"].dims == ("run",)
    assert spectrum["units"].values.tolist() == [20, 30]


def test_a_damaged_stage_stops_the_run_and_is_not_taken_for_a_result(recipe_file, tmp_path):
    record, _ = _run(recipe_file, tmp_path / "out")
    path = Stages(tmp_path / "out").path(*record.runs[0].stages["state"].split("/"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match="is damaged"):
        _run(recipe_file, tmp_path / "out")


def test_train_representations_are_not_mixed_into_the_test_scores(recipe_file, tmp_path):
    record, _ = _run(recipe_file, tmp_path / "out")
    readout = Stages(tmp_path / "out").load(*record.runs[0].stages["readout"].split("/"))
    assert not set(readout["stimulus_id"].values) & set(readout["fitted_stimulus_id"].values)


def test_recipe_as_executed_can_be_run_again(recipe_file, tmp_path):
    record, _ = _run(recipe_file, tmp_path / "out")
    again, lines = _run(record.folder / "runs" / "seed0" / "recipe.yaml", tmp_path / "out")
    assert _made(lines) == []
    assert again.runs[0].stages == record.runs[0].stages
    assert read_plan(record.folder).runs[0].stages == record.runs[0].stages


def test_key_does_not_depend_on_the_order_of_keys_or_on_defaults_written_out():
    from biorep.config import digest

    first = batch.recipe_from(parse_yaml(TEXT, "a"))
    spelled = TEXT.replace("units: 30, k: 2", "k: 2, power: 4.5, units: 30")
    second = batch.recipe_from(parse_yaml(spelled, "b"))
    assert digest(first.network.hash_payload()) == digest(second.network.hash_payload())


PLAN = """
name: pair
recipe: {dataset: {name: digits, limit: 60}, network: {kind: pixels}, spectrum: null, robustness: null}
grid: {seed: [0, 1]}
"""


@pytest.mark.parametrize(
    ("overrides", "lost"),
    [
        (["readout.penalty=0.5"], r"\(seed0, seed1\)"),
        (["grid.seed=[1]"], r"\(seed0\)"),
        (["grid.seed=[0,1,2]", "readout.penalty=0.5"], r"\(seed0, seed1\)"),
    ],
)
def test_overrides_that_would_replace_results_stop_before_anything_is_written(tmp_path, overrides, lost):
    (tmp_path / "pair.yaml").write_text(PLAN)
    path, out = tmp_path / "pair.yaml", tmp_path / "out"
    first = batch.execute(batch.read(path), out, say=lambda line: None)
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    plan = batch.read(path, overrides)
    for go in (batch.execute, batch.sweep):
        with pytest.raises(StoreError, match=rf"other settings {lost}.*\n.*--name pair-2\n.*\n.*--replace\n"):
            go(plan, out)
        assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before
    assert "--replace" in batch.preview(plan, out)[0]
    beside = batch.execute(batch.read(path, [*overrides, "name=pair-2"]), out, say=lambda line: None)
    assert beside.folder == out / "pair-2"
    assert read_plan(first.folder).runs == first.runs
    replaced = batch.execute(plan, out, replace=True, say=lambda line: None)
    assert [run.stages for run in replaced.runs] == [run.stages for run in beside.runs]
    assert batch.execute(plan, out, say=lambda line: None).runs == replaced.runs  # the same again replaces nothing


def test_overrides_that_only_add_runs_and_edits_of_the_file_go_on(tmp_path):
    path, out = tmp_path / "pair.yaml", tmp_path / "out"
    path.write_text(PLAN)
    first = batch.execute(batch.read(path), out, say=lambda line: None)
    more = batch.execute(batch.read(path, ["grid.seed=[0,1,2]"]), out, say=lambda line: None)
    assert more.runs[:2] == first.runs
    path.write_text(PLAN.replace("[0, 1]", "[1]"))
    assert [run.name for run in batch.execute(batch.read(path), out, say=lambda line: None).runs] == ["seed1"]
