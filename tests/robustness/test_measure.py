"""Robustness as a measure: its settings, what it asks for, and what people see of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
import torch

from biorep.config import digest
from biorep.context import RunContext
from biorep.contracts import Images, Model, Result
from biorep.errors import ConfigError
from biorep.robustness import FGSM, PGD, Attack, Robustness, evaluate
from biorep.tables import ATTACKS, MEASURES


class Grey(Attack):
    """A user's attack: towards grey."""

    kind: Literal["grey"] = "grey"

    def __call__(self, problem, index, epsilon):
        images = problem.images[index]
        return images + (0.5 - images).clamp(-epsilon.view(-1, 1, 1), epsilon.view(-1, 1, 1))


@pytest.fixture(scope="module")
def model():
    """A random classifier of the pixels that says what it takes."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()


def _recipe(depends_on_batch=False):
    return SimpleNamespace(network=SimpleNamespace(depends_on_batch=depends_on_batch), repeats=None)


def test_the_words_of_the_tables():
    assert isinstance(MEASURES.parse({"kind": "robustness"}), Robustness)
    assert ATTACKS.parse({"kind": "pgd", "steps": 3}) == PGD(steps=3)
    assert Robustness().attacks == (FGSM(), PGD())
    plan = MEASURES.parse({"kind": "robustness", "attacks": [{"kind": "pgd", "steps": 20}, "fgsm"], "l2": []})
    assert plan.attacks == (PGD(steps=20), FGSM())
    assert plan.l2 == (0.0,)
    assert MEASURES.parse(plan.model_dump(mode="json")) == plan


def test_a_misspelt_key_of_an_attack_is_explained():
    with pytest.raises(ConfigError, match="unknown key 'stesp' .*did you mean 'steps'"):
        ATTACKS.parse({"kind": "pgd", "stesp": 3})
    with pytest.raises(ConfigError, match=r"unknown key 'attacks.1.stesp' .*did you mean 'steps'"):
        MEASURES.parse({"kind": "robustness", "attacks": ["fgsm", {"kind": "pgd", "stesp": 3}]})
    with pytest.raises(ConfigError, match="unknown attack 'pdg'; did you mean 'pgd'"):
        MEASURES.parse({"kind": "robustness", "attacks": ["pdg"]})
    with pytest.raises(ConfigError, match="attacks: each attack can be named once"):
        MEASURES.parse({"kind": "robustness", "attacks": ["pgd", "pgd"]})
    with pytest.raises(ConfigError, match="linf: epsilons must be non-negative and ascend"):
        MEASURES.parse({"kind": "robustness", "linf": [0.2, 0.1]})


def test_every_setting_of_an_attack_enters_the_key():
    keys = {
        digest(Robustness(attacks=(attack,)).identity())
        for attack in (
            FGSM(),
            FGSM(loss="margin"),
            PGD(),
            PGD(steps=3),
            PGD(relative_step=0.1),
            PGD(restarts=3),
            PGD(random_start=False),
            PGD(loss="cross-entropy"),
        )
    }
    assert len(keys) == 8
    assert Robustness().identity()["versions"] == {"robustness": 2, "fgsm": 1, "pgd": 1}


def test_a_user_s_attack_from_a_file(tmp_path, model, digits):
    file = tmp_path / "mine.py"
    file.write_text(
        "from biorep.robustness import Attack\n\n\n"
        "class Still(Attack):\n"
        "    kind: str\n\n"
        "    def __call__(self, problem, index, epsilon):\n"
        "        return problem.images[index]\n"
    )
    plan = MEASURES.parse({"kind": "robustness", "attacks": [f"{file}:Still"], "images": 10, "l2": [], "noise": []})
    tree = plan.evaluate(model, digits["test"])
    assert tree["linf"]["attack"].values.tolist() == ["Still"]
    assert set(np.unique(tree["linf"]["critical_distance"])) <= {0, np.inf}


def test_it_needs_a_model_and_what_it_was_fitted_to():
    expected = {"model": Model("normalised"), "images": Images("validation"), "readout": Result("readout")}
    assert Robustness(space="normalised", split="validation").needs(_recipe()) == expected
    with pytest.raises(ConfigError, match="robustness has no meaning for a network whose answer to an image depends"):
        Robustness().needs(_recipe(depends_on_batch=True))


class Given(dict):
    seed = 3
    context = RunContext()


def test_make_equals_the_plain_function(model, digits):
    plan = Robustness(attacks=(Grey(), PGD(steps=3)), images=20, noise_draws=2, space="normalised")
    fitted = digits["train"]["stimulus_id"].rename("fitted_stimulus_id").to_dataset()
    tree = plan.make(Given(model=model, images=digits["test"], readout=fitted))
    settings = {"attacks": [Grey(), PGD(steps=3)], "images": 20, "noise_draws": 2}
    expected = evaluate(model, digits["test"], seed=3, **settings)
    for norm in ("linf", "l2", "noise"):
        assert tree[norm].to_dataset().identical(expected[norm].to_dataset())
    assert tree.attrs["space"] == "normalised"


def test_the_model_s_own_preparation_is_used(digits):
    class Halved(torch.nn.Module):
        def forward(self, images):
            assert images.max() <= 0.5 + 0.05 + 1e-6
            return images.flatten(1)[:, :10]

        def prepare(self, images):
            return images / 2

    Robustness(images=20, linf=(0.05,), l2=(), noise=()).evaluate(Halved().eval(), digits["test"])


def test_numbers_are_medians_of_the_weakest(model, digits):
    tree = evaluate(model, digits["test"], attacks=["fgsm", PGD(steps=5)], images=50)
    numbers = Robustness().numbers(tree)
    assert set(numbers) == {column.name for column in Robustness.columns}
    distance, right = tree["linf"]["critical_distance"].min("attack").values, tree["clean_correct"].values == 1
    assert numbers["critical_linf"] == pytest.approx(np.median(distance))
    assert numbers["critical_linf_correct"] == pytest.approx(np.median(distance[right]))
    assert numbers["critical_linf_correct"] > numbers["critical_linf"]  # a random classifier is mostly wrong
    assert Robustness().numbers(evaluate(model, digits["test"], attacks=[], images=5)) == {}


@pytest.mark.parametrize(
    ("space", "norm", "unit"),
    [("pixel", 3.0, "pixels"), ("normalised", 3.0, "unit-L3"), ("normalised", None, "normalised")],
)
def test_headings_have_the_unit_of_the_space(space, norm, unit):
    recipe = SimpleNamespace(network=SimpleNamespace(input_norm=norm))
    assert {column.unit for column in Robustness(space=space).columns_for(recipe)} == {unit}


def test_the_figure_shows_all_that_was_evaluated(model, digits):
    trees = [evaluate(model, digits["test"], images=10, l2=[], noise_draws=1, seed=seed) for seed in (0, 1)]
    (drawing,) = Robustness().figures({"net": trees, "without": []})
    assert drawing.name == "robustness"
    assert [axes.get_xlabel()[:2] for axes in drawing.figure.axes] == ["L∞", "SD"]
    assert list(Robustness().figures({"net": []})) == []
