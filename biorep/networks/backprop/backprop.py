"""What all backprop networks share: settings of the training, the training itself, and their state.

A network of this kind says which layers it has (`hidden_module`); `fit` trains them end to end with a linear output
layer, on a loss of an objective plus penalties. The loop is `biorep.nn.training`.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
import xarray as xr
from pydantic import field_validator, model_validator
from torch import Tensor, nn

from biorep import rng
from biorep.config import setting
from biorep.context import RunContext, undisturbed
from biorep.contracts import Drawing, Rows
from biorep.errors import ConfigError, DataError
from biorep.networks.backprop.objectives import BaseObjective, PlainObjective
from biorep.networks.backprop.watch import Watch, meaning
from biorep.networks.base import (
    DifferentiableNetwork,
    check_state,
    image_shape,
    learnt_shape,
    mark,
    readout_dataset,
    set_report,
)
from biorep.nn.encoder import Encoder, normalised
from biorep.nn.initial import Init, initialise
from biorep.nn.layers import Activation, FrozenLayers, Hidden, Trainable, load_hidden, save_hidden, standardised
from biorep.nn.loss import Forward, Part, trace
from biorep.nn.schedule import Milestones, Optimiser, Schedule
from biorep.nn.streaming import layer_covariances
from biorep.nn.training import Training
from biorep.penalties.base import BasePenalty
from biorep.schema import check_dataset, describe, label_names, labels_of, require_disjoint, require_splits
from biorep.table import Choice
from biorep.tables import OBJECTIVES, PENALTIES

#: What histories record if nothing else is asked for, fixed so that a new penalty changes no stored result: one of
#: each kind that is a number of a network.
RECORDED = ("l2", "jacobian", "spectral", "isometric", "input-gradient", "spectral-norm", "parseval")
#: Records of exact values in a training if nothing else is asked for: each costs about as much as learning from ten
#: thousand images.
RECORDS = 20


class Backprop(DifferentiableNetwork):
    """Base of networks that are trained end to end; the representation is the last hidden layer."""

    accepts: ClassVar[tuple[float, float] | None] = None
    has_readout: ClassVar[bool] = True
    watches: ClassVar[bool] = True
    #: Of this class, of `biorep.nn.training` with its schedules, and of `biorep.nn.initial`.
    versions: ClassVar[Mapping[str, int]] = {"backprop": 1, "training": 1, "initial-weights": 1}
    answers_by: ClassVar[tuple[str, ...]] = ("activation", "power", "bias", "channel_mean", "channel_sd")

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
    optimiser: Optimiser = setting(
        "adam",
        neutral="adam",
        description="amsgrad: Adam that never forgets its largest gradients; sgd: with `momentum`",
    )
    momentum: float = setting(0.9, ge=0, lt=1, neutral=0.9, description="of sgd")
    learning_rate: float = setting(1e-3, gt=0, description="learning rate in the first epoch")
    milestones: Milestones = setting({}, description="epoch (from 0) -> learning rate from then on")
    fade: tuple[int, float] | None = setting(
        None,
        neutral=None,
        description="[start, time]: from that epoch on the rate falls as exp(-(epoch - start) / time)",
    )
    weight_decay: float = setting(
        0.0, ge=0, neutral=0.0, description="of the optimiser: decoupled for adam and amsgrad; see also the penalty l2"
    )
    penalties: tuple[Annotated[BasePenalty, Choice(PENALTIES)], ...] = setting(
        (), description="terms added to the loss"
    )
    objective: Annotated[BaseObjective, Choice(OBJECTIVES)] = setting(
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

    record: tuple[Annotated[BasePenalty, Choice(PENALTIES)], ...] = setting(
        RECORDED, description="penalties whose exact values the history records, beside those that are trained"
    )

    @field_validator("penalties", "record")
    @classmethod
    def _once(cls, value: tuple[BasePenalty, ...]) -> tuple[BasePenalty, ...]:
        kinds = [penalty.word for penalty in value]
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"each kind of penalty can be named once, got {', '.join(kinds)}")
        return value

    @field_validator("record")
    @classmethod
    def _sort(cls, value: tuple[BasePenalty, ...]) -> tuple[BasePenalty, ...]:
        return tuple(sorted(value, key=lambda penalty: penalty.word))  # their order is no result, so it is in no key

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

    @undisturbed()
    def fit(
        self, dataset: xr.Dataset, *, seed: int, context: RunContext | None = None, validation: xr.Dataset | None = None
    ) -> xr.Dataset:
        """Learn the classes end to end.

        Parameters
        ----------
        dataset : xr.Dataset
            Images and labels to learn from.
        seed : int
        context : RunContext, optional
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
        context = RunContext.of(context)
        self.check_fitting(dataset)
        shape, classes = image_shape(dataset), label_names(dataset)
        self._check_validation(validation, dataset, classes)
        module = self.trainable(shape, len(classes), seed)
        self._check_shapes(module, shape, dataset.sizes["presentation"])
        device = context.torch_device()
        module.to(device)
        images, labels = tensors(dataset, device)
        parts = self.parts(module, classes)
        remarks = self._examine(parts, images, labels)
        watch = self._watch(parts, dataset, validation, device)

        def watch_refreshed(done: int) -> tuple[dict[str, float], bool]:
            refresh(module, self.preprocess, images)  # evaluation sees the whitening of the weights as they are now
            return watch(done)

        refresh(module, self.preprocess, images)
        training = Training(
            module,
            images,
            labels,
            schedule=self.schedule(),
            seed=seed,
            name=self.word,
            penalties=self.penalties,
            objective=self.objective,
            parts=parts,
            preprocess=self.preprocess,
            bounds=tuple(dataset["image"].attrs["value_range"]),
            watch=watch_refreshed,
            settings=self.identity("fit"),
        )
        history = training.run(context)
        state = self._state(module.cpu(), classes, history, remarks)
        return mark(self, state, dataset)

    def schedule(self) -> Schedule:
        """Return how long and how fast the network is trained."""
        return Schedule(
            self.epochs,
            self.batch_size,
            self.learning_rate,
            self.milestones,
            optimiser=self.optimiser,
            momentum=self.momentum,
            decay=self.weight_decay,
            fade=self.fade,
        )

    def recorded(self) -> list[BasePenalty]:
        """Return what the history records in exact form: `record`, and all penalties that are trained, as trained."""
        return list({penalty.word: penalty for penalty in (*self.record, *self.penalties)}.values())

    def trainable(self, shape: tuple[int, ...], classes: int, seed: int) -> Trainable:
        """Return the network before training, with drawn weights."""
        hidden = self.hidden_module(shape)
        last = hidden.last.layer
        assert isinstance(last, nn.Linear)
        module = Trainable(hidden, nn.Linear(last.out_features, classes))
        gain = 2.0 if self.activation == "relu" else 1.0
        initialise(module, self.init, gain=gain, seed=seed, name=self.word)
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

    @undisturbed()
    def module(self, state: xr.Dataset) -> Encoder:
        """Return the frozen hidden layers as a torch module."""
        check_state(self, state)
        shape = learnt_shape(state)
        hidden = self.hidden_module(shape)
        load_hidden(hidden, state)
        return self._frozen(hidden, shape)

    def figures(self, rows: Rows) -> Iterator[Drawing]:
        """Yield the histories of all trainings."""
        from biorep.plot import training_curves

        trained = {name: states for name, states in rows.items() if any("loss" in state for state in states)}
        if trained:
            caption = (
                "Training of the backprop networks; dashes: loss and exponent on a fixed batch, accuracy on validation "
                "images. One line per seed."
            )
            yield Drawing("training", caption, training_curves(trained))

    def _check_validation(self, validation: xr.Dataset | None, dataset: xr.Dataset, classes: list[str]) -> None:
        if validation is None:
            if self.stop_accuracy is not None:
                raise ConfigError(
                    "stop_accuracy needs validation images that are not learnt from: set dataset.fit_on to 'train'"
                )
            return
        check_dataset(validation, value_range=self.accepts)
        require_splits(validation, ("validation",), "watching the training")
        require_disjoint(validation["stimulus_id"].values, dataset["stimulus_id"].values, "watching the training")
        shape, like = image_shape(dataset), (image_shape(validation), label_names(validation))
        if like != (shape, classes):
            raise DataError(
                f"the validation images are {like[0]}, of the classes {', '.join(like[1])}; those that are learnt from "
                f"are {shape}, of the classes {', '.join(classes)}"
            )

    def _check_shapes(self, module: Trainable, shape: tuple[int, ...], count: int) -> None:
        channels = shape[2] if len(shape) == 3 else 1
        if self.channel_mean is not None and len(self.channel_mean) != channels:
            raise ConfigError(f"channel_mean has {len(self.channel_mean)} values, the images have {channels} channels")
        if self._smallest_batch(count) == 1 and any(block.norm is not None for block in module.hidden):
            raise ConfigError(
                f"BatchNorm needs two images in every batch, and the last of {count} images in batches of "
                f"{self.batch_size} is alone: choose another batch_size"
            )

    def _smallest_batch(self, count: int) -> int:
        """Return the size of the smallest mini-batch of `count` images."""
        return count % self.batch_size or min(self.batch_size, count)

    def _examine(self, parts: Sequence[Part], images: Tensor, labels: Tensor) -> list[str]:
        """Let each penalty look at the first mini-batch; warn of what they say, and return it."""
        remarks: dict[str, None] = {}
        for part in parts:
            part.module.eval()
            first = slice(self.batch_size)
            with torch.no_grad():
                rows = self.preprocess(images[first])
                hidden, currents, logits = trace(part.module, rows)
            forward = Forward(part.module, rows, part.relabel(labels[first]), logits, hidden, currents)
            for penalty in self.penalties:
                remarks |= dict.fromkeys(penalty.examine(forward, self._smallest_batch(len(images))))
        for remark in remarks:
            warnings.warn(remark, stacklevel=3)
        return list(remarks)

    def _watch(self, parts: list[Part], dataset: xr.Dataset, validation: xr.Dataset | None, device: str) -> Watch:
        """Return what is recorded after each epoch: on validation images, or training images if there are none."""
        seen = dataset if validation is None else validation
        together = self.batch_size if self.depends_on_batch else None
        count = min(max(self.evaluate, together or 0) if self.evaluate else 0, seen.sizes["presentation"])
        order = rng.stream(0, "evaluation batch").permutation(seen.sizes["presentation"])[:count]
        images, labels = tensors(seen.isel(presentation=np.sort(order)), device)
        whole = None
        if validation is not None:
            every, wanted = tensors(validation, device)
            whole = self.preprocess(every), wanted
        return Watch(
            self.preprocess(images),
            labels,
            whole,
            self.recorded(),
            parts,
            every=self.evaluate_every or max(1, self.epochs // RECORDS),
            epochs=self.epochs,
            stop_accuracy=self.stop_accuracy,
            together=together,
        )

    def _state(
        self, module: Trainable, classes: list[str], history: dict[str, list[float]], remarks: list[str]
    ) -> xr.Dataset:
        """Return the layers, the readout and the history of the trained network."""
        weights, bias = (parameter.detach().numpy() for parameter in (module.output.weight, module.output.bias))
        state = readout_dataset(weights, bias, classes)
        save_hidden(module.hidden, state)
        state = state.assign_coords(epoch=np.arange(1, len(history.get("loss", [])) + 1))
        describe(state, {"epoch": ("epoch", "1")})
        for name, values in history.items():
            state[name] = ("epoch", np.asarray(values))
            state[name].attrs.update(long_name=meaning(name), units="1")
        report, more = self._report(history)
        set_report(state, report, [*remarks, *more])
        return state

    def _report(self, history: Mapping[str, list[float]]) -> tuple[dict[str, Any], list[str]]:
        """Return the report of a training, and what the user should know of it."""
        report: dict[str, Any] = {}
        remarks = []
        epochs = len(history.get("loss", []))
        if epochs:
            report = {"training_loss": history["loss"][-1], "training_accuracy": history["accuracy"][-1]}
        if self.stop_accuracy is not None:
            best = max(history.get("validation_accuracy", [0.0]))
            report["epochs"] = epochs
            if best < self.stop_accuracy:
                remarks.append(
                    f"the training ended after {epochs} epochs with a validation accuracy of {best:.4f} at best, below "
                    f"stop_accuracy = {self.stop_accuracy}. Raise epochs, or ask for less."
                )
        if self.depends_on_batch:
            remarks.append(
                "the whitening layer uses the statistics of each batch: the response to an image depends on the images "
                "that are shown with it (whitening.statistics: stored does not)"
            )
        return report, remarks


def refresh(module: Trainable, preprocess: Callable[[Tensor], Tensor], images: Tensor) -> None:
    """Store the statistics of all images in the whitening layers."""
    for index, block in enumerate(module.hidden):
        if block.whitening is None or block.whitening.statistics == "batch":
            continue
        (found,) = layer_covariances(module, preprocess(images), partial(_nth, index))
        mean, covariance = (torch.as_tensor(part, device=images.device) for part in (found.mean(), found.covariance()))
        block.whitening.store(mean, covariance)


def _nth(index: int, hidden: Sequence[Tensor], _: Tensor | None) -> Sequence[Tensor]:
    return [hidden[index]]


def tensors(dataset: xr.Dataset, device: str) -> tuple[Tensor, Tensor]:
    """Return images, float32, and labels of a dataset on a device."""
    images = torch.as_tensor(np.ascontiguousarray(dataset["image"].values, dtype=np.float32))
    return images.to(device), torch.as_tensor(labels_of(dataset)).to(device)
