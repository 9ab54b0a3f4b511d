"""A network that learns a hierarchy of labels, coarse ones early: each level reads the network at its own depth.

Beshkov, K., Verhellen, J. & Lepperød, M. E. (2022). Isometric representations in neural networks improve robustness.
arXiv:2211.01236. One output layer serves all levels; a step of a level leaves the layers of the levels before it alone.
With the penalty `isometric` each level keeps the distances of the inputs within its own groups of classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import field_validator, model_validator
from torch import nn

from biorep.config import Count, setting
from biorep.errors import ConfigError, did_you_mean
from biorep.networks.backprop.backprop import Backprop
from biorep.nn.initial import Init
from biorep.nn.layers import Activation, Block, Hidden, Trainable
from biorep.nn.loss import Part
from biorep.words import checked

#: A level: groups of names of classes, or each class by itself.
Level = Literal["classes"] | tuple[tuple[str, ...], ...]


class Hierarchical(Backprop):
    """Dense layers of one width, read at one depth for each level of labels; the last level names the classes."""

    reference: ClassVar[str] = "Beshkov et al. (2022), arXiv:2211.01236"
    versions: ClassVar[Mapping[str, int]] = {"hierarchical": 1}
    answers_by: ClassVar[tuple[str, ...]] = ("depths", "width")

    kind: Literal["hierarchical"] = "hierarchical"
    levels: tuple[Level, ...] = setting(
        ("classes",),
        min_length=1,
        description="coarse to fine; a level: groups of classes, [[0, 1, 2], [3, 4]], or `classes`, as the last one",
    )
    depths: tuple[Count, ...] = setting((5,), min_length=1, description="hidden layers that each level adds")
    width: int = setting(100, ge=1, description="neuroids of each hidden layer")
    nesting: Literal["strict", "published"] = setting(
        "strict", description="strict: a group lies within one group of the level before; published: it need not"
    )
    activation: Activation = setting("tanh", description="relu (with `power`), tanh or softplus")
    bias: bool = setting(True, description="whether hidden layers have a bias")
    init: Init = setting("orthogonal", description="weights at the start: orthogonal, uniform (2022) or normal")

    @field_validator("levels", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        """Take numbers for names of classes."""
        if not isinstance(value, list | tuple):
            return value
        return [
            [[str(name) for name in group] if isinstance(group, list | tuple) else group for group in level]
            if isinstance(level, list | tuple)
            else level
            for level in value
        ]

    @model_validator(mode="after")
    def _consistent(self) -> Hierarchical:
        if len(self.depths) != len(self.levels):
            raise ValueError(f"depths has {len(self.depths)} values for {len(self.levels)} levels")
        if self.levels[-1] != "classes":
            raise ValueError("the last level must be 'classes': it is the one that names them")
        return self

    def hidden_module(self, shape: tuple[int, ...]) -> Hidden:
        """Return the hidden layers, before training."""
        sizes = [int(np.prod(shape)), *[self.width] * sum(self.depths)]
        linear = [nn.Linear(a, b, bias=self.bias) for a, b in itertools.pairwise(sizes)]
        return Hidden([Block(layer, self.activation, self.power) for layer in linear])

    def parts(self, module: Trainable, classes: Sequence[str]) -> list[Part]:
        """Return a classifier for each level, the last one being the whole network."""
        groups = [groups_of(level, classes, number) for number, level in enumerate(self.levels, 1)]
        if self.nesting == "strict":
            for number, (coarse, fine) in enumerate(itertools.pairwise(groups), 1):
                check_nesting(coarse, fine, classes, number)
        device = module.output.weight.device
        ends = np.cumsum(self.depths)
        parts = []
        for number, (labels, end) in enumerate(zip(groups, ends, strict=True), 1):
            blocks = list(module.hidden)
            before = nn.ModuleList(blocks[: end - self.depths[number - 1]])
            last = number == len(groups)
            parts.append(
                Part(
                    "" if last else f"level_{number}",
                    module if last else Trainable(Hidden(blocks[:end]), module.output),
                    groups=None if last else torch.as_tensor(labels).to(device),
                    frozen=tuple(before.parameters()),
                )
            )
        return parts


@checked
def groups_of(level: Level, classes: Sequence[str], number: int) -> np.ndarray:
    """Return the group of each class, (class,) int64.

    Raises
    ------
    ConfigError
        If a class is unknown, missing, or in two groups, or a group is empty.
    """
    if level == "classes":
        return np.arange(len(classes))
    found = np.full(len(classes), -1)
    for group, names in enumerate(level):
        if not names:
            raise ConfigError(f"group {group + 1} of level {number} is empty")
        for name in names:
            if name not in classes:
                raise ConfigError(
                    f"level {number} names the class '{name}'{did_you_mean(name, classes) or '.'} "
                    f"Available: {', '.join(classes)}."
                )
            if found[classes.index(name)] >= 0:
                raise ConfigError(f"level {number} has the class '{name}' in two groups")
            found[classes.index(name)] = group
    if (found < 0).any():
        missing = ", ".join(name for name, group in zip(classes, found, strict=True) if group < 0)
        raise ConfigError(f"level {number} leaves out the classes {missing}: every class belongs to a group")
    return found


def check_nesting(coarse: np.ndarray, fine: np.ndarray, classes: Sequence[str], number: int) -> None:
    """Raise `ConfigError` unless each group of the finer level lies within one of the coarser one."""
    for group in np.unique(fine):
        if len(np.unique(coarse[fine == group])) > 1:
            names = ", ".join(name for name, own in zip(classes, fine, strict=True) if own == group)
            raise ConfigError(
                f"the labels do not nest: the group {names} of level {number + 1} is split by level {number}. Change "
                "the groups, or set nesting to 'published' to train them as they are."
            )
