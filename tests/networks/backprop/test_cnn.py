"""Convolutional networks against convolutions written out, and the shapes of Nassar et al. (2020)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import correlate

import biorep
from biorep import datasets
from biorep.bridge import score
from biorep.errors import ConfigError, DataError
from biorep.networks.backprop.cnn import CNN

SMALL = {"channels": (4, 6), "dense": (20,), "kernel": 2, "pool": 2, "epochs": 0, "input_norm": None}


def convolved(images, weights, bias):
    """Return valid cross-correlations (presentation, kernel, row, column) of images (presentation, channel, ...)."""
    return np.stack(
        [
            np.stack(
                [correlate(image, kernel, "valid")[0] + shift for kernel, shift in zip(weights, bias, strict=True)]
            )
            for image in images
        ]
    )


def pooled(values, side):
    n, channels, height, width = values.shape
    height, width = height // side, width // side
    cut = values[:, :, : height * side, : width * side]
    return cut.reshape(n, channels, height, side, width, side).max((3, 5))


def images(*shape):
    generator = np.random.default_rng(0)
    return datasets.from_arrays(generator.random((12, *shape)), np.arange(12) % 3)


@pytest.mark.parametrize("shape", [(10, 9), (10, 9, 3)])
@pytest.mark.parametrize("normalise", [False, True])
def test_frozen_module_equals_the_equations(shape, normalise):
    data = images(*shape)
    settings = {"batch_norm": normalise, "epochs": 2 if normalise else 0, "batch_size": 5, "init": "uniform"}
    network = CNN(**{**SMALL, **settings})
    state = network.fit(data, seed=1)
    values = data["image"].values.reshape(12, 10, 9, -1).transpose(0, 3, 1, 2).astype(float)
    for index in (0, 1):
        values = convolved(values, state[f"weights_{index}"].values, state[f"bias_{index}"].values)
        if normalise:
            mean, variance, scale, shift = (
                state[f"norm_{name}_{index}"].values[:, None, None] for name in ("mean", "variance", "weight", "bias")
            )
            values = (values - mean) / np.sqrt(variance + 1e-5) * scale + shift
        values = pooled(np.tanh(values), 2)
    expected = np.tanh(values.reshape(12, -1) @ state["weights_2"].values.T + state["bias_2"].values)
    np.testing.assert_allclose(network.encode(state, data)["response"], expected, atol=1e-5)


@pytest.mark.parametrize(("shape", "widths"), [((28, 28), [2704, 800, 1000]), ((32, 32, 3), [3600, 1152, 1000])])
def test_layers_have_the_published_widths(shape, widths):
    import torch

    hidden = CNN().hidden_module(shape)
    responses, _ = hidden.trace(torch.rand(2, int(np.prod(shape))))
    assert [part.shape[1] for part in responses] == widths


def test_channels_are_standardised_inside_the_network():
    data = images(10, 9, 3)
    mean, sd = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)
    network = CNN(**SMALL, channel_mean=mean, channel_sd=sd)
    plain = CNN(**SMALL)
    state = network.fit(data, seed=0)
    moved = data.copy()
    values = ((data["image"] - np.array(mean)) / np.array(sd)).astype(np.float32)
    moved["image"] = values.assign_attrs(value_range=(-6.0, 6.0))
    expected = plain.encode(plain.fit(data, seed=0), moved)["response"]
    np.testing.assert_allclose(network.encode(state, data)["response"], expected, atol=1e-5)
    with pytest.raises(ConfigError, match="channel_mean has 3 values, the images have 1 channels"):
        CNN(**SMALL, channel_mean=mean, channel_sd=sd).fit(images(10, 9), seed=0)


def test_learns_the_digits_with_penalties_on_all_layers_and_whitening(digits):
    penalties = [{"kind": "spectral", "layers": "all", "tau": 3, "strength": 0.1}, {"kind": "spectral-norm"}]
    network = CNN(
        channels=(8, 16),
        dense=(50,),
        kernel=2,
        epochs=25,
        learning_rate=3e-3,
        penalties=penalties,
        whitening={"centred": True},
    )
    state = network.fit(digits["train"], seed=0, validation=digits["validation"])
    assert float(score(state, network.encode(state, digits["test"])).mean()) > 0.94
    assert float(state["validation_accuracy"][-1]) > 0.94


def test_images_that_do_not_fit_are_explained():
    with pytest.raises(
        DataError, match="10 x 9 pixels are too small for convolution 2 of 2 .* kernels of 3 and pooling"
    ):
        CNN(pool=4).fit(images(10, 9), seed=0)
    with pytest.raises(DataError, match="needs images"):
        CNN().fit(images(30), seed=0)
    with pytest.raises(ConfigError, match="channel_mean and channel_sd go together"):
        biorep.network("cnn", channel_mean=[0.5])
