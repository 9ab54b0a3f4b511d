"""The bridge: one torch module from pixels to logits, for every network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import biorep
from biorep.bridge import Readout, classifier, predict
from biorep.errors import DataError, NumericalError

NETWORKS = {
    "pixels": {},
    "random-features": {"units": 30, "power": 2.0},
    "krotov-hopfield": {"units": 30, "k": 2, "epochs": 2},
    "mlp": {"hidden": [20, 10], "activation": "tanh", "bias": True, "epochs": 2},
}


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request, digits):
    network = biorep.network(request.param, **NETWORKS[request.param])
    state = network.fit(digits["train"], seed=0)
    readout = Readout().fit(network.encode(state, digits["train"]))
    return network, state, readout


def test_module_equals_encode_and_readout(trained, digits):
    network, state, readout = trained
    model = classifier(network, state, readout)
    logits = model(torch.as_tensor(digits["test"]["image"].values))
    assert logits.shape == (360, 10)
    representation = network.encode(state, digits["test"])
    np.testing.assert_array_equal(logits.argmax(1), predict(readout, representation))


def test_gradient_with_respect_to_the_pixels_is_the_finite_difference(trained, digits):
    network, state, readout = trained
    model = classifier(network, state, readout).double()
    # Away from the black border, where ReLU^n has no kink at the image.
    point = torch.as_tensor(digits["test"]["image"].values[:4]).double() * 0.5 + 0.25
    point.requires_grad_(True)
    weights = torch.linspace(-1, 1, 10, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((model(point) * weights).sum(), point)
    step = torch.randn(point.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e-6
    with torch.no_grad():
        difference = ((model(point + step) - model(point - step)) * weights).sum((1,)) / 2
    np.testing.assert_allclose((gradient * step).flatten(1).sum(1), difference, rtol=1e-4)


def test_nothing_is_trainable(trained):
    model = classifier(*trained)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.training


def test_normalised_space_skips_the_normalisation(trained, digits):
    network, state, readout = trained
    images = torch.as_tensor(digits["test"]["image"].values)
    pixel, inner = classifier(network, state, readout), classifier(network, state, readout, space="normalised")
    torch.testing.assert_close(inner(inner.prepare(images)), pixel(images))
    assert torch.equal(pixel.prepare(images), images)


def test_a_foreign_readout_is_refused(trained, digits):
    network, state, _ = trained
    other = biorep.network("random-features", units=7)
    readout = Readout().fit(other.encode(other.fit(digits["train"], seed=0), digits["train"]))
    with pytest.raises(DataError, match="they do not belong together"):
        classifier(network, state, readout)


def test_nan_weights_are_refused(trained, digits):
    network, state, readout = trained
    broken = readout.copy(deep=True)
    broken["readout_weights"][1, 2] = np.nan
    with pytest.raises(NumericalError, match="'readout_weights' holds 1 values that are NaN or infinite"):
        classifier(network, state, broken)
    name = next((n for n in ("weights", "weights_0") if n in state), None)
    if name is not None:
        broken = state.copy(deep=True)
        broken[name][0, 0] = np.inf
        with pytest.raises(NumericalError, match="NaN or infinite"):
            classifier(network, broken, readout)


def test_images_of_another_size_are_refused(trained):
    with pytest.raises(DataError, match="trained on images of 64 values, got 81"):
        classifier(*trained)(torch.zeros(2, 9, 9))
