"""Penalties as settings of a network: each does what it is for, and a training with them resumes bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import biorep
from biorep.bridge import classifier
from biorep.context import RunContext
from biorep.errors import ConfigError, DataError, NumericalError
from biorep.networks.backprop.mlp import MLP
from biorep.networks.base import warnings_of
from biorep.nn.encoder import normalised
from biorep.nn.training import Training
from biorep.penalties import isometric_penalty, jacobian_penalty
from biorep.penalties.spectral import eigenbases
from biorep.tables import PENALTIES as PENALTIES_TABLE

SETTINGS = {"hidden": (30,), "epochs": 8, "batch_size": 200, "activation": "tanh", "learning_rate": 1e-2}
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


HALVES = [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
#: Trainings that must end alike whether they are killed or not.
TRAININGS = {
    "penalties": ("mlp", {"penalties": [{"kind": kind, **PENALTIES[kind]} for kind in PENALTIES]}),
    "whitening": ("mlp", {"hidden": (20, 15), "whitening": {"after": 1}, "batch_norm": True, "optimiser": "amsgrad"}),
    "hierarchical": ("hierarchical", {"levels": [HALVES, "classes"], "depths": (1, 1), "width": 15}),
    "cnn": ("cnn", {"channels": (3, 4), "kernel": 2, "pool": 1, "dense": (10,), "batch_norm": True}),
    "adversarial": ("mlp", {"objective": {"kind": "adversarial", "epsilon": 0.1, "steps": 2}}),
    "trades": ("mlp", {"objective": {"kind": "trades", "epsilon": 0.1, "steps": 2}, "fade": (1, 2.0)}),
    "noise": ("mlp", {"objective": {"kind": "noise"}, "optimiser": "sgd", "weight_decay": 1e-3}),
    "bounds": ("mlp", {"penalties": [{"kind": "singular-value-bounds", "every": 4}]}),
}


def killed_before(epoch, monkeypatch):
    """Let the next training die before an epoch, counted from 1."""
    done = []
    one = Training.epoch

    def dying(*arguments):
        done.append(1)
        if len(done) == epoch:
            raise KeyboardInterrupt
        return one(*arguments)

    monkeypatch.setattr(Training, "epoch", dying)


@pytest.mark.parametrize("name", TRAININGS)
def test_a_killed_training_ends_bit_for_bit_like_one_that_was_not(name, digits, tmp_path, monkeypatch):
    kind, settings = TRAININGS[name]
    settings = {
        **({"hidden": (30,)} if kind == "mlp" else {}),
        "epochs": 4,
        "batch_size": 200,
        "learning_rate": 1e-2,
        **settings,
    }
    network = biorep.network(kind, **settings)
    whole = network.fit(digits["train"], seed=0)
    context = RunContext(checkpoint=tmp_path, checkpoint_every=0.0)
    killed_before(3, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        network.fit(digits["train"], seed=0, context=context)
    assert list(tmp_path.iterdir())
    resumed = network.fit(digits["train"], seed=0, context=context)
    assert set(whole) == set(resumed)
    for variable in whole:
        np.testing.assert_array_equal(whole[variable].values, resumed[variable].values)


@pytest.mark.parametrize("change", ["activation", "labels", "evaluate", "input_norm"])
def test_a_checkpoint_of_other_settings_or_labels_is_not_used(change, digits, tmp_path, monkeypatch):
    settings = {"hidden": (12,), "epochs": 4, "batch_size": 200}
    context = RunContext(checkpoint=tmp_path, checkpoint_every=0.0)
    data, other = digits["train"], digits["train"]
    changed = dict(settings)
    if change == "labels":
        other = data.assign(label=(9 - data["label"]).assign_attrs(data["label"].attrs))
    else:
        changed[change] = {"activation": "tanh", "evaluate": 20, "input_norm": None}[change]
    expected = MLP(**changed).fit(other, seed=0)
    killed_before(3, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        MLP(**settings).fit(data, seed=0, context=context)
    found = MLP(**changed).fit(other, seed=0, context=context)
    np.testing.assert_array_equal(found["weights_0"], expected["weights_0"])
    np.testing.assert_array_equal(found["loss"], expected["loss"])


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


def test_what_should_be_known_of_a_penalty_is_warned_of_and_kept_with_the_state(digits):
    with pytest.warns(UserWarning, match="this penalty is weight decay"):
        _, state = fit(digits, {"kind": "jacobian", "target": "preactivation"}, epochs=1)
    assert "this penalty is weight decay" in warnings_of(state)[0]
    with pytest.warns(UserWarning, match="the spectrum of a batch of 200 for 30 neuroids"):
        _, state = fit(digits, {"kind": "spectral", "basis": "batch"}, epochs=1)
    assert "the spectrum of a batch of 200" in warnings_of(state)[0]


def test_a_penalty_of_strength_zero_costs_and_changes_nothing(digits, plain):
    penalties = [{"kind": kind, **PENALTIES[kind], "strength": 0} for kind in PENALTIES]
    _, state = fit(digits, *penalties)
    np.testing.assert_array_equal(state["weights_0"], plain["weights_0"])
    assert (state["penalty_parseval"] == 0).all()


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        (
            {"kind": "jacobian", "strength": -1},
            r"mlp: 'penalties\.0\.strength' is -1, but input should be greater than or",
        ),
        (
            {"kind": "jacobain"},
            r"mlp: penalties\.0\.kind: unknown penalty 'jacobain'; did you mean 'jacobian'\? Available: ",
        ),
        ("jacobain", "did you mean 'jacobian'"),
        (
            {"strength": 1},
            r"penalties\.0\.kind: key 'kind' is missing. Available: input-gradient, isometric, jacobian, l2, ",
        ),
        (
            {"kind": "jacobian", "strenght": 1},
            r"unknown key 'penalties\.0\.strenght' \(value 1\); did you mean 'strength'\? "
            "Allowed here: kind, n_proj, strength, target, variant",
        ),
        ({"kind": "spectral", "target": "absolut"}, r"'penalties\.0\.target' is 'absolut'.* did you mean 'absolute'"),
        ({"kind": "jacobian", "n_proj": 0}, "n_proj must be -1"),
        ({"kind": "isometric", "mode": "maxnorm", "reduction": "pairs"}, "goes with mode 'raw'"),
    ],
)
def test_bad_settings_are_refused(penalty, message):
    for field in ("penalties", "record"):
        with pytest.raises(ConfigError, match=message.replace("penalties", field)):
            biorep.network("mlp", **{field: [penalty]})


def test_a_kind_stands_once_and_its_word_means_its_defaults():
    assert biorep.network("mlp", penalties=["l2"]) == biorep.network("mlp", penalties=[{"kind": "l2"}])
    for field in ("penalties", "record"):
        with pytest.raises(ConfigError, match=f"{field}: each kind of penalty can be named once, got l2, l2"):
            biorep.network("mlp", **{field: ["l2", {"kind": "l2", "strength": 1}]})


@pytest.mark.parametrize("word", PENALTIES_TABLE)
def test_every_penalty_has_its_version_and_a_strength(word):
    cls = PENALTIES_TABLE.load(word)
    assert cls().word == word
    assert set(cls.versions) == {word}
    assert cls().strength > 0


MINE = """
from biorep.penalties.base import BasePenalty

