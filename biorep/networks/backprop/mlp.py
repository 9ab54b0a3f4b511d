"""The multilayer perceptron, trained end to end with penalties.

With one hidden layer, no bias and ReLU it is the baseline of Holzhausen et al. (2024): He-initialised weights,
normalised inputs, a linear output layer with bias. With 2000 such units and a penalty it is their SHLP.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from pydantic import model_validator
from torch import nn

from biorep.config import Count, setting
from biorep.networks.backprop.backprop import Backprop
from biorep.nn.layers import Block, Hidden
from biorep.nn.whitening import WhiteningChoice


class WhiteningAfter(WhiteningChoice):
    """A whitening layer and where it stands."""

    after: int = setting(2, ge=1, description="the hidden layer that it follows, counted from 1")


class MLP(Backprop):
    """Multilayer perceptron; its representation is the last hidden layer."""

    reference: ClassVar[str] = "Holzhausen et al. (2024), arXiv:2405.00679 (baseline)"
    versions: ClassVar[Mapping[str, int]] = {"mlp": 1}
    answers_by: ClassVar[tuple[str, ...]] = ("hidden", "batch_norm", "whitening")

    kind: Literal["mlp"] = "mlp"
    hidden: tuple[Count, ...] = setting((2000,), min_length=1, description="widths of the hidden layers")
    batch_norm: bool = setting(
        False,
        neutral=False,
        description="normalise the responses of hidden layers, after the nonlinearity (Nassar 2020)",
    )
    whitening: WhiteningAfter | None = setting(
        None, neutral=None, description="whiten the responses of one hidden layer (Nassar 2020); null: none"
    )

    @model_validator(mode="after")
    def _whitens_before_the_end(self) -> MLP:
        if self.whitening is not None and not self.whitening.after < len(self.hidden):
            raise ValueError(
                f"whitening.after = {self.whitening.after} must name a layer before the last of {len(self.hidden)}"
            )
        return self

    @property
    def depends_on_batch(self) -> bool:
        """Whether the answer to an image depends on the images that are shown with it."""
        return self.whitening is not None and self.whitening.statistics == "batch"

    def hidden_module(self, shape: tuple[int, ...]) -> Hidden:
        """Return the hidden layers, before training."""
        blocks = []
        for index, (a, b) in enumerate(itertools.pairwise((int(np.prod(shape)), *self.hidden))):
            norm = nn.BatchNorm1d(b) if self.batch_norm else None
            chosen = self.whitening if self.whitening is not None and self.whitening.after == index + 1 else None
            linear = nn.Linear(a, b, bias=self.bias)
            whitening = chosen.layer(b) if chosen is not None else None
            blocks.append(Block(linear, self.activation, self.power, norm=norm, whitening=whitening))
        return Hidden(blocks)
