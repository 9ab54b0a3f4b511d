"""Plans: expansion, names, overrides, and errors that name the place."""

from __future__ import annotations

import pytest

from biorep.errors import ConfigError
from biorep.lab.batch import read

RECIPE = """
name: small
dataset: {name: digits}
network:
  kind: krotov-hopfield
  units: 50
"""
PLAN = """
name: many
recipe:
  dataset: {name: digits}
  network: {kind: krotov-hopfield, units: 50, k: 2}
cases:
  a: {network.delta: 0.1}
  b:
    network: {kind: pixels}
grid:
  seed: {range: 2}
"""


@pytest.fixture
def write(tmp_path):
    def make(text, name="file.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return make


def test_a_recipe_is_a_plan_with_one_run(write):
    plan = read(write(RECIPE))
    assert (plan.name, plan.dims, [run.name for run in plan.runs]) == ("small", [], ["seed0"])
    assert plan.runs[0].recipe.network.units == 50


def test_the_file_s_name_serves_if_there_is_none(write):
    assert read(write(RECIPE.replace("name: small\n", ""), "other.yaml")).name == "other"


def test_overrides_may_be_one_word(write):
    path = write("name: a\ndataset: {name: digits}\nnetwork: {kind: pixels}\n", "r.yaml")
    assert read(path, "seed=7").runs[0].recipe.seed == 7


def test_labels_of_cases_are_what_is_written(write):
    cases = "cases: {on: {seed: 1}, 010: {seed: 2}, 2026-01-01: {seed: 3}}\n"
    runs = read(write(PLAN.split("cases:")[0] + cases)).runs
    assert [run.coordinates["model"] for run in runs] == ["on", "010", "2026-01-01"]


def test_cases_and_grid_are_multiplied(write):
    plan = read(write(PLAN))
    assert plan.dims == ["model", "seed"]
    assert [run.name for run in plan.runs] == ["a-seed0", "a-seed1", "b-seed0", "b-seed1"]
    assert [run.recipe.seed for run in plan.runs] == [0, 1, 0, 1]
    assert plan.runs[0].recipe.network.delta == 0.1
    assert plan.runs[0].recipe.network.units == 50
    assert plan.runs[2].recipe.network.kind == "pixels"
    assert plan.runs[1].coordinates == {"model": "a", "seed": 1}


def test_groups_in_a_case_are_merged_unless_they_have_a_kind(write):
    text = PLAN.replace("network.delta: 0.1", "network: {delta: 0.1}, robustness: {images: 7}, readout: {penalty: 1}")
    text = text.replace("  dataset:", "  readout: {penalty: 2, tolerance: 0.5}\n  dataset:")
    first, other = (read(write(text)).runs[i].recipe for i in (0, 2))
    assert (first.network.units, first.network.delta, first.measures["robustness"].images) == (50, 0.1, 7)
    assert (first.measures["readout"].penalty, first.measures["readout"].tolerance) == (1, 0.5)
    assert (other.network.kind, other.measures["readout"].penalty) == ("pixels", 2)


def test_zip_takes_values_together(write):
    text = PLAN.split("cases:")[0] + "zip: {network.units: [10, 20], network.delta: [0.1, 0.2]}\n"
    plan = read(write(text))
    assert [(r.recipe.network.units, r.recipe.network.delta) for r in plan.runs] == [(10, 0.1), (20, 0.2)]
    with pytest.raises(ConfigError, match="the lists of 'zip' must be equally long"):
        read(write(text.replace("[10, 20]", "[10]")))


def test_a_plan_may_name_its_recipe(write):
    write(RECIPE, "base.yaml")
    plan = read(write("name: p\nrecipe: base.yaml\ngrid: {network.units: [10, 20]}\n", "plan.yaml"))
    assert plan.dims == ["units"]
    assert [run.recipe.network.units for run in plan.runs] == [10, 20]


def test_overrides_change_every_run_or_the_plan(write):
    path = write(PLAN.replace("  b:\n    network: {kind: pixels}\n", ""))
    assert {run.recipe.network.units for run in read(path, ["network.units=7"]).runs} == {7}
    assert len(read(path, ["grid.seed=[5]"]).runs) == 1
    assert len(read(path, ["grid.network.units=[5, 6, 7]"]).dims) == len(read(path).dims) + 1
    assert read(path, ["cases.a.network.epochs=3"]).runs[0].recipe.network.epochs == 3
    assert read(path, ["cases.a.network.epochs=3"]).runs[0].recipe.network.delta == 0.1
    assert read(write(RECIPE), ["network.learning_rate=1e-3"]).runs[0].recipe.network.learning_rate == 1e-3


@pytest.mark.parametrize("override", ["seed=7", "network.delta=0.3"])
def test_overrides_of_what_the_plan_varies_are_refused(write, override):
    with pytest.raises(ConfigError, match="the plan varies '.*' itself; change it under grid, zip or cases"):
        read(write(PLAN), [override])


TWICE = "name: p\nrecipe: {dataset: {name: digits}, network: {kind: random-features, units: 9}}\n"
NETWORKS = "network: [{kind: random-features, units: 7}, {kind: pixels}]"


@pytest.mark.parametrize(
    "text",
    [
        "cases: {small: {network: {units: 4}}, large: {network.units: 16}}\ngrid: {network.units: [5, 6]}",
        f"grid: {{network.units: [5, 6], {NETWORKS}}}",
        f"grid: {{{NETWORKS}, network.units: [5, 6]}}",
        "grid: {seed: [0, 1]}\nzip: {seed: [2, 3]}",
    ],
)
def test_what_is_varied_twice_is_refused(write, text):
    with pytest.raises(ConfigError, match="is set twice, here and by .*: a plan varies a key once"):
        read(write(TWICE + text))


def test_a_case_may_leave_to_the_grid_what_it_does_not_set(write):
    cases = "cases: {one: {network: {kind: random-features}}, two: {network: {kind: krotov-hopfield}}}"
    plan = read(write(f"{TWICE}{cases}\ngrid: {{network.units: [8, 9]}}"))
    assert [run.recipe.network.units for run in plan.runs] == [8, 9, 8, 9]


def test_an_override_of_what_a_varied_group_sets_is_refused(write):
    path = write(f"{TWICE}grid: {{{NETWORKS}}}")
    with pytest.raises(ConfigError, match="the plan varies 'network' itself"):
        read(path, ["network.units=3"])
    groups = "network: [{kind: random-features, units: 7}, {kind: random-features, units: 8}]"
    path = write(f"{TWICE}grid: {{{groups}}}")
    assert {run.recipe.network.input_norm for run in read(path, ["network.input_norm=3"]).runs} == {3}


@pytest.mark.parametrize("values", ["[1, 1.0]", "[1, '1']"])
def test_a_seed_that_is_written_in_two_ways_is_one(write, values):
    with pytest.raises(ConfigError, match="two runs of the plan have the same settings"):
        read(write(f"{TWICE}grid: {{seed: {values}}}"))


def test_dims_have_names_that_mean_nothing_else(write):
    text = "name: p\nrecipe: {dataset: {name: digits}, network: {kind: pixels}}\ngrid: {KEY: [[0.1], [0.2]]}\n"
    assert read(write(text.replace("KEY", "robustness.linf"))).dims == ["robustness_linf"]
    patches = text.replace("KEY: [[0.1], [0.2]]", "dataset.seed: [0, 1]").replace("digits", "natural-patches")
    assert read(write(patches)).dims == ["dataset_seed"]
    assert read(write(text.replace("KEY: [[0.1], [0.2]]", "readout.penalty: [1e-3, 1e-4]"))).dims == ["penalty"]


def test_coordinates_are_numbers_if_all_of_them_are(write):
    text = "name: p\nrecipe: {dataset: {name: digits}, network: {kind: pixels}}\ngrid: {KEY}\n"
    plan = read(write(text.replace("KEY", "readout.penalty: [1e-3, 1e-4]")))
    assert [run.coordinates["penalty"] for run in plan.runs] == [0.001, 0.0001]
    plan = read(write(text.replace("KEY", "network.input_norm: [null, 2]")))
    assert [run.coordinates["input_norm"] for run in plan.runs] == ["null", "2"]


def test_names_of_runs_are_safe_names_of_folders(write):
    text = PLAN.replace("  a:", "  ..:").replace("  b:", "  a/b:")
    assert [run.name for run in read(write(text)).runs][::2] == ["_.-seed0-f0166aed", "a_b-seed0-04cc5699"]
    text = "name: p\nrecipe: {dataset: {name: digits}, network: {kind: pixels}}\ngrid: {}\n"
    assert [run.name for run in read(write(text)).runs] == ["seed0"]
    values = ", ".join(f"{0.001 * i:.3f}" for i in range(1, 60))
    text = text.replace("grid: {}", f"grid: {{robustness.l2: [[{values}]]}}")
    assert len(read(write(text)).runs[0].name) <= 80


def test_a_dataset_is_found_beside_its_recipe(write, tmp_path):
    import numpy as np

    np.savez(tmp_path / "mine.npz", images=np.zeros((4, 3, 3), np.uint8))
    recipe = read(write("dataset: {name: mine.npz}\nnetwork: {kind: pixels}\n")).runs[0].recipe
    assert recipe.dataset.name == str(tmp_path / "mine.npz")


def test_mistakes_in_a_recipe_name_file_line_key_value_and_remedy(write):
    path = write(RECIPE + "  delat: 0.1\n  p: many\n  init: norml\n")
    with pytest.raises(ConfigError) as caught:
        read(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    text = "\n".join(lines)
    assert f"{path}:7: unknown key 'network.delat' (value 0.1); did you mean 'delta'?" in text
    assert f"{path}:8: 'network.p' is 'many', but input should be a valid number" in text
    assert (
        f"{path}:9: 'network.init' is 'norml', but input should be 'normal' or 'images'; did you mean 'normal'?" in text
    )


def test_mistakes_in_a_case_name_the_line_of_the_case(write):
    path = write(PLAN.replace("network.delta: 0.1", "network.delat: 0.1"))
    with pytest.raises(ConfigError, match=f"{path}:7: unknown key 'network.delat'"):
        read(path)
    path = write(PLAN.replace("{kind: pixels}", "{kind: pixels, units: 4}"))
    with pytest.raises(ConfigError, match=f"{path}:9: unknown key 'network.units'"):
        read(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "krotov-hopfield",
            "krotov-hopfeld",
            r":5: network.kind: unknown network 'krotov-hopfeld'; did you mean",
        ),
        ("digits", "digit", r"unknown dataset 'digit'; did you mean 'digits'\?"),
        (
            "  kind: krotov-hopfield\n",
            "",
            r":4: network.kind: key 'kind' is missing. Available: cnn, competing-rates, ",
        ),
        ("name: small", "name: stages", "cannot be called 'stages'"),
        (
            "units: 50",
            "units: 50\nreadout: null",
            "'robustness': .*'readout' is needed, and the recipe says 'readout: null'",
        ),
        ("units: 50", "units: 50\nreadout: {source: own}", "'krotov-hopfield' learns no classes"),
        ("units: 50", "units: 50\nspectrum: {convention: stringer}", "unknown convention 'stringer'"),
        ("units: 50", "units: 50\nrobustness: {linf: [0.2, 0.1]}", "must be non-negative and ascend"),
        ("units: 50", "units: 50\nnetwork: {}", "key 'network' stands here a second time"),
        ("units: 50", "units: [", "not valid YAML"),
    ],
)
def test_wording(write, old, new, message):
    assert old in RECIPE
    with pytest.raises(ConfigError, match=message):
        read(write(RECIPE.replace(old, new)))


