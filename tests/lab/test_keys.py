"""Keys: what reaches a node changes its key, and nothing else does. The table of dependants is written by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from biorep.context import RunContext
from biorep.contracts import Code
from biorep.errors import ConfigError
from biorep.lab import batch
from biorep.lab.graph import Graph, Node, graph
from biorep.lab.perform import Given, Performer
from biorep.lab.recipe import recipe_from
from biorep.lab.store import Stages
from biorep.networks.controls.pixels import Pixels
from biorep.source import Source
from biorep.tables import ATTACKS, ESTIMATORS, MEASURES, NETWORKS, OBJECTIVES, PENALTIES

#: Node of the recipe -> nodes that are made of it. Written by hand: this is what the graph is held against.
DEPENDANTS = {
    "state": {"state", "network", "CODES", "readout", "surrogate", "spectrum", "isometry", "model/pixel", "robustness"},
    "network": {"network", "CODES", "readout", "surrogate", "spectrum", "isometry", "model/pixel", "robustness"},
    "readout": {"readout", "surrogate", "model/pixel", "robustness"},
    "surrogate": {"surrogate", "model/pixel", "robustness"},
    "spectrum": {"spectrum"},
    "isometry": {"isometry"},
    "robustness": {"robustness"},
}
SPIKING = {"kind": "diehl-cook", "units": 4}
BASE: dict[str, Any] = {
    "name": "keys",
    "dataset": {"name": "digits"},
    "network": SPIKING,
    "isometry": {},
    "surrogate": {},
    "spectrum": {"first": 2, "last": 9},
}
#: Values of settings for which the general rule below finds none that is allowed.
OTHERS: dict[str, Any] = {
    "dataset.limit": 50,
    "network.input_norm": 3.0,
    "network.channel_mean": [0.5],
    "network.channel_sd": [0.5],
    "network.milestones": {3: 1e-4},
    "network.fade": [3, 0.5],
    "network.penalties": ["l2"],
    "network.objective": {"kind": "noise"},
    "network.stop_accuracy": 0.9,
    "network.evaluate_every": 5,
    "network.record": ["l2"],
    "network.hidden": [7],
    "network.whitening": {"centred": False},
    "network.channels": [4],
    "network.dense": [7],
    "network.convolution_activation": "tanh",
    "network.levels": [[list("013"), list("2456789")], "classes"],
    "network.depths": [4],
    "readout.optimiser": "adam",
    "readout.loss": "squared-hinge",
    "readout.milestones": {3: 1e-4},
    "readout.images": 20,
    "robustness.attacks": ["fgsm"],
    "robustness.space": "normalised",
    "robustness.linf": [0.1],
    "robustness.l2": [0.1],
    "robustness.noise": [0.1],
    "spectrum.layer": "hidden_1",
    "spectrum.first": 3,
    "spectrum.convention": "stringer-python",
    "isometry.layer": "hidden_1",
    "isometry.images": 9,
}
#: Settings that go with one that is varied.
TOGETHER: dict[str, dict[str, Any]] = {
    "diehl-cook-current.delay": {"rest_duration": 5.0},
    "mlp.whitening": {"hidden": [8, 8, 8]},
    "hierarchical.levels": {"levels": [[list("01"), list("23456789")], "classes"], "depths": [1, 1]},
    "network.channel_mean": {"channel_mean": [0.4], "channel_sd": [0.4]},
    "network.channel_sd": {"channel_mean": [0.4], "channel_sd": [0.4]},
    "readout.loss": {"optimiser": "lbfgs"},
    "spectrum.convention": {"first": None, "last": None},
}
#: Settings that have one value: a contract's field that this kind does not vary.
FIXED = {
    ("competing-rates", "rest_duration"),
    ("competing-rates", "max_tries"),
    ("sailnet", "rest_duration"),
    ("sailnet", "max_tries"),
    ("spectrum", "estimator"),  # one estimator as yet
}
#: Fields that name the thing itself, or that change no result.
NAMES = {"kind", "name"}


def nodes(document: dict[str, Any], **context: Any) -> dict[str, Node]:
    return graph(recipe_from(Source(document, "keys", {})), RunContext(**context))


def changed(one: dict[str, Node], other: dict[str, Node]) -> set[str]:
    """Return the nodes that are in both and have another key; codes under one name."""
    names = {name for name in one if name in other and one[name].key != other[name].key}
    return {"CODES" if name.startswith("representation/") else name for name in names}


def another(value: Any, annotation: Any) -> Any:
    """Return another value of the kind of a value."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.9 if value else 0.1
    if isinstance(value, str):
        words = getattr(annotation, "__args__", ())
        return next(word for word in words if word != value)
    if isinstance(value, tuple) and value and isinstance(value[0], float):
        return [*value[:-1], value[-1] * 1.1]
    raise LookupError(value)


