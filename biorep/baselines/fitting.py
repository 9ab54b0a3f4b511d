"""Training a backprop network: checks, what is watched, whitening statistics, and the state that comes out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from biorep import rng
from biorep.baselines.layers import Trainable, save_hidden
from biorep.baselines.streaming import layer_covariances
from biorep.baselines.watch import Watch
from biorep.bridge.loss import Forward, Part, trace
from biorep.bridge.readout import readout_dataset
from biorep.bridge.schedule import Schedule
from biorep.bridge.training import train
from biorep.context import RunContext
from biorep.errors import ConfigError, DataError
from biorep.networks.base import image_shape, set_report
from biorep.schema import check_dataset, describe, label_names, require_splits

if TYPE_CHECKING:
    from biorep.baselines.backprop import Backprop


#: Records of exact values in a training if nothing else is asked for: each costs about as much as learning from ten
#: thousand images.
RECORDS = 20


def fit(
    network: Backprop, dataset: xr.Dataset, *, seed: int, run: RunContext, validation: xr.Dataset | None
) -> xr.Dataset:
    """Train a network and return its state; see `Backprop.fit`."""
    network.check_fitting(dataset)
    shape, classes = image_shape(dataset), label_names(dataset)
    _check_validation(network, validation, shape, classes)
    module = network.trainable(shape, len(classes), seed)
    _check_shapes(network, module, shape, dataset.sizes["presentation"])
    device = run.torch_device()
    module.to(device)
    images, labels = tensors(dataset, device)
    parts = network.parts(module, classes)
    remarks = _examine(network, parts, images, labels)
    watch = _watch(network, parts, dataset if validation is None else validation, device, validation is None)

    def after(done: int) -> tuple[dict[str, float], bool]:
        refresh(module, network.preprocess, images)
        return watch(done)

    refresh(module, network.preprocess, images)
    history = train(
        module,
        images,
        labels,
        schedule=Schedule(
            network.epochs,
            network.batch_size,
            network.rate,
            network.milestones,
            optimiser=network.optimiser,
            momentum=network.momentum,
            decay=network.weight_decay,
            fade=network.fade,
        ),
        seed=seed,
        name=network.kind,
        penalties=network.penalties,
        objective=network.objective,
        parts=parts,
        preprocess=network.preprocess,
        bounds=tuple(dataset["image"].attrs["value_range"]),
        watch=after,
        settings=network.hash_payload(),
        run=run,
    )
    state = state_of(network, module.cpu(), classes, history, remarks)
    state.attrs["image_shape"] = list(shape)
    return state


def _check_validation(
    network: Backprop, validation: xr.Dataset | None, shape: tuple[int, ...], classes: list[str]
) -> None:
    if validation is None:
        if network.stop_accuracy is not None:
            raise ConfigError(
                "stop_accuracy needs validation images that are not learnt from: set dataset.fit_on to 'train'"
            )
        return
    check_dataset(validation, value_range=network.accepts)
    require_splits(validation, ("validation",), "watching the training")
    like = image_shape(validation), label_names(validation)
    if like != (shape, classes):
        raise DataError(
            f"the validation images are {like[0]}, of the classes {', '.join(like[1])}; those that are learnt from are "
            f"{shape}, of the classes {', '.join(classes)}"
        )


def _check_shapes(network: Backprop, module: Trainable, shape: tuple[int, ...], count: int) -> None:
    channels = shape[2] if len(shape) == 3 else 1
    if network.channel_mean is not None and len(network.channel_mean) != channels:
        raise ConfigError(f"channel_mean has {len(network.channel_mean)} values, the images have {channels} channels")
    if smallest_batch(network, count) == 1 and any(block.norm is not None for block in module.hidden):
        raise ConfigError(
            f"BatchNorm needs two images in every batch, and the last of {count} images in batches of "
            f"{network.batch_size} is alone: choose another batch_size"
        )


def smallest_batch(network: Backprop, count: int) -> int:
    """Return the size of the smallest mini-batch of `count` images."""
    return count % network.batch_size or min(network.batch_size, count)


def _examine(network: Backprop, parts: Sequence[Part], images: Tensor, labels: Tensor) -> list[str]:
    """Let each penalty look at the first mini-batch; warn of what they say, and return it."""
    remarks: dict[str, None] = {}
    for part in parts:
        part.module.eval()
        first = slice(network.batch_size)
        with torch.no_grad():
            rows = network.preprocess(images[first])
            hidden, currents, logits = trace(part.module, rows)
        forward = Forward(part.module, rows, part.relabel(labels[first]), logits, hidden, currents)
        for penalty in network.penalties:
            remarks |= dict.fromkeys(penalty.examine(forward, smallest_batch(network, len(images))))
    for remark in remarks:
        warnings.warn(remark, stacklevel=4)
    return list(remarks)


def _watch(network: Backprop, parts: list[Part], dataset: xr.Dataset, device: str, seen: bool) -> Watch:
    """Return what is recorded after each epoch; `seen`: there are no images that are not learnt from."""
    together = network.batch_size if network.depends_on_batch else None
    count = min(max(network.evaluate, together or 0) if network.evaluate else 0, dataset.sizes["presentation"])
    order = rng.stream(0, "evaluation batch").permutation(dataset.sizes["presentation"])[:count]
    images, labels = tensors(dataset.isel(presentation=np.sort(order)), device)
    whole = None
    if not seen:
        every, wanted = tensors(dataset, device)
        whole = network.preprocess(every), wanted
    return Watch(
        network.preprocess(images),
        labels,
        whole,
        network.penalties,
        parts,
        every=network.evaluate_every or max(1, network.epochs // RECORDS),
        epochs=network.epochs,
        stop_accuracy=network.stop_accuracy,
        together=together,
    )


def refresh(module: Trainable, preprocess: Any, images: Tensor) -> None:
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
    return images.to(device), torch.as_tensor(dataset["label"].values.astype(np.int64)).to(device)


def state_of(
    network: Backprop, module: Trainable, classes: list[str], history: dict[str, list[float]], remarks: list[str]
) -> xr.Dataset:
    """Return the layers, the readout and the history of a trained network."""
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
    if epochs:
        report = {"training_loss": history["loss"][-1], "training_accuracy": history["accuracy"][-1]}
    if network.stop_accuracy is not None:
        best = max(history.get("validation_accuracy", [0.0]))
        report["epochs"] = epochs
        if best < network.stop_accuracy:
            remarks = [
                *remarks,
                f"the training ended after {epochs} epochs with a validation accuracy of {best:.4f} at best, below "
                f"stop_accuracy = {network.stop_accuracy}. Raise epochs, or ask for less.",
            ]
    if network.depends_on_batch:
        remarks = [
            *remarks,
            "the whitening layer uses the statistics of each batch: the response to an image depends on the images "
            "that are shown with it (whitening.statistics: stored does not)",
        ]
    set_report(state, report, remarks)
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
    times = " times its strength" if name.startswith("penalty_") else ""
    return f"{words}{times} on the training batches"
