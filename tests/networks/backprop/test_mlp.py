"""The backprop baseline and its penalty."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import biorep
from biorep.bridge import classifier, score
from biorep.context import RunContext
from biorep.errors import NumericalError, SplitError
from biorep.networks.backprop.mlp import MLP
from biorep.networks.base import report_of
from biorep.nn.schedule import Schedule
from biorep.nn.training import Training
from biorep.penalties import WeightPenalty, weight_penalty


def test_learns_the_digits(digits):
    network = MLP(hidden=(100,), epochs=80)
    state = network.fit(digits["train"], seed=0)
    assert float(score(state, network.encode(state, digits["test"])).mean()) > 0.94
    assert float(state["loss"][-1]) < 0.2 * float(state["loss"][0])
    assert report_of(state)["training_accuracy"] > 0.97


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"activation": "tanh"},
        {"activation": "softplus"},
        {"power": 2.0},
        {"hidden": (12, 8), "bias": True},
        {"hidden": (12, 8), "batch_norm": True, "activation": "tanh"},
        {"optimiser": "sgd"},
        {"optimiser": "amsgrad"},
    ],
)
def test_frozen_module_equals_the_equations(digits, settings):
    network = MLP(**{"hidden": (10,), "epochs": 1, **settings})
    state = network.fit(digits["train"], seed=0)
    rows = digits["test"]["image"].values.reshape(-1, 64).astype(float)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for index in range(len(network.hidden)):
        currents = rows @ state[f"weights_{index}"].values.T
        if network.bias:
            currents = currents + state[f"bias_{index}"].values
        rows = {
            "tanh": np.tanh,
            "softplus": lambda h: np.log1p(np.exp(h)),
            "relu": lambda h: np.maximum(h, 0) ** network.power,
        }[network.activation](currents)
        if network.batch_norm:
            mean, variance, weight, bias = (
                state[f"norm_{name}_{index}"].values for name in ("mean", "variance", "weight", "bias")
            )
            rows = (rows - mean) / np.sqrt(variance + 1e-5) * weight + bias
    np.testing.assert_allclose(network.encode(state, digits["test"])["response"], rows, atol=1e-4)
    before = network.encode(state, digits["test"], quantity="preactivation")["response"]
    np.testing.assert_allclose(before, currents, atol=1e-4)
    logits = rows @ state["readout_weights"].values.T + state["readout_bias"].values
    model = classifier(network, state, state)
    np.testing.assert_allclose(model(torch.as_tensor(digits["test"]["image"].values)), logits, atol=1e-3)


def test_the_page_shows_the_histories(digits):
    network = MLP(hidden=(10,), epochs=3, evaluate=50)
    states = [network.fit(digits["train"], seed=seed) for seed in (0, 1)]
    untrained = MLP(hidden=(10,), epochs=0).fit(digits["train"], seed=0)
    rows = {"mlp": [xr.DataTree(state) for state in states], "untrained": [xr.DataTree(untrained)]}
    (drawing,) = network.figures(rows)
    assert drawing.name == "training"
    assert len(drawing.figure.axes[0].get_lines()) == 2 * 2
    assert [text.get_text() for text in drawing.figure.legends[0].get_texts()] == ["mlp"]
    assert list(network.figures({"untrained": rows["untrained"]})) == []


def test_weight_penalty_is_the_sum_of_squares_and_its_gradient():
    module = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).double()
    value = weight_penalty(module)
    expected = sum(float((p.detach() ** 2).sum()) for p in module.parameters())
    assert float(value.detach()) == pytest.approx(expected, rel=1e-12)
    value.backward()
    for parameter in module.parameters():
        torch.testing.assert_close(parameter.grad, 2 * parameter.detach())


def test_penalty_enters_the_loss_with_its_strength_and_shrinks_the_weights(digits):
    plain = MLP(hidden=(50,), epochs=10).fit(digits["train"], seed=0)
    network = MLP(hidden=(50,), epochs=10, penalties=({"kind": "l2", "strength": 5e-3},))
    penalised = network.fit(digits["train"], seed=0)
    assert float((penalised["weights_0"] ** 2).sum()) < 0.7 * float((plain["weights_0"] ** 2).sum())
    squares = sum(float((penalised[n] ** 2).sum()) for n in ("weights_0", "readout_weights", "readout_bias"))
    assert float(penalised["penalty_l2"][-1]) == pytest.approx(5e-3 * squares, rel=0.05)


def test_first_step_is_adam_on_the_cross_entropy_plus_penalty():
    """One full-batch step against torch's optimiser driven by hand."""
    torch.manual_seed(0)
    module, twin = nn.Linear(5, 3), nn.Linear(5, 3)
    twin.load_state_dict(module.state_dict())
    inputs, labels = torch.randn(8, 5), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    schedule, penalties = Schedule(1, 8, 0.01, {}), [WeightPenalty(strength=0.1)]
    Training(module, inputs, labels, schedule=schedule, seed=0, name="test", penalties=penalties).run()
    optimiser = torch.optim.Adam(twin.parameters(), lr=0.01)
    loss = nn.functional.cross_entropy(twin(inputs), labels) + 0.1 * sum(p.square().sum() for p in twin.parameters())
    loss.backward()
    optimiser.step()
    torch.testing.assert_close(module.weight, twin.weight, atol=1e-6, rtol=0)


