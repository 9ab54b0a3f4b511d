"""What all backprop networks share: settings of the training, the training itself, and their state.

A network of this kind says which layers it has (`hidden_module`); `fit` trains them end to end with a linear output
layer, on a loss of an objective plus penalties.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import xarray as xr
from pydantic import field_validator, model_validator
from torch import Tensor, nn

from biorep.baselines.fitting import fit
from biorep.baselines.initial import Init, initialise
from biorep.baselines.layers import Activation, FrozenLayers, Hidden, Trainable, load_hidden, standardised
from biorep.baselines.objectives import AnyObjective, PlainObjective
from biorep.baselines.regularizers import AnyPenalty
from biorep.bridge.loss import Part
from biorep.config import setting
from biorep.context import RunContext
from biorep.networks.base import DifferentiableNetwork
from biorep.networks.encoder import Encoder, normalised


class Backprop(DifferentiableNetwork):
    """Base of networks that are trained end to end; the representation is the last hidden layer."""

    accepts: ClassVar[tuple[float, float] | None] = None
    has_readout: ClassVar[bool] = True
    takes_validation: ClassVar[bool] = True

    activation: Activation = setting("relu", description="relu (with `power`), tanh or softplus")
    power: float = setting(1.0, gt=0, description="exponent n of the ReLU^n")
    bias: bool = setting(False, description="whether hidden layers have a bias")
    init: Init = setting(
        "normal",
        neutral="normal",
        description="weights at the start: normal (He; tanh, softplus: variance 1 / fan-in), uniform (as torch), "
        "glorot, orthogonal",
    )
    channel_mean: tuple[float, ...] | None = setting(
        None, neutral=None, description="of each channel: taken off the images first, inside the network"
    )
    channel_sd: tuple[float, ...] | None = setting(
        None, neutral=None, description="of each channel: the images are divided by it after that"
    )
    epochs: int = setting(50, ge=0, description="passes over the training images")
    batch_size: int = setting(100, ge=1, description="images per update")
    optimiser: Literal["adam", "amsgrad", "sgd"] = setting(
        "adam",
        neutral="adam",
        description="amsgrad: Adam that never forgets its largest gradients; sgd: with `momentum`",
    )
    momentum: float = setting(0.9, ge=0, lt=1, neutral=0.9, description="of sgd")
    rate: float = setting(1e-3, gt=0, description="learning rate in the first epoch")
    milestones: dict[int, float] = setting({}, description="epoch (from 0) -> learning rate from then on")
    fade: tuple[int, float] | None = setting(
        None,
        neutral=None,
        description="[start, time]: from that epoch on the rate falls as exp(-(epoch - start) / time)",
    )
    weight_decay: float = setting(
        0.0, ge=0, neutral=0.0, description="of the optimiser: decoupled for adam and amsgrad; see also the penalty l2"
    )
    penalties: tuple[AnyPenalty, ...] = setting((), description="terms added to the loss")
    objective: AnyObjective = setting(
        PlainObjective(),
        neutral={"kind": "cross-entropy"},
        description="the loss: cross-entropy, or of perturbed images: noise, adversarial, trades",
    )
    stop_accuracy: float | None = setting(
        None,
        gt=0,
        le=1,
        neutral=None,
        description="stop after the epoch that reaches this accuracy on validation images",
    )
    evaluate: int = setting(500, ge=0, description="images on which the history records exact values; 0: none")
    evaluate_every: int | None = setting(
        None, ge=1, description="epochs between two records of exact values; null: as many as make about 20 of them"
    )

    @field_validator("penalties")
    @classmethod
    def _once(cls, value: tuple[AnyPenalty, ...]) -> tuple[AnyPenalty, ...]:
        kinds = [penalty.kind for penalty in value]
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"each kind of penalty can be named once, got {kinds}")
        return value

    @field_validator("milestones")
    @classmethod
    def _rates(cls, value: dict[int, float]) -> dict[int, float]:
        for epoch, rate in value.items():
            if epoch < 0 or rate < 0:
                raise ValueError(f"milestones are epoch >= 0: rate >= 0, got {epoch}: {rate}")
        return value

    @field_validator("fade")
    @classmethod
    def _positive(cls, value: tuple[int, float] | None) -> tuple[int, float] | None:
        if value is not None and (value[0] < 0 or not value[1] > 0):
            raise ValueError(f"fade is [start >= 0, time > 0], got {list(value)}")
        return value

    @model_validator(mode="after")
    def _channels(self) -> Backprop:
        if (self.channel_mean is None) != (self.channel_sd is None):
            raise ValueError("channel_mean and channel_sd go together")
        if self.channel_mean is not None and self.channel_sd is not None:
            if len(self.channel_mean) != len(self.channel_sd):
                raise ValueError("channel_mean and channel_sd need as many values as the images have channels")
            if not all(sd > 0 for sd in self.channel_sd):
                raise ValueError(f"channel_sd must be positive, got {list(self.channel_sd)}")
        return self

    @abstractmethod
    def hidden_module(self, shape: tuple[int, ...]) -> Hidden:
        """Return the hidden layers for images of a shape, before training."""

    def parts(self, module: Trainable, classes: Sequence[str]) -> list[Part]:
        """Return the classifiers that are trained in turn: the whole module."""
        return [Part("", module)]

    def fit(
        self,
        dataset: xr.Dataset,
        *,
        seed: int,
        run: RunContext | None = None,
        validation: xr.Dataset | None = None,
    ) -> xr.Dataset:
        """Learn the classes end to end.

        Parameters
        ----------
        dataset : xr.Dataset
            Images and labels to learn from.
        seed : int
        run : RunContext, optional
        validation : xr.Dataset, optional
            Images that are not learnt from: for the history, and for `stop_accuracy`.

        Returns
        -------
        xr.Dataset
            The arrays of the hidden layers: ``weights_<l>`` (the last one has the dim `neuroid`), ``bias_<l>``,
            ``norm_*_<l>`` of BatchNorm, ``whitening_*_<l>``; the output layer ``readout_weights``,
            ``readout_bias``; and the history over `epoch`: loss, accuracy and penalties times their strengths as means
            over the training batches; ``validation_accuracy``; ``evaluation_loss``, ``evaluation_accuracy``,
            ``evaluation_exponent`` and every penalty in exact form, ``value_<kind>``, on a fixed batch of validation
            images (of training images if there are none).

        Raises
        ------
        ConfigError
            If the settings do not fit the images or each other.
        NumericalError
            If a term of the loss becomes NaN or infinite.
        """
        return fit(self, dataset, seed=seed, run=run or RunContext(), validation=validation)

    def trainable(self, shape: tuple[int, ...], classes: int, seed: int) -> Trainable:
        """Return the network before training, with drawn weights."""
        hidden = self.hidden_module(shape)
        last = hidden.last.layer
        assert isinstance(last, nn.Linear)
        module = Trainable(hidden, nn.Linear(last.out_features, classes))
        gain = 2.0 if self.activation == "relu" else 1.0
        initialise(module, self.init, gain=gain, seed=seed, name=self.kind)
        return module

    def preprocess(self, images: Tensor) -> Tensor:
        """Return images (presentation, ...) as the layers take them: standardised, flat, normalised."""
        return normalised(standardised(images, self.channel_mean, self.channel_sd).flatten(1), self.input_norm)

    def _frozen(self, hidden: Hidden, shape: tuple[int, ...]) -> FrozenLayers:
        last = hidden.last.layer
        assert isinstance(last, nn.Linear)
        return FrozenLayers(
            hidden,
            int(np.prod(shape)),
            last.out_features,
            mean=self.channel_mean,
            sd=self.channel_sd,
            input_norm=self.input_norm,
            together=self.batch_size if self.depends_on_batch else None,
        )

    def module(self, state: xr.Dataset) -> Encoder:
        """Return the frozen hidden layers as a torch module."""
        shape = tuple(int(size) for size in np.atleast_1d(state.attrs["image_shape"]))
        hidden = self.hidden_module(shape)
        load_hidden(hidden, state)
        return self._frozen(hidden, shape)