def varied(document: dict[str, Any], key: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield each setting of a part of a recipe with two documents that differ in it alone; none is left out."""
    recipe = recipe_from(Source(document, "keys", {}))
    part = recipe.network if key == "network" else recipe.dataset if key == "dataset" else recipe.measures[key]
    for name, field in type(part).model_fields.items():
        if name in NAMES or (part.word, name) in FIXED:
            continue
        others = TOGETHER.get(f"{part.word}.{name}", TOGETHER.get(f"{key}.{name}", {}))
        here = {**document, key: {**document.get(key, {}), **others}}
        value = OTHERS.get(f"{key}.{name}", getattr(part, name))
        if value == getattr(part, name):
            value = another(value, field.annotation)
        yield name, here, {**here, key: {**here[key], name: value}}


@pytest.mark.parametrize("key", ["readout", "surrogate", "spectrum", "isometry", "robustness"])
def test_each_setting_of_each_measure_changes_what_is_made_of_it_and_nothing_else(key):
    for name, one, other in varied(BASE, key):
        expected = DEPENDANTS[key]
        if key == "robustness" and name == "space":
            expected = {"robustness"}  # the model in the other space is another node
        assert changed(nodes(one), nodes(other)) == expected, name


def test_each_setting_of_a_dataset_reaches_all_that_is_made_of_its_images():
    for name, one, other in varied(BASE, "dataset"):
        splits = {"dataset/train", "dataset/validation", "dataset/test"} if name == "limit" else set()
        assert changed(nodes(one), nodes(other)) == DEPENDANTS["state"] | splits, name


@pytest.mark.parametrize("kind", NETWORKS)
def test_each_setting_of_each_network_changes_all_that_is_made_of_it(kind):
    document = {"name": "keys", "dataset": {"name": "digits"}, "network": {"kind": kind}, "isometry": {}}
    if kind == "sailnet":
        document |= {"dataset": {"name": "natural-patches"}}
    for name, one, other in varied(document, "network"):
        base = nodes(one)
        rules = NETWORKS.load(kind).model_fields[name].json_schema_extra or {}
        expected = DEPENDANTS["network" if rules.get("stage") == "encode" else "state"]
        assert changed(base, nodes(other)) == {n for n in expected if n == "CODES" or n in base}, name


#: Table -> a recipe with an entry of it, and the node that it reaches first.
ENTRIES = [
    (PENALTIES, lambda entry: {"network": {"kind": "mlp", "hidden": [8, 8], "penalties": [entry]}}, "state"),
    (OBJECTIVES, lambda entry: {"network": {"kind": "mlp", "hidden": [8, 8], "objective": entry}}, "state"),
    (ATTACKS, lambda entry: {"network": {"kind": "mlp"}, "robustness": {"attacks": [entry]}}, "robustness"),
]
#: Values for which the general rule finds none, and fields with one value.
OF_ENTRIES: dict[tuple[str, str], Any] = {
    ("spectral", "layers"): "all",
    ("spectral-norm", "layers"): "representation",
    ("pgd", "relative_step"): 0.3,
    ("singular-value-bounds", "strength"): None,
}


@pytest.mark.parametrize(("table", "recipe", "first"), ENTRIES, ids=["penalties", "objectives", "attacks"])
def test_each_setting_of_penalties_objectives_and_attacks_reaches_the_key(table, recipe, first):
    rest = {"name": "keys", "dataset": {"name": "digits"}}
    for word in table:
        cls = table.load(word)
        base = {"kind": word, **({"strength": 1.0} if "strength" in cls.model_fields else {})}
        base |= {"target": "preactivation"} if word == "jacobian" else {}  # with which all variants go
        for name, field in cls.model_fields.items():
            if name in NAMES or OF_ENTRIES.get((word, name), ...) is None:
                continue
            value = OF_ENTRIES.get((word, name)) or another(base.get(name, field.default), field.annotation)
            one, other = nodes({**rest, **recipe(base)}), nodes({**rest, **recipe({**base, name: value})})
            assert changed(one, other) == {n for n in DEPENDANTS[first] if n == "CODES" or n in one}, (word, name)


def test_seed_engine_and_device_reach_only_what_depends_on_them():
    base = nodes(BASE)
    seeded = DEPENDANTS["state"]
    assert changed(base, nodes({**BASE, "seed": 1})) == seeded
    simulated = changed(base, nodes(BASE, engine="runtime-numpy"))
    assert simulated == seeded
    on_gpu = changed(base, nodes(BASE, device="cuda"))  # a spiking network is trained and encoded by Brian2
    assert on_gpu == {"readout", "surrogate", "model/pixel", "robustness"}
    pixels = {**BASE, "network": {"kind": "pixels"}, "surrogate": {}}
    pixels.pop("surrogate")
    assert "state" not in changed(nodes(pixels), nodes({**pixels, "seed": 1}))


def test_names_and_words_change_no_key(tmp_path):
    base = nodes(BASE)
    for name in ("name", "about", "reference", "expected", "time"):
        assert changed(base, nodes({**BASE, name: "other"})) == set()
    images = np.random.default_rng(0).random((12, 8, 8))
    keys = []
    for name in ("a.npz", "folder/b.npz"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        np.savez(path, images=images, labels=np.arange(12) % 2, split=np.array(["train"] * 8 + ["test"] * 4))
        document = {"name": "own", "dataset": {"name": str(path)}, "network": {"kind": "pixels"}, "robustness": None}
        keys.append({node.name: node.key for node in nodes(document).values()})
    assert keys[0] == keys[1]


def test_raising_a_version_makes_only_its_own_results_anew(monkeypatch):
    from biorep.spectra.measure import Spectrum

    base = nodes(BASE)
    keys = {name: node.key for name, node in base.items()}
    monkeypatch.setattr(Spectrum, "versions", {"spectrum": Spectrum.versions["spectrum"] + 1})
    now = nodes(BASE)
    assert {name for name in keys if keys[name] != now[name].key} == {"spectrum"}


def test_two_of_a_kind_each_have_a_key_and_a_group():
    document = {key: value for key, value in BASE.items() if key != "spectrum"}
    found = nodes({**document, "spectrum/train": {"split": "train"}, "spectrum/test": {}})
    assert found["spectrum/train"].key != found["spectrum/test"].key
    assert found["spectrum/train"].kind == found["spectrum/test"].kind == "spectrum"
    with pytest.raises(ConfigError, match="'spectrum' stands here with and without a name"):
        nodes({**BASE, "spectrum/cv": {}})


# ------------------------------------------------------------------------------------------------- what is given


def test_a_measure_gets_what_it_declared_and_nothing_else(tmp_path):
    performer = Performer(Stages(tmp_path), RunContext(), print)
    parent = Node("parent", "p", dict, {}, lambda given: "made", stored=False)
    node = Node("child", "c", dict, {"parent": parent}, lambda given: given["parent"])
    given = Given(node, performer, RunContext())
    assert given["parent"] == "made"
    assert (given.has("parent"), given.has("other"), list(given)) == (True, False, ["parent"])
    with pytest.raises(
        KeyError, match=r"'child' asked for 'state', which its `needs` do not name \(they name parent\)"
    ):
        given["state"]
    with pytest.raises(AttributeError, match="asked for the seed, but its class says `seeded = False`"):
        _ = given.seed
    with pytest.raises(AttributeError, match="does not say `on_device = True`"):
        given.context.torch_device()
    on_device = Node("child", "c", dict, {}, lambda given: 1, engine=lambda: "torch-cpu")
    assert Given(on_device, performer, RunContext()).context.torch_device() == "cpu"


BRIEF = {**SPIKING, "stimulus_duration": 20, "rest_duration": 5, "max_tries": 1}


@pytest.mark.parametrize(
    ("network", "need"),
    [
        ({"kind": "mlp", "hidden": [8, 4], "epochs": 1}, Code("train")),
        ({"kind": "mlp", "hidden": [8, 4], "epochs": 1}, Code("train", "all")),
        (BRIEF, Code("train", repeats=2)),
    ],
)
def test_responses_come_in_batches_as_they_come_whole(tmp_path, network, need):
    document = {"name": "b", "dataset": {"name": "digits", "limit": 24}, "network": network}
    context = RunContext(engine="runtime-numpy")
    made = Graph(recipe_from(Source(document, "b", {})), context)
    asking = Node("child", "c", dict, {"code": made.code(need)}, dict)
    parts = list(Given(asking, Performer(Stages(tmp_path), context, print), context).batches("code", 10))
    whole = Given(asking, Performer(Stages(tmp_path), context, print), context)["code"]
    for layer, expected in whole.children.items() if need.layer == "all" else [("last", whole)]:
        own = [part[layer].to_dataset() if need.layer == "all" else part for part in parts]
        assert [part.sizes["presentation"] for part in own] == [10, 10, 4]
        joined = xr.concat([part["response"] for part in own], "presentation").transpose(*expected["response"].dims)
        np.testing.assert_allclose(joined, expected["response"], rtol=1e-6)
        assert joined["stimulus_id"].equals(expected["stimulus_id"])


def test_responses_of_more_than_two_gigabytes_are_refused_before_they_are_computed(tmp_path, monkeypatch):
    document = {"name": "b", "dataset": {"name": "digits"}, "network": {"kind": "pixels"}}
    made = Graph(recipe_from(Source(document, "b", {})), RunContext())
    performer = Performer(Stages(tmp_path), RunContext(), print)
    monkeypatch.setattr("biorep.lab.graph.MAX_BYTES", performer.value(made.code(Code("test"))).nbytes)
    asked, encode = [], Pixels.encode
    monkeypatch.setattr(Pixels, "encode", lambda *a, **k: asked.append(a[2].sizes["presentation"]) or encode(*a, **k))
    with pytest.raises(ConfigError, match=r"responses to \d+ images would take .* GiB.*dataset\.limit.*batches"):
        performer.value(made.code(Code("train")))
    assert asked == [1]


def test_every_measure_declares_what_it_asks_for(tmp_path):
    """`Given` raises on anything else, so that running each of them once is the proof."""
    document = {
        "name": "asked",
        "dataset": {"name": "digits", "limit": 60},
        "network": {"kind": "random-features", "units": 12},
        "spectrum": {"first": 1, "last": 9},
        "isometry": {},
        "robustness": {"images": 5, "attacks": ["fgsm"], "linf": [0.1], "l2": [], "noise": []},
    }
    made = nodes(document)
    Performer(Stages(tmp_path), RunContext(), lambda line: None).finish(made)
    assert {path.parent.name for path in (tmp_path / "stages").glob("*/*")} == {
        "state", "representation", "readout", "spectrum", "isometry", "robustness",
    }  # fmt: skip


def test_equal_keys_give_equal_numbers_whatever_the_store_holds(tmp_path):
    """A store that has all neighbours of a recipe gives what a fresh one gives."""
    text = (
        "name: n\ndataset: {name: digits, limit: 60}\nnetwork: {kind: mlp, hidden: [8], epochs: 1, evaluate: 0}\n"
        "spectrum: {first: 1, last: 5}\nrobustness: {images: 5, attacks: [fgsm], linf: [0.1], l2: [], noise: []}\n"
    )
    (tmp_path / "n.yaml").write_text(text)
    changes = ["readout.images=20", "readout.source=trained", "network.learning_rate=0.1", "spectrum.split=train",
               "network.hidden=[6]", "dataset.fit_on=train+validation", "robustness.images=4", "seed=3"]  # fmt: skip
    for change in ([], *([one] for one in changes)):
        plan = batch.read(tmp_path / "n.yaml", change)
        found = [
            batch.execute(plan, tmp_path / root, replace=True, say=lambda line: None).runs[0]
            for root in ("shared", f"fresh{len(change and change[0])}{change}")
        ]
        assert found[0].stages == found[1].stages
        assert found[0].numbers == found[1].numbers, change


# ------------------------------------------------------------------------------------------------------ versions

VERSIONS = Path(__file__).parents[1] / "versions.json"
BACKPROP = {"epochs": 2, "evaluate": 0}
TINY: dict[str, dict[str, Any]] = {
    "krotov-hopfield": {"units": 6, "k": 2, "epochs": 2, "batch_size": 20},
    "random-features": {"units": 6},
    "pixels": {},
    "mlp": {"hidden": [6], **BACKPROP},
    "cnn": {"channels": [2], "dense": [6], "kernel": 2, "epochs": 1, "evaluate": 0},
    "hierarchical": {"width": 6, "depths": [2], **BACKPROP},
    "diehl-cook": {"units": 6, "peak_rate": 400.0, "norm": 8.0, "stimulus_duration": 30.0, "rest_duration": 5.0,
                   "min_spikes": 2, "max_tries": 3},
    "diehl-cook-current": {"units": 4, "stimulus_duration": 20.0, "rest_duration": 5.0, "max_tries": 1},
    "competing-rates": {"units": 4, "dt": 2.0, "stimulus_duration": 20.0},
    "sailnet": {"units": 4, "batch": 8},
}  # fmt: skip
SIMULATED = ("diehl-cook", "diehl-cook-current", "competing-rates", "sailnet")
SMALL = {"name": "tiny", "dataset": {"name": "digits", "limit": 40}, "readout": {}, "spectrum": {"first": 1, "last": 3}}
GRATINGS = {"gratings": {"name": "gratings", "size": 8}}
ATTACKED = {
    "isometry": {},
    "robustness": {"images": 5, "linf": [0.1], "l2": [0.5], "noise": [0.1], "noise_draws": 2},
}
#: A recipe for each network, penalty, objective and measure, by its word.
RECIPES: dict[str, dict[str, Any]] = {
    **{word: {**SMALL, **ATTACKED, "network": {"kind": word, **TINY[word]}} for word in TINY if word not in SIMULATED},
    **{word: {**SMALL, "robustness": None, "network": {"kind": word, **TINY[word]}} for word in SIMULATED},
    "tuning": {**SMALL, "robustness": None, "network": {"kind": "random-features", "units": 6}, "tuning": GRATINGS},
    "surrogate": {
        **SMALL,
        "robustness": None,
        "network": {"kind": "diehl-cook", **TINY["diehl-cook"]},
        "surrogate": {},
    },
}
RECIPES["sailnet"] |= {
    "dataset": {"name": "natural-patches", "source": "photographs", "limit": 40},
    "readout": None,
    "tuning": {"gratings": {"name": "gratings"}},
}
TRAINED = {**SMALL, "readout": None, "spectrum": None, "robustness": None}
MLP = {"kind": "mlp", "hidden": [14, 14], **BACKPROP, "record": []}
for word in PENALTIES:
    RECIPES[word] = {**TRAINED, "network": {**MLP, "penalties": [{"kind": word, "strength": 1.0}]}}
for word in OBJECTIVES:
    RECIPES[word] = {**TRAINED, "network": {**MLP, "objective": {"kind": word}}}


def tiny(word: str, folder: Path) -> dict[str, Any]:
    """Return versions and rounded numbers of the results of a tiny recipe."""
    made = nodes(RECIPES[word], engine="runtime-numpy")
    performer = Performer(Stages(folder), RunContext(engine="runtime-numpy"), lambda line: None)
    found: dict[str, Any] = {}
    for name, node in made.items():
        if node.stored and name != "representation/train":
            result = performer.value(node)
            tree = result if isinstance(result, xr.DataTree) else xr.DataTree(result)
            found[name] = {"versions": node.settings().get("versions", {}), "values": _sizes(tree)}
    return found


def _sizes(tree: xr.DataTree) -> dict[str, float]:
    """Return the root mean square of each numerical variable."""
    sizes = {}
    for node in tree.subtree:
        for name, variable in node.to_dataset(inherit=False).data_vars.items():
            values = variable.values
            if values.dtype.kind in "iuf" and np.isfinite(values).any():
                rms = float(np.sqrt(np.mean(np.square(values[np.isfinite(values)], dtype=float))))
                sizes[f"{node.path}/{name}".replace("//", "/")] = float(f"{rms:.6g}")
    return sizes


SLOW = {*SIMULATED, "surrogate"}


@pytest.mark.parametrize("word", [pytest.param(w, marks=[pytest.mark.slow] if w in SLOW else []) for w in RECIPES])
def test_a_changed_result_has_a_changed_version(word, tmp_path):
    """Write the file anew with BIOREP_WRITE_VERSIONS=1 after a version was raised."""
    import os

    known = json.loads(VERSIONS.read_text()) if VERSIONS.is_file() else {}
    now = tiny(word, tmp_path)
    if os.environ.get("BIOREP_WRITE_VERSIONS"):
        VERSIONS.write_text(json.dumps({**known, word: now}, indent=1, sort_keys=True) + "\n")
        return
    for name, was in known[word].items():
        assert now[name]["versions"] == was["versions"], f"{name}: write tests/versions.json anew"
        for variable, value in was["values"].items():
            assert now[name]["values"][variable] == pytest.approx(value, rel=2e-3, abs=1e-6), (
                f"{name}{variable} has changed: raise the version of what makes it, or stored results stay"
            )


def test_every_network_measure_penalty_and_objective_has_a_tiny_result():
    known = json.loads(VERSIONS.read_text())
    versions = {name for of_word in known.values() for node in of_word.values() for name in node["versions"]}
    words = {*NETWORKS, *MEASURES, *PENALTIES, *OBJECTIVES, *ATTACKS, *ESTIMATORS}
    assert words <= versions, words - versions
    assert set(known) == set(RECIPES)
