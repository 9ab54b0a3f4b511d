"""What the history says of a training, against values computed by other means, and stopping at a given accuracy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import biorep
from biorep.bridge import score
from biorep.checkpoint import Checkpoint
from biorep.context import RunContext
from biorep.errors import ConfigError, SplitError
from biorep.networks.backprop.backprop import RECORDED
from biorep.networks.backprop.mlp import MLP
from biorep.networks.backprop.watch import exact_values, names
from biorep.networks.base import report_of, warnings_of
from biorep.nn.loss import Forward, trace
from biorep.nn.schedule import Schedule
from biorep.nn.training import Training
from biorep.penalties import (
    JacobianPenalty,
    SpectralNormPenalty,
    holzhausen_jacobian_penalty,
    jacobian_penalty,
)
from biorep.penalties.singular_values import bound_singular_values
from biorep.spectra import eigenspectrum, fit_powerlaw

SETTINGS = {"hidden": (40,), "epochs": 6, "batch_size": 100, "activation": "tanh", "learning_rate": 1e-2}


def test_history_is_that_of_the_frozen_network(digits):
    network = MLP(**SETTINGS, evaluate=len(digits["validation"]["label"]))
    state = network.fit(digits["train"], seed=0, validation=digits["validation"])
    encoded = network.encode(state, digits["validation"])
    correct = float(score(state, encoded).mean())
    assert float(state["validation_accuracy"][-1]) == pytest.approx(correct)
    assert float(state["evaluation_accuracy"][-1]) == pytest.approx(correct)
    alpha = float(fit_powerlaw(eigenspectrum(encoded))["alpha"])
    assert float(state["evaluation_exponent"][-1]) == pytest.approx(alpha, rel=1e-4)
    weights = [state[name].values.astype(float) for name in ("weights_0", "readout_weights")]
    singular = [np.linalg.svd(matrix, compute_uv=False) for matrix in weights]
    assert float(state["value_spectral-norm"][-1]) == pytest.approx(sum(s[0] ** 2 for s in singular) / 2, rel=1e-5)
    parseval = ((singular[0] ** 2 - 1) ** 2).sum()
    assert float(state["value_parseval"][-1]) == pytest.approx(parseval, rel=1e-5)
    rows = digits["validation"]["image"].values.reshape(-1, 64).astype(float)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    slopes = 1 - np.tanh(rows @ weights[0].T) ** 2
    squares = [np.square(weights[1] * slope @ weights[0]).sum() for slope in slopes]
    assert float(state["value_jacobian"][-1]) == pytest.approx(np.mean(squares) / 2, rel=1e-4)
    for name in names(network.recorded()):
        assert state[name].dims == ("epoch",)
        assert state[name].attrs["long_name"]
    assert len(network.recorded()) == len(RECORDED) == 7


def test_values_are_recorded_as_often_as_asked_and_at_the_end(digits):
    state = MLP(**SETTINGS, evaluate=50, evaluate_every=4).fit(digits["train"], seed=0)
    assert np.isfinite(state["value_jacobian"]).values.tolist() == [False, False, False, True, False, True]
    assert "validation_accuracy" not in state
    assert not any(name in MLP(**SETTINGS, evaluate=0).fit(digits["train"], seed=0) for name in names(MLP().recorded()))


def test_what_is_recorded_is_a_setting_with_a_fixed_default(digits):
    network = MLP(**SETTINGS, record=["parseval"], penalties=[{"kind": "jacobian", "n_proj": 2}])
    assert [(penalty.word, getattr(penalty, "n_proj", None)) for penalty in network.recorded()] == [
        ("parseval", None),
        ("jacobian", 2),
    ]
    state = network.fit(digits["train"], seed=0)
    assert {str(name) for name in state if str(name).startswith("value_")} == {"value_parseval", "value_jacobian"}
    default = MLP(**SETTINGS, penalties=network.penalties).fit(digits["train"], seed=0)
    np.testing.assert_array_equal(default["value_parseval"], state["value_parseval"])
    np.testing.assert_array_equal(default["weights_0"], state["weights_0"])
    keys = [MLP(record=words).hash_payload()["record"] for words in (RECORDED, RECORDED[::-1], RECORDED[:2])]
    assert keys[0] == keys[1] == MLP().hash_payload()["record"] != keys[2]


def test_versions_of_what_is_recorded_trained_and_shared_are_part_of_the_identity():
    versions = biorep.network("mlp", record=["l2"], penalties=["parseval"], objective="trades").identity()["versions"]
    assert set(versions) == {
        *("encoder", "backprop", "training", "initial-weights", "mlp"),
        *("l2", "parseval", "trades", "ascent"),
    }


def test_watching_changes_no_weight(digits):
    watched = MLP(**SETTINGS).fit(digits["train"], seed=0, validation=digits["validation"])
    alone = MLP(**SETTINGS, evaluate=0).fit(digits["train"], seed=0)
    np.testing.assert_array_equal(watched["weights_0"], alone["weights_0"])


def test_training_stops_at_the_accuracy_asked_for(digits):
    long = {**SETTINGS, "epochs": 60}
    whole = MLP(**long).fit(digits["train"], seed=0, validation=digits["validation"])
    wanted = 0.9
    first = int(np.argmax(whole["validation_accuracy"].values >= wanted))
    network = MLP(**long, stop_accuracy=wanted)
    stopped = network.fit(digits["train"], seed=0, validation=digits["validation"])
    assert stopped.sizes["epoch"] == first + 1 < 60
    assert report_of(stopped)["epochs"] == first + 1
    np.testing.assert_array_equal(stopped["validation_accuracy"], whole["validation_accuracy"][: first + 1])
    assert np.isfinite(stopped["value_jacobian"][-1])
    assert float(score(stopped, network.encode(stopped, digits["validation"])).mean()) >= wanted
    assert not warnings_of(stopped)


def test_an_accuracy_that_is_not_reached_is_said(digits):
    state = MLP(**SETTINGS, stop_accuracy=1.0).fit(digits["train"], seed=0, validation=digits["validation"])
    assert "ended after 6 epochs with a validation accuracy of" in warnings_of(state)[0]
    with pytest.raises(ConfigError, match="set dataset.fit_on to 'train'"):
        MLP(**SETTINGS, stop_accuracy=0.9).fit(digits["train"], seed=0)


def test_validation_images_are_validation_images(digits):
    from biorep import datasets
    from biorep.errors import DataError, SplitError

    network = MLP(**SETTINGS)
    for split in ("train", "test"):
        with pytest.raises(SplitError, match=f"must not see presentations of the split '{split}'"):
            network.fit(digits["train"], seed=0, validation=digits[split])
    with pytest.raises(DataError, match="that is not empty"):
        network.fit(digits["train"], seed=0, validation=digits["validation"].isel(presentation=slice(0)))
    other = datasets.from_arrays(np.zeros((20, 4, 4)), np.arange(20) % 10, split="validation")
    with pytest.raises(DataError, match=r"validation images are \(4, 4\)"):
        network.fit(digits["train"], seed=0, validation=other)


def test_a_training_killed_after_it_stopped_does_not_go_on(digits, tmp_path, monkeypatch):
    network = MLP(**{**SETTINGS, "epochs": 60}, stop_accuracy=0.9)
    whole = network.fit(digits["train"], seed=0, validation=digits["validation"])
    context = RunContext(checkpoint=tmp_path, checkpoint_every=0.0)
    monkeypatch.setattr(Checkpoint, "remove", lambda self: None)
    network.fit(
        digits["train"], seed=0, validation=digits["validation"], context=context
    )  # as if killed before the end
    resumed = network.fit(digits["train"], seed=0, validation=digits["validation"], context=context)
    assert resumed.sizes["epoch"] == whole.sizes["epoch"]
    np.testing.assert_array_equal(resumed["weights_0"], whole["weights_0"])


@pytest.mark.parametrize("target", ["features", "preactivation"])
@pytest.mark.parametrize("hidden", [(7,), (9, 7)])
def test_exact_jacobian_of_hidden_layers(target, hidden):
    module = MLP(hidden=hidden, activation="tanh", batch_norm=True).trainable((6,), 3, 0).double()
    rows = torch.rand(10, 6, dtype=torch.float64)
    module.train()(rows)  # so that BatchNorm has statistics
    module.eval()
    inputs = rows.clone().requires_grad_()
    layers, currents, logits = trace(module, inputs)
    forward = Forward(module, inputs, torch.zeros(10, dtype=torch.int64), logits, layers, currents)
    found = JacobianPenalty(target=target).exact(forward)
    outputs = layers[-1] if target == "features" else currents
    torch.testing.assert_close(found, jacobian_penalty(outputs, inputs, n_proj=-1))


def test_the_published_variant_is_a_third_of_the_norm():
    """The mean over directions is (1 + (n - 1) / B) / n of the mean squared norm, and has no factor 1/2."""
    torch.manual_seed(0)
    matrix, samples = torch.randn(5, 4, dtype=torch.float64), 10
    inputs = torch.rand(samples, 4, dtype=torch.float64, requires_grad=True)
    generator = torch.Generator().manual_seed(1)
    draws = torch.stack(
        [
            holzhausen_jacobian_penalty(inputs @ matrix.T, inputs, n_proj=3, generator=generator).detach()
            for _ in range(4000)
        ]
    )
    expected = float(matrix.square().sum()) * (1 + 2 / samples) / 3
    assert abs(float(draws.mean()) - expected) < 4 * float(draws.std()) / 4000**0.5
    with pytest.raises(ConfigError, match="at least 1"):
        holzhausen_jacobian_penalty(inputs @ matrix.T, inputs, n_proj=-1)


def test_published_variant_is_of_the_preactivation():
    with pytest.raises(ConfigError, match="variant 'holzhausen' goes with target 'preactivation'"):
        biorep.network("mlp", penalties=[{"kind": "jacobian", "variant": "holzhausen"}])


def test_singular_values_are_bounded_in_place():
    torch.manual_seed(0)
    matrix = torch.randn(6, 9, dtype=torch.float64)
    before = torch.linalg.svdvals(matrix)
    bound_singular_values([matrix], bound=0.5)
    torch.testing.assert_close(torch.linalg.svdvals(matrix), before.clamp(1 / 1.5, 1.5))


def test_singular_value_bounds_hold_after_training(digits):
    penalty = {"kind": "singular-value-bounds", "bound": 0.05}  # its 600 steps never pass: at the end of each epoch
    state = MLP(**SETTINGS, penalties=[penalty]).fit(digits["train"], seed=0)
    assert (state["value_singular-value-bounds"] < 1e-5).all()
    values = np.linalg.svd(state["weights_0"].values, compute_uv=False)
    assert values.max() < 1.05 + 1e-5
    assert values.min() > 1 / 1.05 - 1e-5


def test_exact_spectral_norm_has_converged():
    weights = torch.nn.Linear(30, 20, bias=False)
    values = torch.linalg.svdvals(weights.weight.detach())
    forward = Forward(weights, torch.zeros(1, 30), torch.zeros(1, dtype=torch.int64), torch.zeros(1, 20))
    torch.testing.assert_close(SpectralNormPenalty().exact(forward), values[0] ** 2 / 2)


def test_values_of_a_network_too_small_for_them_are_nan(digits):
    module = MLP(hidden=(5,)).trainable((8, 8), 10, 0)
    rows = torch.rand(20, 64)
    penalties = MLP().recorded()
    values = exact_values(module, rows, torch.arange(20) % 10, penalties)
    assert np.isnan(values["value_spectral"])  # its anchor is component 11
    assert np.isnan(values["evaluation_exponent"])
    assert np.isfinite(values["value_isometric"])
    assert np.isnan(
        exact_values(module, rows[:3], torch.arange(3), penalties)["value_isometric"]
    )  # without a pair of a class


def test_decoupled_decay_is_that_of_adamw():
    torch.manual_seed(0)
    module, twin = torch.nn.Linear(5, 3), torch.nn.Linear(5, 3)
    twin.load_state_dict(module.state_dict())
    inputs, labels = torch.randn(6, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    schedule = Schedule(3, 6, 0.01, {}, decay=0.5)
    Training(module, inputs, labels, schedule=schedule, seed=0, name="test").run()
    optimiser = torch.optim.AdamW(twin.parameters(), lr=0.01, weight_decay=0.5)
    for _ in range(3):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(twin(inputs), labels).backward()
        optimiser.step()
    torch.testing.assert_close(module.weight, twin.weight, atol=1e-6, rtol=0)


@pytest.mark.parametrize("init", ["normal", "uniform", "glorot", "orthogonal"])
def test_initial_weights_follow_their_convention(init):
    module = MLP(hidden=(300, 200), bias=True, init=init).trainable((100,), 10, 0)
    module.requires_grad_(False)
    first, second = (block.layer for block in module.hidden)
    if init == "normal":
        assert float(first.weight.std()) == pytest.approx(np.sqrt(2 / 100), rel=0.02)
        assert float(first.bias.abs().max()) == 0
    elif init == "uniform":
        assert float(first.weight.abs().max()) == pytest.approx(0.1, rel=0.01)
        assert float(second.bias.abs().max()) == pytest.approx(1 / np.sqrt(300), rel=0.05)
        assert float(second.weight.std()) == pytest.approx(1 / np.sqrt(3 * 300), rel=0.02)
    elif init == "glorot":
        assert float(second.weight.std()) == pytest.approx(np.sqrt(2 / (300 + 200)), rel=0.02)
        assert float(second.bias.abs().max()) == pytest.approx(1 / np.sqrt(300), rel=0.05)
    else:
        torch.testing.assert_close(first.weight.T @ first.weight, torch.eye(100), atol=1e-5, rtol=0)
        torch.testing.assert_close(second.weight @ second.weight.T, torch.eye(200), atol=1e-5, rtol=0)
        assert float(module.output.weight.abs().max()) == pytest.approx(1 / np.sqrt(200), rel=0.05)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("mlp", {"hidden": [0]}, "hidden"),
        ("cnn", {"channels": [-3]}, "channels"),
        ("mlp", {"milestones": {1: -0.01}}, "milestones are epoch >= 0: rate >= 0"),
        ("mlp", {"milestones": {-1: 0.01}}, "milestones are epoch >= 0: rate >= 0"),
    ],
)
def test_bad_settings_are_explained(kind, settings, message):
    with pytest.raises(ConfigError, match=message):
        biorep.network(kind, **settings)


def test_batches_of_one_are_refused_with_batch_norm(digits):
    with pytest.raises(ConfigError, match="BatchNorm needs two images in every batch"):
        MLP(hidden=(10,), batch_norm=True, batch_size=1).fit(digits["train"], seed=0)


def test_a_last_batch_of_one_is_refused_with_batch_norm(digits):
    count = len(digits["train"]["label"])
    with pytest.raises(ConfigError, match=f"the last of {count} images in batches of {count - 1} is alone"):
        MLP(hidden=(10,), batch_norm=True, batch_size=count - 1).fit(digits["train"], seed=0)


def test_validation_images_that_are_learnt_from_are_refused(digits):
    words = np.full(digits["train"].sizes["presentation"], "validation")
    again = digits["train"].assign_coords(split=("presentation", words))
    network = biorep.network("mlp", hidden=[5], epochs=1)
    with pytest.raises(SplitError, match="watching the training: .* stimuli were used for fitting"):
        network.fit(digits["train"], validation=again, seed=0)