def test_mistakes_in_a_plan(write):
    with pytest.raises(ConfigError, match=r":12: unknown key 'gird' in a plan; did you mean 'grid'\?"):
        read(write(PLAN + "gird: {}\n"))
    with pytest.raises(ConfigError, match="'seed' must be a list of values or {range: n}, found 3"):
        read(write(PLAN.replace("{range: 2}", "3")))
    with pytest.raises(ConfigError, match="a plan needs 'recipe'"):
        read(write("name: p\ngrid: {seed: [1]}\n"))
    with pytest.raises(ConfigError, match="two runs of the plan have the same name"):
        read(write(PLAN.replace("{range: 2}", "[1, 1]")))


def test_unknown_files_and_models():
    with pytest.raises(ConfigError, match=r"no published model 'quikstart'; did you mean 'quickstart'\?"):
        read("quikstart")


def test_grid_over_lists_gets_readable_coordinates(write):
    text = (
        "name: p\nrecipe: {dataset: {name: digits}, network: {kind: mlp}}\ngrid: {network.hidden: [[10], [20, 10]]}\n"
    )
    plan = read(write(text))
    assert [run.coordinates["hidden"] for run in plan.runs] == ["[10]", "[20, 10]"]
    assert plan.runs[1].recipe.network.hidden == (20, 10)
