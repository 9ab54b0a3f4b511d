"""The network of Beshkov et al.: what each level reads, what its steps leave alone, and which labels nest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import biorep
from biorep.bridge import score
from biorep.errors import ConfigError
from biorep.networks.backprop.hierarchical import Hierarchical
from biorep.nn.schedule import Schedule
from biorep.nn.training import Training

HALVES = [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
PUBLISHED_PAIRS = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
PAIRS = [[0, 1], [2, 3, 4], [5, 6], [7, 8], [9]]
CLASSES = [str(digit) for digit in range(10)]


def build(**settings):
    return Hierarchical(
        **{"levels": [HALVES, PAIRS, "classes"], "depths": (2, 1, 1), "width": 12, "epochs": 2, **settings}
    )


def test_each_level_reads_the_layers_up_to_its_depth():
    network = build()
    module = network.trainable((8, 8), 10, 0)
    rows = torch.rand(5, 64)
    responses = module.trace(rows)[0]
    for part, depth in zip(network.parts(module, CLASSES), (2, 3, 4), strict=True):
        hidden, _, logits = part.module.trace(rows)
        assert len(hidden) == depth
        torch.testing.assert_close(hidden[-1], responses[depth - 1])
        torch.testing.assert_close(logits, module.output(responses[depth - 1]))  # one output layer for all


def test_labels_of_the_levels():
    labels = torch.arange(10)
    parts = build().parts(build().trainable((8, 8), 10, 0), CLASSES)
    assert parts[0].relabel(labels).tolist() == [0] * 5 + [1] * 5
    assert parts[1].relabel(labels).tolist() == [0, 0, 1, 1, 1, 2, 2, 3, 3, 4]
    assert parts[2].relabel(labels).tolist() == list(range(10))


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_step_of_a_level_moves_its_own_layers_and_the_output_alone(level):
    network = build(penalties=[{"kind": "isometric", "strength": 1.0}])
    module = network.trainable((8, 8), 10, 0)
    parts = network.parts(module, CLASSES)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    inputs, labels = torch.rand(30, 64), torch.arange(30) % 10
    settings = {"schedule": Schedule(3, 10, 1e-2, {}), "penalties": network.penalties, "parts": [parts[level]]}
    Training(module, inputs, labels, seed=0, name="test", **settings).run()
    moved = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    own = [(0, 1), (2,), (3,)][level]
    expected = {f"hidden.blocks.{index}.layer.{kind}" for index in own for kind in ("weight", "bias")}
    assert moved == expected | {"output.weight", "output.bias"}
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_all_levels_learn_the_digits(digits):
    network = build(
        width=60, epochs=60, learning_rate=5e-3, input_norm=None, penalties=[{"kind": "isometric", "strength": 0.1}]
    )
    state = network.fit(digits["train"], seed=0, validation=digits["validation"])
    assert float(score(state, network.encode(state, digits["test"])).mean()) > 0.9
    for name in ("validation_accuracy_level_1", "validation_accuracy_level_2", "validation_accuracy"):
        assert float(state[name][-1]) > 0.9
    assert np.isfinite(state["penalty_isometric_level_1"]).all()


def test_published_pairs_do_not_nest(digits):
    with pytest.raises(ConfigError, match="the group 4, 5 of level 2 is split by level 1"):
        build(levels=[HALVES, PUBLISHED_PAIRS, "classes"]).fit(digits["train"], seed=0)
    state = build(levels=[HALVES, PUBLISHED_PAIRS, "classes"], nesting="published", epochs=1)
    assert "loss_level_2" in state.fit(digits["train"], seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"levels": [[[0, 1], [2, 3, 4, 5, 6, 7, 8, "ten"]], "classes"]}, "level 1 names the class 'ten'"),
        ({"levels": [[[0, 1], [1, 2, 3, 4, 5, 6, 7, 8, 9]], "classes"]}, "has the class '1' in two groups"),
        ({"levels": [[[0, 1], [2, 3, 4, 5, 6, 7, 8]], "classes"]}, "leaves out the classes 9"),
        ({"levels": [[[], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]], "classes"]}, "group 1 of level 1 is empty"),
    ],
)
def test_levels_that_do_not_fit_the_classes_are_explained(digits, settings, message):
    with pytest.raises(ConfigError, match=message):
        build(depths=(1, 1), **settings).fit(digits["train"], seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depths": [1]}, "depths has 1 values for 3 levels"),
        ({"levels": [HALVES, PAIRS]}, "the last level must be 'classes'"),
        ({"levels": ["classes"], "depths": [0]}, "depths"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message):
    base = {"levels": [HALVES, PAIRS, "classes"], "depths": [1, 1, 1]}
    if "levels" in settings and "depths" not in settings:
        base["depths"] = [1] * len(settings["levels"])
    with pytest.raises(ConfigError, match=message):
        biorep.network("hierarchical", **{**base, **settings})
