"""What all backprop networks share: settings of the training, the training itself, and their state.

A network of this kind says which layers it has (`hidden_module`); `fit` trains them end to end with a linear output
layer, on a loss of an objective plus penalties.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import xarray as xr
from pydantic import field_validator, model_validator
from torch import Tensor, nn

from biorep import rng
from biorep.baselines.initial import Init, initialise
from biorep.baselines.layers import Activation, FrozenLayers, Hidden, Trainable, load_hidden, save_hidden, standardised
from biorep.baselines.objectives import AnyObjective, PlainObjective
from biorep.baselines.regularizers import AnyPenalty
from biorep.baselines.watch import Watch
from biorep.bridge.loss import Part
from biorep.bridge.readout import readout_dataset
from biorep.bridge.training import Schedule, train
from biorep.config import setting
from biorep.context import RunContext
from biorep.errors import ConfigError
from biorep.networks.base import DifferentiableNetwork, image_shape, set_report
from biorep.networks.encoder import BATCH, Encoder, normalised
from biorep.schema import describe, label_names
from biorep.spectra.covariance import StreamedCovariance


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
    evaluate_every: int = setting(1, ge=1, description="epochs between two records of exact values")

    @field_validator("penalties")
    @classmethod
    def _once(cls, value: tuple[AnyPenalty, ...]) -> tuple[AnyPenalty, ...]:
        kinds = [penalty.kind for penalty in value]
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"each kind of penalty can be named once, got {kinds}")
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

    # ------------------------------------------------------------------------------------------------- training

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
        self.check_fitting(dataset)
        run = run or RunContext()
        device = run.torch_device()
        shape, classes = image_shape(dataset), label_names(dataset)
        module = self.trainable(shape, len(classes), seed).to(device)
        self._check(module, shape, dataset.sizes["presentation"], validation)
        images, labels = tensors(dataset, device)
        parts = self.parts(module, classes)
        watch = self._watch(validation if validation is not None else dataset, parts, device, validation)

        def after(done: int) -> tuple[dict[str, float], bool]:
            refresh(module.hidden, self.preprocess, images)
            row, stop = watch(done)
            return dict(row), stop

        refresh(module.hidden, self.preprocess, images)
        schedule = Schedule(
            self.epochs,
            self.batch_size,
            self.rate,
            self.milestones,
            optimiser=self.optimiser,
            momentum=self.momentum,
            decay=self.weight_decay,
            fade=self.fade,
        )
        history = train(
            module,
            images,
            labels,
            schedule=schedule,
            seed=seed,
            name=self.kind,
            penalties=self.penalties,
            objective=self.objective,
            parts=parts,
            preprocess=self.preprocess,
            bounds=tuple(dataset["image"].attrs["value_range"]),
            watch=after,
            run=run,
        )
        state = self._state(module.cpu(), classes, history)
        state.attrs["image_shape"] = list(shape)
        return state

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

    def _watch(self, dataset: xr.Dataset, parts: list[Part], device: str, validation: xr.Dataset | None) -> Watch:
        count = min(self.evaluate, dataset.sizes["presentation"])
        order = rng.stream(0, "evaluation batch").permutation(dataset.sizes["presentation"])[:count]
        images, labels = tensors(dataset.isel(presentation=np.sort(order)), device)
        whole = None
        if validation is not None:
            every, wanted = tensors(validation, device)
            whole = self.preprocess(every), wanted
        return Watch(
            self.preprocess(images),
            labels,
            whole,
            self.penalties,
            parts,
            every=self.evaluate_every,
            epochs=self.epochs,
            stop_accuracy=self.stop_accuracy,
        )

    def _check(self, module: Trainable, shape: tuple[int, ...], count: int, validation: xr.Dataset | None) -> None:
        channels = shape[2] if len(shape) == 3 else 1
        if self.channel_mean is not None and len(self.channel_mean) != channels:
            raise ConfigError(f"channel_mean has {len(self.channel_mean)} values, the images have {channels} channels")
        if any(block.norm is not None for block in module.hidden) and count % self.batch_size == 1 and self.epochs:
            raise ConfigError(
                f"BatchNorm needs two images in every batch, and the last of {count} images in batches of "
                f"{self.batch_size} is alone: choose another batch_size"
            )
        if self.stop_accuracy is not None and validation is None:
            raise ConfigError(
                "stop_accuracy needs validation images that are not learnt from: set dataset.fit_on to 'train'"
            )

    # --------------------------------------------------------------------------------------------------- state

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
        )

    def module(self, state: xr.Dataset) -> Encoder:
        """Return the frozen hidden layers as a torch module."""
        shape = tuple(int(size) for size in np.atleast_1d(state.attrs["image_shape"]))
        hidden = self.hidden_module(shape)
        load_hidden(hidden, state)
        return self._frozen(hidden, shape)

    def _state(self, module: Trainable, classes: list[str], history: dict[str, list[float]]) -> xr.Dataset:
        weights, bias = (parameter.detach().numpy() for parameter in (module.output.weight, module.output.bias))
        state = readout_dataset(weights, bias, classes)
        save_hidden(module.hidden, state)
        epochs = len(history.get("loss", []))
        state = state.assign_coords(epoch=np.arange(1, epochs + 1))
        describe(state, {"epoch": ("epoch", "1")})
        for name, values in history.items():
            state[name] = ("epoch", np.asarray(values))
            state[name].attrs.update(long_name=meaning(name), units="1")
        report: dict[str, Any] = {}
        warnings: list[str] = []
        if epochs:
            report = {"training_loss": history["loss"][-1], "training_accuracy": history["accuracy"][-1]}
        if self.stop_accuracy is not None:
            best = max(history.get("validation_accuracy", [0.0]))
            report["epochs"] = epochs
            if best < self.stop_accuracy:
                warnings.append(
                    f"the training ended after {epochs} epochs with a validation accuracy of {best:.4f} at best, below "
                    f"stop_accuracy = {self.stop_accuracy}. Raise epochs, or ask for less."
                )
        if any(block.whitening is not None and block.whitening.statistics == "batch" for block in module.hidden):
            warnings.append(
                "the whitening layer uses the statistics of each batch: the response to an image depends on the images "
                "that are shown with it (whitening.statistics: stored does not)"
            )
        set_report(state, report, warnings)
        return state


def meaning(name: str) -> str:
    """Return what a variable of the history is."""
    words = name.replace("_", " ")
    if name.startswith("value_"):
        return f"penalty {name.removeprefix('value_')}, exact, on the evaluation batch"
    if name.startswith("evaluation_"):
        return f"{words.removeprefix('evaluation ')} on the evaluation batch"
    if name.startswith("validation_"):
        return f"{words.removeprefix('validation ')} on the validation images"
    return f"{words} on the training batches"


def tensors(dataset: xr.Dataset, device: str) -> tuple[Tensor, Tensor]:
    """Return images, float32, and labels of a dataset on a device."""
    images = torch.as_tensor(np.ascontiguousarray(dataset["image"].values, dtype=np.float32))
    return images.to(device), torch.as_tensor(dataset["label"].values.astype(np.int64)).to(device)


def refresh(hidden: Hidden, preprocess: Any, images: Tensor) -> None:
    """Store the statistics of all images in the whitening layers, streamed in float64."""
    for index, block in enumerate(hidden):
        if block.whitening is None or block.whitening.statistics == "batch":
            continue
        training = hidden.training
        hidden.eval()
        streamed = StreamedCovariance(block.whitening.mean.numel())
        with torch.no_grad():
            for rows in images.split(BATCH):
                streamed.add(hidden.trace(preprocess(rows))[0][index].cpu().numpy())
        convert = partial(torch.as_tensor, device=images.device)
        block.whitening.store(convert(streamed.mean()), convert(streamed.covariance()))
        hidden.train(training)
