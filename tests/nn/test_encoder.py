"""Layers and quantities: the code of each layer equals a forward pass written out in plain torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

import biorep
from biorep.errors import ConfigError
from biorep.networks.backprop.mlp import MLP

HALVES = [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
#: Settings of networks, and the names of their layers.
NETWORKS = {
    "mlp": ({"hidden": (12, 9, 7), "bias": True, "power": 2.0}, ["hidden_1", "hidden_2", "hidden_3"]),
    "mlp-whitened": (
        {"hidden": (12, 9), "activation": "tanh", "batch_norm": True, "whitening": {"after": 1}},
        ["hidden_1", "hidden_2"],
    ),
    "cnn": (
        {"channels": (3, 4), "kernel": 2, "dense": (10, 6), "batch_norm": True, "whitening": {}},
        ["conv_1", "conv_2", "dense_1", "dense_2"],
    ),
    "hierarchical": (
        {"levels": [HALVES, "classes"], "depths": (2, 1), "width": 8},
        ["hidden_1", "hidden_2", "hidden_3"],
    ),
    "krotov-hopfield": ({"units": 20, "k": 2, "p": 3, "power": 4.5, "epochs": 1}, ["hidden_1"]),
    "random-features": ({"units": 20}, ["hidden_1"]),
    "pixels": ({}, ["pixels"]),
}


@pytest.fixture(scope="module")
def trained(digits):
    """Networks and their states."""
    found = {}
    for name, (settings, _) in NETWORKS.items():
        epochs = {"epochs": 2, "evaluate": 0} if name.partition("-")[0] in ("mlp", "cnn", "hierarchical") else {}
        network = biorep.network(name.removesuffix("-whitened"), **{**epochs, **settings})
        found[name] = network, network.fit(digits["train"], seed=0)
    return found


def tensor(state, name):
    return torch.as_tensor(state[name].values).double()


def rows_of(dataset, norm=2.0):
    rows = torch.as_tensor(dataset["image"].values).flatten(1).double()
    return rows / rows.norm(p=norm, dim=1, keepdim=True) if norm else rows


def normed(values, state, index):
    """Return what BatchNorm makes of values (presentation, channel, ...) in evaluation, if the state has one."""
    if f"norm_mean_{index}" not in state:
        return values
    arrays = [tensor(state, f"norm_{name}_{index}") for name in ("mean", "variance", "weight", "bias")]
    return functional.batch_norm(values, *arrays)


def whitened(values, state, index):
    if f"whitening_mean_{index}" not in state:
        return values
    shifted = (values.flatten(1) - tensor(state, f"whitening_mean_{index}")).T
    return torch.linalg.solve_triangular(tensor(state, f"whitening_factor_{index}"), shifted, upper=False).T


def backprop_layers(network, state, dataset):
    """Yield currents and responses of each layer of a backprop network."""
    values = rows_of(dataset)
    convolutions = getattr(network, "channels", ())
    if convolutions:
        values = values.reshape(-1, 1, 8, 8)
    activate = {"tanh": torch.tanh, "relu": lambda h: h.clamp_min(0) ** network.power}[network.activation]
    for index in range(len(convolutions) + len([name for name in state if str(name).startswith("weights_")])):
        if f"weights_{index}" not in state:
            return
        weights = tensor(state, f"weights_{index}")
        bias = tensor(state, f"bias_{index}") if f"bias_{index}" in state else None
        if index < len(convolutions):
            currents = functional.conv2d(values, weights, bias)
            responses = functional.max_pool2d(torch.tanh(normed(currents, state, index)), 2)
        else:
            currents = functional.linear(values.flatten(1), weights, bias)
            responses = normed(activate(currents), state, index)
        yield currents.flatten(1), responses.flatten(1)
        values = whitened(responses, state, index)


def layers_of(name, network, state, dataset):
    if name == "pixels":
        return [(rows_of(dataset, None),) * 2]
    if name == "random-features":
        currents = rows_of(dataset) @ tensor(state, "weights").T
        return [(currents, currents.clamp_min(0))]
    if name == "krotov-hopfield":
        weights = tensor(state, "weights")
        currents = rows_of(dataset) @ (weights * weights.abs()).T
        return [(currents, currents.clamp_min(0) ** 4.5)]
    return list(backprop_layers(network, state, dataset))


@pytest.mark.parametrize("name", NETWORKS)
def test_each_layer_is_a_forward_pass_in_plain_torch(name, trained, digits):
    network, state = trained[name]
    names = network.layers(state)
    assert list(names) == NETWORKS[name][1]
    expected = layers_of(name, network, state, digits["test"])
    assert len(expected) == len(names)
    for layer, pair in zip(names, expected, strict=True):
        for quantity, values in zip(("preactivation", "response"), pair, strict=True):
            found = network.encode(state, digits["test"], layer=layer, quantity=quantity)
            assert (found.attrs["layer"], found.attrs["quantity"]) == (layer, quantity)
            assert found["response"].dtype == np.float32
            scale = max(1.0, float(values.abs().max()))
            np.testing.assert_allclose(found["response"], values, atol=2e-4 * scale)


@pytest.mark.parametrize("name", NETWORKS)
def test_last_is_another_name_of_the_last_layer_and_the_default(name, trained, digits):
    network, state = trained[name]
    layer = network.layers(state)[-1]
    found = [network.encode(state, digits["test"], **asked) for asked in ({}, {"layer": "last"}, {"layer": layer})]
    for one in found[1:]:
        assert one.identical(found[0])
    assert found[0].attrs["layer"] == layer
    assert found[0].attrs["network"] == network.kind
    module = network.module(state)
    images = torch.as_tensor(digits["test"]["image"].values)
    np.testing.assert_array_equal(module(images), module.response_of(images, layer))
    np.testing.assert_array_equal(module.preactivation_of(images), module.response_of(images, layer, "preactivation"))


def test_convolutions_have_more_currents_than_pooled_responses(trained, digits):
    network, state = trained["cnn"]
    sizes = {
        quantity: network.encode(state, digits["test"], layer="conv_1", quantity=quantity).sizes["neuroid"]
        for quantity in ("preactivation", "response")
    }
    assert sizes == {"preactivation": 3 * 7 * 7, "response": 3 * 3 * 3}


def test_layers_that_depend_on_the_batch_are_shown_in_parts(digits):
    network = MLP(hidden=(12, 9), epochs=1, batch_size=300, whitening={"after": 1, "statistics": "batch"}, evaluate=0)
    state = network.fit(digits["train"], seed=0)
    encoder = network.module(state)
    parts = torch.as_tensor(digits["train"]["image"].values).tensor_split(4)  # 1294 images in batches of 300 and more
    for layer in network.layers(state):
        expected = torch.cat([encoder.response_of(part, layer) for part in parts])
        np.testing.assert_array_equal(network.encode(state, digits["train"], layer=layer)["response"], expected)


def test_unknown_layers_and_quantities_are_explained(trained, digits):
    network, state = trained["cnn"]
    message = "unknown layer 'conv_7'; did you mean 'conv_[12]'. Available: conv_1, conv_2, dense_1, dense_2, last"
    with pytest.raises(ConfigError, match=message):
        network.encode(state, digits["test"], layer="conv_7")
    with pytest.raises(ConfigError, match="unknown layer 'preactivation'"):
        network.encode(state, digits["test"], layer="preactivation")
    with pytest.raises(ConfigError, match="unknown quantity 'responses'; did you mean 'response'"):
        network.encode(state, digits["test"], quantity="responses")
