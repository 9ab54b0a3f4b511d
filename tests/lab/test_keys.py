"""Keys: what reaches a node changes its key, and nothing else does. The table of dependants is written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from biorep.context import RunContext
from biorep.errors import ConfigError
from biorep.lab import batch
from biorep.lab.graph import Node, graph
from biorep.lab.perform import Given, Performer
from biorep.lab.recipe import recipe_from
from biorep.lab.store import Stages
from biorep.source import Source
from biorep.tables import ATTACKS, NETWORKS, OBJECTIVES, PENALTIES

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
#: Values of settings for which the general rule below finds none.
OTHERS: dict[str, Any] = {
    "readout.optimiser": "adam",
    "readout.loss": "squared-hinge",
    "readout.milestones": {3: 1e-4},
    "robustness.attacks": ["fgsm"],
    "robustness.space": "normalised",
    "spectrum.layer": "hidden_1",
    "spectrum.first": 3,
    "spectrum.convention": None,
    "spectrum.estimator": None,
    "isometry.layer": "hidden_1",
    "isometry.images": 9,
    "readout.images": None,
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


def settings(document: dict[str, Any], key: str) -> list[tuple[str, Any]]:
    """Return (setting, another value) of a part of a recipe, defaults included; what cannot be varied alone is left."""
    recipe = recipe_from(Source(document, "keys", {}))
    part = recipe.network if key == "network" else recipe.dataset if key == "dataset" else recipe.measures[key]
    found = []
    for name, field in type(part).model_fields.items():
        if name in NAMES:
            continue
        value = OTHERS.get(f"{key}.{name}")
        if f"{key}.{name}" not in OTHERS:
            try:
                value = another(getattr(part, name), field.annotation)
            except (LookupError, StopIteration):
                continue
        if value is not None:
            found.append((name, value))
    return found


def varied(document: dict[str, Any], key: str, name: str, value: Any) -> dict[str, Any]:
    return {**document, key: {**document.get(key, {}), name: value}}


@pytest.mark.parametrize("key", ["readout", "surrogate", "spectrum", "isometry", "robustness"])
def test_each_setting_of_each_measure_changes_what_is_made_of_it_and_nothing_else(key):
    base, tried = nodes(BASE), 0
    for name, value in settings(BASE, key):
        document = varied(BASE, key, name, value)
        if key == "readout" and name == "loss":
            document["readout"] = {"loss": value, "optimiser": "lbfgs"}
        expected = DEPENDANTS[key]
        if key == "robustness" and name == "space":
            expected = {"robustness"}  # the model in the other space is another node
        assert changed(base, nodes(document)) == expected, name
        tried += 1
    assert tried >= 3


@pytest.mark.parametrize("kind", NETWORKS)
def test_each_setting_of_each_network_changes_all_that_is_made_of_it(kind):
    document = {"name": "keys", "dataset": {"name": "digits"}, "network": {"kind": kind}, "isometry": {}}
    if kind == "sailnet":
        document |= {"dataset": {"name": "natural-patches"}}
    base = nodes(document)
    for name, value in settings(document, "network"):
        try:
            other = nodes(varied(document, "network", name, value))
        except ConfigError:  # settings that go together
            continue
        cls = NETWORKS.load(kind)
        rules = cls.model_fields[name].json_schema_extra or {}
        expected = DEPENDANTS["network" if rules.get("stage") == "encode" else "state"]
        assert changed(base, other) == {n for n in expected if n == "CODES" or n in base}, name


@pytest.mark.parametrize("table", [PENALTIES, OBJECTIVES, ATTACKS], ids=lambda table: table.name)
def test_each_setting_of_penalties_objectives_and_attacks_reaches_the_key(table):
    tried = 0
    for word in table:
        cls = table.load(word)
        extra = {} if "strength" not in cls.model_fields or word == "singular-value-bounds" else {"strength": 0.5}
        for name, field in cls.model_fields.items():
            if name in NAMES:
                continue
            whole = cls.model_validate({"kind": word, **extra})
            try:
                other = cls.model_validate(
                    {"kind": word, **extra, name: another(getattr(whole, name), field.annotation)}
                )
            except (LookupError, StopIteration, ValueError):
                continue
            assert whole.hash_payload() != other.hash_payload(), (word, name)
            tried += 1
    assert tried >= 2


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


def test_a_measure_gets_what_it_declared_and_nothing_else():
    parent = Node("parent", "p", dict, {}, lambda given: 1)
    node = Node("child", "c", dict, {"parent": parent}, lambda given: given["parent"])
    given = Given(node, lambda other: other.name, RunContext())
    assert given["parent"] == "parent"
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
    assert Given(on_device, lambda other: other.name, RunContext()).context.torch_device() == "cpu"


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
TINY = {
    "krotov-hopfield": {"units": 6, "k": 2, "epochs": 2, "batch_size": 20},
    "random-features": {"units": 6},
    "pixels": {},
    "mlp": {"hidden": [6], "epochs": 2, "evaluate": 0},
    "cnn": {"channels": [2], "dense": [6], "kernel": 2, "epochs": 1, "evaluate": 0},
    "diehl-cook": {"units": 6, "peak_rate": 400.0, "norm": 8.0, "stimulus_duration": 30.0, "rest_duration": 5.0,
                   "min_spikes": 2, "max_tries": 3},
    "diehl-cook-current": {"units": 4, "stimulus_duration": 20.0, "rest_duration": 5.0, "max_tries": 1},
    "competing-rates": {"units": 4, "dt": 2.0, "stimulus_duration": 20.0},
}  # fmt: skip


SIMULATED = ("diehl-cook", "diehl-cook-current", "competing-rates")


def tiny(kind: str, folder: Path) -> dict[str, Any]:
    """Return versions and rounded numbers of the results of a tiny recipe."""
    document = {
        "name": "tiny",
        "dataset": {"name": "digits", "limit": 40},
        "network": {"kind": kind, **TINY[kind]},
        "spectrum": {"first": 1, "last": 3},
        "isometry": {},
        "robustness": {"images": 5, "linf": [0.1], "l2": [0.5], "noise": [0.1], "noise_draws": 2},
    }
    if kind in SIMULATED:
        document |= {"robustness": None, "isometry": None}
    made = nodes(document, engine="runtime-numpy")
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


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] if kind in SIMULATED else []) for kind in TINY]
)
def test_a_changed_result_has_a_changed_version(kind, tmp_path):
    """Write the file anew with BIOREP_WRITE_VERSIONS=1 after a version was raised."""
    import os

    known = json.loads(VERSIONS.read_text()) if VERSIONS.is_file() else {}
    now = tiny(kind, tmp_path)
    if os.environ.get("BIOREP_WRITE_VERSIONS"):
        VERSIONS.write_text(json.dumps({**known, kind: now}, indent=1, sort_keys=True) + "\n")
        return
    for name, was in known[kind].items():
        assert now[name]["versions"] == was["versions"], f"{name}: write tests/versions.json anew"
        for variable, value in was["values"].items():
            assert now[name]["values"][variable] == pytest.approx(value, rel=2e-3, abs=1e-6), (
                f"{name}{variable} has changed: raise the version of what makes it, or stored results stay"
            )
