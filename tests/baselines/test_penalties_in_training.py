"""Penalties as settings of a network: each does what it is for, and a training with them resumes bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import biorep
from biorep.baselines.mlp import MLP
from biorep.baselines.regularizers import isometric_penalty, jacobian_penalty
from biorep.baselines.regularizers.spectral import eigenbases
from biorep.bridge import classifier
from biorep.context import RunContext
from biorep.errors import ConfigError, DataError, NumericalError
from biorep.networks.encoder import normalised

SETTINGS = {"hidden": (30,), "epochs": 8, "batch_size": 200, "activation": "tanh", "rate": 1e-2}
#: Kind -> its settings, strong enough to be seen.
PENALTIES = {
    "l2": {"strength": 1e-2},
    "jacobian": {"strength": 0.03},
    "spectral": {"strength": 1.0, "tau": 2},
    "isometric": {"strength": 20.0},
    "input-gradient": {"strength": 0.05},
    "spectral-norm": {"strength": 0.1},
    "parseval": {"strength": 0.1},
}


def fit(digits, *penalties, **settings):
    network = MLP(**{**SETTINGS, **settings}, penalties=penalties)
    return network, network.fit(digits["train"], seed=0)


@pytest.fixture(scope="module")
def plain(digits):
    return fit(digits)[1]


def measured(kind, network, state, digits):
    """Return the exact value of a penalty on test images."""
    images, labels = torch.as_tensor(digits["test"]["image"].values), torch.as_tensor(digits["test"]["label"].values)
    rows = normalised(images.flatten(1), 2).double().requires_grad_()
    weights = [torch.as_tensor(state[name].values).double() for name in ("weights_0", "readout_weights")]
    hidden = torch.tanh(rows @ weights[0].T)
    logits = hidden @ weights[1].T + torch.as_tensor(state["readout_bias"].values)
    if kind == "l2":
        return sum(float(matrix.square().sum()) for matrix in weights)
    if kind == "jacobian":
        return float(jacobian_penalty(logits, rows, n_proj=-1).detach())
    if kind == "spectral":
        eigenvalues = torch.linalg.eigvalsh(torch.cov(hidden.detach().T)).flip(0)
        law = eigenvalues[2] * 3 / torch.arange(1, 31)
        return float((eigenvalues / law).log10().abs()[3:20].mean())
    if kind == "isometric":
        return float(isometric_penalty(hidden.detach(), rows.detach(), labels))
    if kind == "input-gradient":
        loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        return float(torch.autograd.grad(loss, rows)[0].square().sum() / len(rows))
    if kind == "spectral-norm":
        return sum(float(torch.linalg.matrix_norm(matrix, 2)) for matrix in weights)
    gram = weights[0] @ weights[0].T
    return float((gram - torch.eye(len(gram))).square().sum())


@pytest.mark.parametrize("kind", PENALTIES)
def test_penalty_lowers_what_it_penalises_and_leaves_a_classifier(kind, digits, plain):
    network, state = fit(digits, {"kind": kind, **PENALTIES[kind]})
    assert measured(kind, network, state, digits) < 0.7 * measured(kind, network, plain, digits)
    model = classifier(network, state, state)
    found = model(torch.as_tensor(digits["test"]["image"].values)).argmax(1).numpy()
    assert (found == digits["test"]["label"].values).mean() > 0.8
    history = state[f"penalty_{kind}"].values
    assert history.shape == (8,)
    assert np.isfinite(history).all()


def test_all_penalties_go_together_and_a_killed_training_ends_bit_for_bit(digits, tmp_path, monkeypatch):
    penalties = [{"kind": kind, **PENALTIES[kind]} for kind in PENALTIES]
    _, whole = fit(digits, *penalties, epochs=4)
    network = MLP(**{**SETTINGS, "epochs": 4}, penalties=penalties)
    run = RunContext(checkpoint=tmp_path, checkpoint_every=0.0)
    from biorep.bridge import training

    epochs = []
    one = training._Training.epoch

    def dying(*arguments):
        epochs.append(1)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        return one(*arguments)

    monkeypatch.setattr(training._Training, "epoch", dying)
    with pytest.raises(KeyboardInterrupt):
        network.fit(digits["train"], seed=0, run=run)
    resumed = network.fit(digits["train"], seed=0, run=run)
    for name in ("weights_0", "readout_weights", "penalty_jacobian", "penalty_spectral"):
        np.testing.assert_array_equal(whole[name].values, resumed[name].values)


def test_the_basis_is_that_of_the_whole_training_set(digits):
    network = MLP(**SETTINGS)
    module = network.trainable((8, 8), 10, 0)
    inputs = normalised(torch.as_tensor(digits["train"]["image"].values.reshape(-1, 64)), 2)
    (basis,) = eigenbases(module, inputs)
    hidden = module.trace(inputs)[0][-1].detach().double()
    scores = (hidden - hidden.mean(0)) @ basis.double()
    covariance = torch.cov(scores.T)
    off = covariance - torch.diag(covariance.diagonal())
    assert float(off.abs().max()) < 1e-5 * float(covariance.diagonal().max())
    assert (covariance.diagonal().diff() <= 1e-9).all()  # the largest first
    assert module.training


def test_every_hidden_layer_may_be_bent(digits):
    _, state = fit(digits, {"kind": "spectral", "layers": "all", "tau": 1}, hidden=(20, 12), epochs=2)
    assert np.isfinite(state["penalty_spectral"].values).all()


def test_the_jacobian_of_a_linear_first_layer_is_said_to_be_weight_decay(digits):
    with pytest.warns(UserWarning, match="this penalty is weight decay"):
        fit(digits, {"kind": "jacobian", "target": "preactivation"}, epochs=1)


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        ({"kind": "jacobian", "strength": -1}, "strength"),
        ({"kind": "jacobain"}, "jacobain"),
        ({"kind": "jacobian", "n_proj": 0}, "n_proj must be -1"),
        ({"kind": "isometric", "mode": "maxnorm", "reduction": "pairs"}, "goes with mode 'raw'"),
    ],
)
def test_bad_settings_are_refused(penalty, message):
    with pytest.raises(ConfigError, match=message):
        biorep.network("mlp", penalties=[penalty])


def test_bad_trainings_are_explained(digits, tiny):
    with pytest.raises(ConfigError, match="tau = 29 must be between 0 and 28"):
        fit(digits, {"kind": "spectral", "tau": 29}, epochs=1)
    with pytest.raises(ConfigError, match="a batch of 5 .* raise batch_size to 13"):
        fit(digits, {"kind": "spectral", "basis": "batch"}, batch_size=5, epochs=1)
    alone = biorep.datasets.from_arrays(np.random.default_rng(0).random((2, 4, 4)), [0, 1])
    with pytest.raises(DataError, match="no two of the 2 training samples share one"):
        MLP(**SETTINGS, penalties=[{"kind": "isometric"}]).fit(alone, seed=0)
    with pytest.raises(NumericalError, match=r"mlp: the .* became (nan|inf) in epoch 1 .*strength of the penalties"):
        fit(digits, {"kind": "parseval", "strength": 1e38})


def test_currents_may_be_bent_towards_an_absolute_spectrum(digits):
    """As Holzhausen et al. (2024) meant it: the variances themselves, of the currents of the hidden layer."""
    penalty = {"kind": "spectral", "of": "preactivation", "target": "absolute", "tau": 0, "strength": 5.0}
    settings = {"epochs": 60, "rate": 3e-3}
    distances = []
    for penalties in ([], [penalty]):
        _, state = fit(digits, *penalties, **settings)
        rows = digits["train"]["image"].values.reshape(-1, 64)
        currents = rows / np.linalg.norm(rows, axis=1, keepdims=True) @ state["weights_0"].values.T
        eigenvalues = np.linalg.eigvalsh(np.cov(currents.T))[::-1][:20]
        distances.append(np.abs(np.log10(eigenvalues * np.arange(1, 21))).mean())
    assert distances[1] < 0.5 * distances[0]
    with pytest.raises(ConfigError, match="of 'preactivation' goes with layers 'last'"):
        biorep.network("mlp", penalties=[{**penalty, "layers": "all"}])
