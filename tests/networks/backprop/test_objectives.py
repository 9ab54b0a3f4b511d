"""Training against perturbed images: what the inner attacks may and must do, and what comes out of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import biorep
from biorep.bridge import classifier
from biorep.errors import ConfigError
from biorep.networks.backprop.mlp import MLP
from biorep.networks.backprop.objectives import AdversarialTraining, NoiseTraining, Trades, ascend
from biorep.nn.loss import Forward, Problem
from biorep.robustness.pgd import pgd
from biorep.tables import OBJECTIVES


def problem(module, bounds=(0.0, 1.0), seed=0):
    return Problem(module, module, bounds, torch.Generator().manual_seed(seed))


def linear(classes=3, inputs=8):
    torch.manual_seed(0)
    return nn.Linear(inputs, classes).double()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_ascent_stays_in_ball_and_box(norm):
    images = torch.rand(20, 8, dtype=torch.float64)
    settings = {"epsilon": 0.2, "norm": norm, "steps": 10, "step": 0.05, "bounds": (0.0, 1.0)}
    moved = ascend(lambda x: linear()(x)[:, 0].sum(), images + 1.0, images, **settings)
    size = (moved - images).norm(p=math.inf if norm == "linf" else 2, dim=1)
    assert float(size.max()) <= 0.2 + 1e-12
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1
    assert not moved.requires_grad


def test_ascent_on_a_linear_function_ends_at_the_corner():
    module, images = linear(), torch.full((1, 8), 0.5, dtype=torch.float64)
    settings = {"epsilon": 0.1, "norm": "linf", "steps": 20, "step": 0.02, "bounds": (0.0, 1.0)}
    moved = ascend(lambda x: module(x)[:, 0].sum(), images, images, **settings)
    torch.testing.assert_close(moved, images + 0.1 * module.weight[0].detach().sign())


def test_adversarial_batch_of_two_classes_is_the_analytic_worst_case():
    """For two classes and a linear map the loss is largest where the margin is smallest: at the corner against it."""
    module, images, labels = linear(2), torch.rand(30, 8, dtype=torch.float64), torch.arange(30) % 2
    objective = AdversarialTraining(epsilon=0.05, steps=40, step=0.01)
    moved = objective.batch(images, labels, problem(module, bounds=(-1.0, 2.0)))
    apart = (module.weight[1] - module.weight[0]).detach()
    towards = torch.where(labels[:, None] == 0, apart, -apart).sign()
    torch.testing.assert_close(moved, images + 0.05 * towards)


def test_trades_is_cross_entropy_plus_the_largest_divergence():
    module, images, labels = linear(2), torch.rand(12, 8, dtype=torch.float64), torch.arange(12) % 2
    objective = Trades(beta=3.0, epsilon=0.05, steps=60, step=0.01)
    forward = Forward(module, images, labels, module(images))
    terms = objective.terms(forward, images, problem(module, bounds=(-1.0, 2.0)))
    torch.testing.assert_close(terms["loss"], nn.functional.cross_entropy(module(images), labels))
    found = sum(terms.values()).detach()
    apart = (module.weight[1] - module.weight[0]).detach().sign()
    with torch.no_grad():
        clean = torch.softmax(module(images), 1)
        corners = [torch.log_softmax(module(images + sign * 0.05 * apart), 1) for sign in (1, -1)]
        divergences = torch.stack([(clean * (clean.log() - corner)).sum(1) for corner in corners]).amax(0)
        expected = nn.functional.cross_entropy(module(images), labels) + 3.0 * divergences.mean()
    # The ascent finds one of the two corners, as a rule the larger one.
    assert float(found) <= float(expected) + 1e-9
    assert float(found) == pytest.approx(float(expected), rel=0.02)
    plain = Trades(beta=0.0, steps=1).terms(forward, images, problem(module))
    assert float(plain["loss_divergence"].detach()) == 0


def test_noise_has_its_standard_deviation_and_stays_in_the_range():
    images = torch.full((500, 100), 0.5)
    noisy = NoiseTraining(sd=0.05).batch(images, torch.zeros(500), problem(nn.Identity()))
    assert float(noisy.std()) == pytest.approx(0.05, rel=0.02)
    clipped = NoiseTraining(sd=2.0).batch(images, torch.zeros(500), problem(nn.Identity()))
    assert (float(clipped.min()), float(clipped.max())) == (0.0, 1.0)


def test_inner_attack_leaves_running_statistics_alone():
    module = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 3)).train()
    before = module[0].running_mean.clone()
    AdversarialTraining(steps=3).batch(torch.rand(10, 8), torch.zeros(10, dtype=torch.int64), problem(module))
    torch.testing.assert_close(module[0].running_mean, before)
    assert module.training


@pytest.mark.parametrize(
    "objective",
    [
        {"kind": "adversarial", "epsilon": 0.1, "steps": 7, "step": 0.03},
        {"kind": "trades", "beta": 2, "epsilon": 0.1, "steps": 7, "step": 0.03},
        {"kind": "noise", "sd": 0.3},
    ],
)
def test_training_makes_a_network_harder_to_fool(digits, objective):
    settings = {"hidden": (50,), "epochs": 40, "learning_rate": 3e-3}
    images = torch.as_tensor(digits["test"]["image"].values)
    labels = torch.as_tensor(digits["test"]["label"].values)
    accuracies = []
    for network in (MLP(**settings), MLP(**settings, objective=objective)):
        state = network.fit(digits["train"], seed=0)
        model = classifier(network, state, state)
        attacked = pgd(model, images, labels, epsilon=0.1, steps=20)
        accuracies.append(
            [float((model(x).argmax(1) == labels).double().mean()) for x in (images, attacked)],
        )
    assert ("loss_divergence" in state) == (objective["kind"] == "trades")
    (clean, fooled), (clean_after, fooled_after) = accuracies
    assert clean_after > clean - 0.03
    assert fooled_after > fooled + (0.1 if objective["kind"] == "noise" else 0.25)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (
            {"kind": "trade"},
            "objective.kind: unknown objective 'trade'; did you mean 'trades'. Available: adversarial, ",
        ),
        ("noize", "did you mean 'noise'"),
        ({"kind": "trades", "bta": 1}, r"unknown key 'objective\.bta' \(value 1\); did you mean 'beta'"),
        ({"kind": "noise", "sd": -1}, r"'objective\.sd' is -1, but input should be greater than 0"),
    ],
)
def test_bad_objectives_are_explained(objective, message):
    with pytest.raises(ConfigError, match=message):
        biorep.network("mlp", objective=objective)


@pytest.mark.parametrize("word", OBJECTIVES)
def test_every_objective_has_its_version(word):
    assert OBJECTIVES.load(word)().all_versions()[word] == 1
    assert biorep.network("mlp", objective=word) == biorep.network("mlp", objective={"kind": word})


def test_the_plain_objective_is_left_out_of_the_key():
    assert "objective" not in MLP().hash_payload()
    assert MLP(objective={"kind": "noise"}).hash_payload()["objective"] == {"kind": "noise", "sd": 0.1}


MINE = """
from biorep.networks.backprop.objectives import BaseObjective

class Doubled(BaseObjective):
    kind: str

    def terms(self, forward, images, problem):
        return {name: 2 * term for name, term in super().terms(forward, images, problem).items()}
"""


def test_an_objective_of_the_user_s_can_be_named(digits, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    networks = [MLP(hidden=(5,), epochs=1), MLP(hidden=(5,), epochs=1, objective=f"{tmp_path}/mine.py:Doubled")]
    plain, doubled = (network.fit(digits["train"], seed=0) for network in networks)
    assert float(doubled["loss"][0]) == pytest.approx(2 * float(plain["loss"][0]), rel=1e-3)
