"""The whitening layer: its output is white, its gradient right, and stored statistics free it from the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from biorep.errors import ConfigError
from biorep.networks.backprop.mlp import MLP
from biorep.networks.base import warnings_of
from biorep.nn.whitening import RIDGE, Whitening, whiten


def correlated(samples=200, width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return torch.randn(samples, width, generator=generator, dtype=torch.float64) @ mixing + 3


@pytest.mark.parametrize("centred", [True, False])
def test_second_moment_becomes_the_identity_up_to_the_ridge(centred):
    rows = correlated()
    white = whiten(rows, centred=centred)
    moment = white.T @ white / len(rows)
    shifted = rows - rows.mean(0) if centred else rows
    factor = torch.linalg.cholesky(shifted.T @ shifted / len(rows) + RIDGE * torch.eye(6))
    inverse = torch.linalg.inv(factor)
    torch.testing.assert_close(moment, torch.eye(6, dtype=torch.float64) - RIDGE * inverse @ inverse.T)
    assert (white.mean(0).abs().max() < 1e-9) == centred


@pytest.mark.parametrize("centred", [True, False])
def test_gradient_flows_through_the_statistics(centred):
    rows = correlated(12, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: whiten(x, centred=centred), rows)


def test_answer_depends_on_the_batch_only_as_published():
    rows = correlated()
    for statistics, same in (("batch", False), ("stored", True)):
        layer = Whitening(6, statistics=statistics).double().eval()
        layer.store(rows.mean(0), torch.cov(rows.T, correction=0))
        assert torch.equal(layer(rows)[:50], layer(rows[:50])) == same
    torch.testing.assert_close(layer(rows), whiten(rows))  # stored statistics of these very rows
    uncentred = Whitening(6, centred=False).double().eval()
    uncentred.store(rows.mean(0), torch.cov(rows.T, correction=0))
    torch.testing.assert_close(uncentred(rows), whiten(rows, centred=False))


def test_a_network_stores_the_statistics_of_its_training_set(digits):
    network = MLP(hidden=(20, 15, 10), activation="tanh", bias=True, epochs=2, whitening={"after": 2})
    state = network.fit(digits["train"], seed=0)
    rows = digits["train"]["image"].values.reshape(-1, 64).astype(float)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for index in (0, 1):
        rows = np.tanh(rows @ state[f"weights_{index}"].values.T + state[f"bias_{index}"].values)
    np.testing.assert_allclose(state["whitening_mean_1"], rows.mean(0), atol=1e-5)
    moment = np.cov(rows.T, ddof=0) + RIDGE * np.eye(15)
    np.testing.assert_allclose(state["whitening_factor_1"], np.linalg.cholesky(moment), atol=1e-5)
    white = np.linalg.solve(np.linalg.cholesky(moment), (rows - rows.mean(0)).T).T
    last = np.tanh(white @ state["weights_2"].values.T + state["bias_2"].values)
    encoded = network.encode(state, digits["train"])["response"].values
    np.testing.assert_allclose(encoded, last, atol=2e-3)
    assert not warnings_of(state)


def test_batch_statistics_are_said_to_depend_on_the_batch(digits):
    network = MLP(hidden=(20, 10), epochs=1, whitening={"after": 1, "statistics": "batch"})
    state = network.fit(digits["train"], seed=0)
    assert "whitening_mean_0" not in state
    assert "depends on the images that are shown with it" in warnings_of(state)[0]


def test_large_responses_do_not_break_the_decomposition():
    """Rectified responses of rank below their number, scaled: in float32 the ridge would drown in rounding errors."""
    rows = 30 * torch.relu(torch.randn(100, 300, generator=torch.Generator().manual_seed(0)))
    for centred in (True, False):
        assert torch.isfinite(whiten(rows, centred=centred)).all()


def test_published_whitening_is_shown_whole_batches_and_says_that_it_depends_on_them(digits):
    """Statistics of fewer images than the training saw at once would be another network."""
    settings = {"hidden": (30, 10), "epochs": 15, "batch_size": 300, "whitening": {"after": 1, "statistics": "batch"}}
    network = MLP(**settings)
    state = network.fit(digits["train"], seed=0, validation=digits["validation"])
    encoder = network.module(state)
    images = torch.as_tensor(digits["train"]["image"].values)
    assert encoder.together == 300
    expected = torch.cat([encoder(part) for part in images.tensor_split(4)])  # 1294 images: four parts of 323 or 324
    np.testing.assert_array_equal(network.encode(state, digits["train"])["response"], expected)
    assert np.isnan(state["value_jacobian"]).all()
    assert np.isfinite(state["value_isometric"]).all()
    assert network.depends_on_batch
    assert not MLP(**{**settings, "whitening": {"after": 1}}).depends_on_batch


def test_whitening_needs_a_layer_behind_it():
    with pytest.raises(ConfigError, match=r"whitening\.after = 2 must name a layer before the last of 2"):
        from biorep import network

        network("mlp", hidden=(20, 10), whitening={"after": 2})
