"""The expected-rate surrogate of a spiking network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import biorep
from biorep.bridge import Readout, Surrogate, classifier, fidelity, predict
from biorep.bridge.surrogate import PARAMETERS, SurrogateEncoder, surrogate_module
from biorep.errors import ConfigError, DataError, SplitError
from biorep.networks.base import representation

UNITS = 8


def _truth(competition="soft"):
    generator = np.random.default_rng(0)
    parameters = {
        "log_gain": torch.tensor(generator.normal(0.5, 0.2, UNITS), dtype=torch.float32),
        "offset": torch.tensor(generator.normal(2.0, 0.5, UNITS), dtype=torch.float32),
        "log_sharpness": torch.tensor(0.3),
        "log_scale": torch.tensor(2.0),
        "log_width": torch.tensor(0.5),
        "shift": torch.tensor(0.3),
    }
    weights = torch.tensor(generator.random((UNITS, 16)), dtype=torch.float32)
    return SurrogateEncoder(weights, parameters, competition)


def _images(n, split, seed):
    values = np.random.default_rng(seed).random((n, 4, 4)) ** 2
    data = biorep.datasets.from_arrays(values, np.arange(n) % 2)
    names = [f"{split}-{k}" for k in range(n)]
    return data.assign_coords(split=("presentation", [split] * n), stimulus_id=("presentation", names))


def _spikes(encoder, images, seed):
    """Poisson counts whose expectation a surrogate can tell exactly."""
    with torch.no_grad():
        expected = encoder(torch.as_tensor(images["image"].values)).numpy()
    counts = np.random.default_rng(seed).poisson(expected).astype(np.float32)
    return representation(counts, images, quantity="response", kind="diehl-cook"), expected


@pytest.fixture(scope="module")
def fitted():
    encoder = _truth()
    train, test = _images(1500, "train", 1), _images(300, "test", 2)
    state = xr.Dataset({"weights": (("neuroid", "input"), encoder.weights.numpy())})
    counts, _ = _spikes(encoder, train, 3)
    network = biorep.network("diehl-cook", units=UNITS)
    surrogate = Surrogate(steps=800).fit(network, state, counts, train, seed=0)
    return encoder, network, state, surrogate, train, test, counts


def test_expected_counts_are_recovered(fitted):
    encoder, _, state, surrogate, _, test, _ = fitted
    _, expected = _spikes(encoder, test, 4)
    with torch.no_grad():
        found = surrogate_module(state, surrogate)(torch.as_tensor(test["image"].values)).numpy()
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99
    assert found.sum() == pytest.approx(expected.sum(), rel=0.05)


def test_fidelity_equals_what_it_says(fitted):
    encoder, _, state, surrogate, _, test, counts = fitted
    readout = Readout(penalty=1e-2).fit(counts)
    simulated, _ = _spikes(encoder, test, 5)
    found = fidelity(state, surrogate, readout, simulated, test.isel(presentation=slice(None, None, -1)))
    with torch.no_grad():
        expected = surrogate_module(state, surrogate)(torch.as_tensor(test["image"].values)).numpy()
    told = simulated.assign(response=(("presentation", "neuroid"), expected))
    agreement = np.mean(predict(readout, told) == predict(readout, simulated))
    assert float(found["label_agreement"]) == pytest.approx(agreement)
    correlation = np.corrcoef(expected.ravel(), simulated["response"].values.ravel())[0, 1]
    assert float(found["count_correlation"]) == pytest.approx(correlation)


def test_straight_through_counts_go_to_the_winner_and_gradients_are_soft():
    soft, hard = _truth(), _truth("straight-through")
    images = torch.rand(5, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    counts = hard(images)
    assert ((counts > 1e-6).sum(1) == 1).all()
    assert (counts.argmax(1) == hard.preactivation_of(images).argmax(1)).all()
    torch.testing.assert_close(counts.sum(1), soft(images).sum(1))
    (gradient,) = torch.autograd.grad(counts[:, 0].sum(), images)
    assert gradient.abs().max() > 0


def test_gradients_equal_finite_differences():
    encoder = _truth().double()
    image = torch.rand(1, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(encoder, (image,))


def test_classifier_needs_and_takes_the_surrogate(fitted):
    _, network, state, surrogate, _, test, counts = fitted
    readout = Readout(penalty=1e-2).fit(counts)
    with pytest.raises(ConfigError, match="needs a surrogate"):
        classifier(network, state, readout)
    model = classifier(network, state, readout, surrogate=surrogate)
    assert model(torch.as_tensor(test["image"].values)).shape == (300, 2)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert set(PARAMETERS) <= set(surrogate.data_vars)


def test_bad_input_is_refused(fitted):
    encoder, network, state, surrogate, train, test, counts = fitted
    simulated, _ = _spikes(encoder, test, 6)
    with pytest.raises(SplitError, match="fitting of a surrogate"):
        Surrogate().fit(network, state, simulated, test)
    with pytest.raises(SplitError, match="fidelity of a surrogate"):
        fidelity(state, surrogate, Readout().fit(counts), counts, train)
    with pytest.raises(DataError, match="never spiked"):
        Surrogate().fit(network, state, counts * 0 + counts.assign(response=counts["response"] * 0), train)
    with pytest.raises(DataError, match="are not in the dataset"):
        Surrogate().fit(network, state, counts, test)
    with pytest.raises(ConfigError, match="no input weights"):
        Surrogate().fit(network, xr.Dataset(), counts, train)
