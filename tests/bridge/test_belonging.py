"""What belongs together: states and networks, readouts and states, neuroids and classes by their names."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from biorep import network
from biorep.bridge import Readout, classifier, predict, score
from biorep.errors import BiorepError, ConfigError, DataError
from biorep.networks.base import mark
from biorep.robustness import evaluate
from biorep.tables import NETWORKS

LEARNT = {"epochs": 1, "evaluate": 0}
#: Networks of which no two answer alike, most of them of the same width.
DIFFERENT = {
    "pixels": ("pixels", {}),
    "normalised-pixels": ("pixels", {"input_norm": 2.0}),
    "random": ("random-features", {"units": 8}),
    "wider": ("random-features", {"units": 9}),
    "not-normalised": ("random-features", {"units": 8, "input_norm": None}),
    "kh": ("krotov-hopfield", {"units": 8, "k": 2, "epochs": 1, "batch_size": 5}),
    "kh-p2": ("krotov-hopfield", {"units": 8, "k": 2, "p": 2, "epochs": 1, "batch_size": 5}),
    "relu": ("mlp", {"hidden": [8], **LEARNT}),
    "tanh": ("mlp", {"hidden": [8], "activation": "tanh", **LEARNT}),
    "bias": ("mlp", {"hidden": [8], "bias": True, **LEARNT}),
    "norm": ("mlp", {"hidden": [8], "batch_norm": True, **LEARNT}),
    "deep": ("mlp", {"hidden": [8, 8], **LEARNT}),
    "white": ("mlp", {"hidden": [8, 8], "whitening": {"after": 1}, **LEARNT}),
    "cnn": ("cnn", {"channels": [2], "dense": [8], "kernel": 2, **LEARNT}),
    "hierarchical": ("hierarchical", {"width": 8, "depths": [1], **LEARNT}),
}  # fmt: skip


@pytest.fixture(scope="module")
def small():
    from biorep import datasets

    generator = np.random.default_rng(0)
    images, labels = generator.random((30, 4, 4)).astype(np.float32), np.arange(30) % 3
    return {
        split: datasets.from_arrays(images[part], labels[part], class_names=list("abc"), split=split)
        for split, part in {"train": slice(20), "test": slice(20, 30)}.items()
    }


@pytest.fixture(scope="module")
def trained(small):
    networks = {name: network(kind, **given) for name, (kind, given) in DIFFERENT.items()}
    return {name: (net, net.fit(small["train"], seed=0)) for name, net in networks.items()}


@pytest.fixture(scope="module")
def readout(trained, small):
    net, state = trained["random"]
    return Readout().fit(net.encode(state, small["train"]))


def test_the_state_of_another_network_is_refused(trained, small):
    for name, (net, own) in trained.items():
        assert net.encode(own, small["test"]).sizes["presentation"] == 10
        for other, (_, state) in trained.items():
            if other != name:
                with pytest.raises(DataError):
                    net.encode(state, small["test"])
                with pytest.raises(DataError):
                    net.module(state)


def test_a_state_without_its_mark_or_its_arrays_is_an_error_of_biorep(trained, small):
    spoilt = [None, "state", small["test"], xr.Dataset()]
    for net, own in trained.values():
        for other in (*spoilt, *(state.drop_attrs() for _, state in trained.values())):
            try:
                net.encode(other, small["test"])
            except BiorepError:
                continue
            assert isinstance(other, xr.Dataset)  # states of the same arrays cannot be told from each other
            assert (
                dict(other.sizes).items() >= {k: v for k, v in own.sizes.items() if k in ("neuroid", "input")}.items()
            )


@pytest.mark.parametrize("word", [word for word in NETWORKS if NETWORKS.load(word).own_process])
def test_a_simulation_refuses_the_state_of_another_network_before_it_begins(word, small):
    for other in (network(word, units=5), network("random-features", units=4)):
        state = mark(other, xr.Dataset(), small["test"])
        with pytest.raises(DataError, match="the state is of a network with the (kind|units)"):
            network(word, units=4).encode(state, small["test"])


def test_what_was_cut_turned_or_widened(trained, small):
    net, state = trained["random"]
    wanted = net.encode(state, small["test"])
    assert net.encode(state.transpose(), small["test"])["response"].equals(wanted["response"])
    assert net.encode(state.astype(float), small["test"])["response"].equals(wanted["response"])
    for cut in (state.isel(neuroid=slice(5)), state.isel(input=slice(5)), state * np.nan):
        with pytest.raises(BiorepError):
            net.encode(cut, small["test"])


def test_a_readout_of_another_state_is_refused(trained, small, readout):
    net, state = trained["random"]
    again = net.fit(small["train"], seed=0)
    assert classifier(net, again, readout)(torch.as_tensor(small["test"]["image"].values)).shape == (10, 3)
    others = [(net, net.fit(small["train"], seed=1)), trained["kh"]]
    for other, its in others:
        with pytest.raises(DataError, match="the readout was fitted to responses of another state"):
            classifier(other, its, readout)
        with pytest.raises(DataError, match="the readout was fitted to responses of another state"):
            score(readout, other.encode(its, small["test"]))
    with pytest.raises(ConfigError, match="needs a network of biorep, got Linear; a torch module needs no bridge"):
        classifier(torch.nn.Linear(2, 2), state, readout)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(order=st.permutations(range(8)), classes=st.permutations(range(3)), turned=st.booleans())
def test_neuroids_and_classes_are_matched_by_name(trained, small, readout, order, classes, turned):
    net, state = trained["random"]
    test = net.encode(state, small["test"])
    wanted = score(readout, test)
    images = torch.as_tensor(small["test"]["image"].values)
    logits = classifier(net, state, readout)(images)
    other = readout.isel({"neuroid": list(order), "class": list(classes)})
    other = other.transpose() if turned else other
    np.testing.assert_array_equal(score(other, test), wanted)
    np.testing.assert_array_equal(score(readout, test.isel(neuroid=list(order))), wanted)
    np.testing.assert_array_equal(score(other, test.isel(neuroid=list(order[::-1]))), wanted)
    moved = classifier(net, state, other)(images)
    np.testing.assert_allclose(moved, logits[:, list(classes)], rtol=1e-5, atol=1e-5)


def test_an_attack_matches_classes_by_name(trained, small, readout):
    net, state = trained["random"]
    data = small["test"]
    turned = data.assign(label=("presentation", 2 - data["label"].values, {"class_names": json.dumps(["c", "b", "a"])}))
    model = classifier(net, state, readout)
    found = [evaluate(model, one, linf=[0.1], l2=[], noise=[], attacks="fgsm") for one in (data, turned)]
    np.testing.assert_array_equal(found[0]["clean_correct"], found[1]["clean_correct"])
    np.testing.assert_array_equal(found[0]["linf"]["critical_distance"], found[1]["linf"]["critical_distance"])


def test_a_readout_whose_classes_have_no_names_is_refused(trained, small, readout):
    net, state = trained["random"]
    test = net.encode(state, small["test"])
    same = readout.assign_coords({"class": ["a", "b", "a"]})
    for spoilt in (readout.drop_vars("class"), same, xr.Dataset(), None, test):
        for use in (lambda r: predict(r, test), lambda r: score(r, test), lambda r: classifier(net, state, r)):
            with pytest.raises(DataError):
                use(spoilt)


@pytest.mark.parametrize("name", ["response", "label", "split", "stimulus_id"])
def test_what_a_representation_needs_is_said(trained, small, name):
    net, state = trained["random"]
    code = net.encode(state, small["train"]).drop_vars(name)
    with pytest.raises(DataError, match=f"'{name}' is missing"):
        Readout().fit(code)
    with pytest.raises(DataError, match="a representation .* got an object of type ndarray"):
        Readout().fit(np.zeros((4, 3)))