def test_schedule_follows_its_milestones():
    schedule = Schedule(10, 1, 1e-3, {3: 5e-4, 6: 1e-4})
    assert [schedule.rate_at(e) for e in (0, 2, 3, 5, 6, 9)] == [1e-3, 1e-3, 5e-4, 5e-4, 1e-4, 1e-4]


def test_schedule_fades():
    schedule = Schedule(200, 1, 1e-3, {}, fade=(90, 30.0))
    assert [schedule.rate_at(e) for e in (0, 90)] == [1e-3, 1e-3]
    assert schedule.rate_at(120) == pytest.approx(1e-3 * np.exp(-1))
    with pytest.raises(biorep.BiorepError, match=r"fade is \[start >= 0, time > 0\]"):
        biorep.network("mlp", fade=[10, 0])


def test_a_killed_training_resumes_and_ends_bit_for_bit_the_same(digits, tmp_path, monkeypatch):
    network = MLP(hidden=(20,), epochs=6, penalties=({"kind": "l2", "strength": 1e-4},))
    whole = network.fit(digits["train"], seed=0)
    run, original, calls = RunContext(checkpoint=tmp_path, checkpoint_every=0), Training.epoch, []

    def die_in_the_fourth(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(Training, "epoch", die_in_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        network.fit(digits["train"], seed=0, context=run)
    assert [path.name for path in tmp_path.iterdir()] == ["mlp.pt"]
    resumed = network.fit(digits["train"], seed=0, context=run)
    assert len(calls) == 4 + 3
    for name in ("weights_0", "readout_weights", "loss"):
        np.testing.assert_array_equal(resumed[name], whole[name])


def test_a_divergence_names_the_learning_rate(digits):
    with pytest.raises(NumericalError, match="the loss became .* at learning rate 1e\\+30"):
        MLP(hidden=(10,), power=3.0, epochs=3, learning_rate=1e30).fit(digits["train"], seed=0)


def test_a_divergence_of_the_last_step_is_named(digits):
    settings = {"batch_size": len(digits["train"]["label"]), "epochs": 1, "optimiser": "sgd", "learning_rate": 3e38}
    with pytest.raises(NumericalError, match="a weight became infinite or NaN in epoch 1"):
        MLP(hidden=(10,), penalties=[{"kind": "l2", "strength": 100}], **settings).fit(digits["train"], seed=0)


def test_test_images_are_refused(digits):
    with pytest.raises(SplitError, match="training of 'mlp'"):
        MLP(hidden=(10,), epochs=1).fit(digits["test"], seed=0)


def test_unknown_penalty_is_explained():
    from biorep.errors import ConfigError

    with pytest.raises(ConfigError, match="penalties"):
        biorep.network("mlp", penalties=[{"kind": "l3"}])