class Outputs(BasePenalty):
    kind: str
    strength: float = 0.01

    def __call__(self, forward, prepared=None):
        return forward.logits.square().mean()
"""


def test_a_penalty_of_the_user_s_is_trained_and_recorded_under_its_name(digits, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    settings = {"hidden": (10,), "epochs": 2, "penalties": [{"kind": f"{path}:Outputs", "strength": 0.5}]}
    network = biorep.network("mlp", **settings, record=[])
    state = network.fit(digits["train"], seed=0)
    assert [name for name in state if "Outputs" in name] == ["penalty_Outputs", "value_Outputs"]
    assert str(path) not in str(network.identity())
    path.write_text(MINE.replace("square", "abs"))
    assert biorep.network("mlp", **settings, record=[]).identity() != network.identity()


def test_bad_trainings_are_explained(digits, tiny):
    with pytest.raises(ConfigError, match="tau = 29 must be between 0 and 28"):
        fit(digits, {"kind": "spectral", "tau": 29}, epochs=1)
    with pytest.raises(ConfigError, match="a batch of 4 is too small for an anchor at component 11 .* it takes 11"):
        fit(digits, {"kind": "spectral"}, batch_size=5, epochs=1)
    remainder = len(digits["train"]["label"]) - 5  # the last batch has 5
    with pytest.raises(ConfigError, match="a batch of 5 is too small .* choose one that leaves no small last batch"):
        fit(digits, {"kind": "spectral"}, batch_size=remainder, epochs=1)
    alone = biorep.datasets.from_arrays(np.random.default_rng(0).random((2, 4, 4)), [0, 1])
    with pytest.raises(DataError, match="no two of the 2 training samples share one"):
        MLP(**SETTINGS, penalties=[{"kind": "isometric"}]).fit(alone, seed=0)
    with pytest.raises(NumericalError, match="mlp: the penalty parseval became infinite or NaN in epoch 1 .*strength"):
        fit(digits, {"kind": "parseval", "strength": 1e38})


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden": (20, 20), "whitening": {"after": 1}, "power": 3.0},
        {"penalties": [{"kind": "singular-value-bounds", "every": 2}], "power": 3.0},
        {"penalties": [{"kind": "spectral", "tau": 2}], "power": 3.0, "batch_size": 2000},
        {"penalties": [{"kind": "spectral", "tau": 2, "basis": "batch"}], "power": 3.0},
    ],
)
@pytest.mark.filterwarnings("ignore:the spectrum of a batch")
def test_a_divergence_is_always_the_same_error(settings, digits):
    network = MLP(**{"hidden": (30,), "epochs": 3, "activation": "relu", "learning_rate": 1e20, **settings})
    with pytest.raises(NumericalError, match=r"mlp: .* in epoch \d at learning rate 1e\+20\. Lower the rate"):
        network.fit(digits["train"], seed=0)


def test_currents_may_be_bent_towards_an_absolute_spectrum(digits):
    """As Holzhausen et al. (2024) meant it: the variances themselves, of the currents of the hidden layer."""
    penalty = {"kind": "spectral", "of": "preactivation", "target": "absolute", "tau": 0, "strength": 5.0}
    settings = {"epochs": 60, "learning_rate": 3e-3}
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
