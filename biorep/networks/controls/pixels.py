"""The row that every table needs: a readout of the pixels themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import xarray as xr

from biorep import rng
from biorep.config import setting
from biorep.context import RunContext
from biorep.errors import DataError
from biorep.networks.base import DifferentiableNetwork, check_state, flat_images, mark, set_report
from biorep.nn.encoder import Encoder, IdentityEncoder


class Pixels(DifferentiableNetwork):
    """No network: the representation is the image. Whatever a network claims must be held against this."""

    accepts: ClassVar[tuple[float, float] | None] = None
    seeded: ClassVar[bool] = False
    versions: ClassVar[Mapping[str, int]] = {"pixels": 1}

    kind: Literal["pixels"] = "pixels"
    input_norm: float | None = setting(None, gt=0, description="divide each image by its Lp norm; null: do not")

    def fit(self, dataset: xr.Dataset, *, seed: int, context: RunContext | None = None) -> xr.Dataset:
        """Return a state that only knows the number of pixels."""
        rng.check_seed(seed)
        self.check_fitting(dataset)
        state = xr.Dataset(coords={"input": range(flat_images(dataset).shape[1])})
        set_report(state, {}, [])
        return mark(self, state, dataset)

    def module(self, state: xr.Dataset) -> Encoder:
        """Return the identity, with normalisation if asked for."""
        check_state(self, state)
        if "input" not in state.sizes:
            raise DataError(f"the state of '{self.word}' has the dim 'input', this one has {dict(state.sizes)}")
        return IdentityEncoder(int(state.sizes["input"]), input_norm=self.input_norm)
