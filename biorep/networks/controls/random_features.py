"""Random features: the untrained control of the same width and nonlinearity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
import xarray as xr

from biorep import rng
from biorep.config import setting
from biorep.context import RunContext, undisturbed
from biorep.networks.base import DifferentiableNetwork, check_state, flat_images, learnt_weights, mark, set_report
from biorep.nn.encoder import Encoder, LinearEncoder
from biorep.schema import describe


class RandomFeatures(DifferentiableNetwork):
    """``relu(W x) ** power`` with Gaussian weights that never learn, the He initialisation of a network.

    Whatever learning adds is the difference to this row.
    """

    accepts: ClassVar[tuple[float, float] | None] = None
    reference: ClassVar[str] = "Rahimi & Recht (2007), NeurIPS 20; He et al. (2015), arXiv:1502.01852 (scale)"
    versions: ClassVar[Mapping[str, int]] = {"random-features": 1}
    answers_by: ClassVar[tuple[str, ...]] = ("units",)

    kind: Literal["random-features"] = "random-features"
    units: int = setting(2000, ge=1, description="number of neuroids")
    power: float = setting(1.0, stage="encode", gt=0, description="exponent n of the ReLU^n")

    def fit(self, dataset: xr.Dataset, *, seed: int, context: RunContext | None = None) -> xr.Dataset:
        """Draw the weights, ``weights(neuroid, input)`` with standard deviation sqrt(2 / input)."""
        self.check_fitting(dataset)
        size = flat_images(dataset).shape[1]
        draws = rng.stream(seed, self.word, "weights").standard_normal((self.units, size), dtype=np.float32)
        state = xr.Dataset(
            {"weights": (("neuroid", "input"), draws * np.float32(np.sqrt(2 / size)))},
        )
        describe(state, {"weights": ("weights from the pixels", "1")})
        set_report(state, {}, [])
        return mark(self, state, dataset)

    @undisturbed()
    def module(self, state: xr.Dataset) -> Encoder:
        """Return the features as a torch module."""
        check_state(self, state)
        weights = torch.as_tensor(learnt_weights(state, self.units))
        return LinearEncoder(weights, input_norm=self.input_norm, power=self.power)
