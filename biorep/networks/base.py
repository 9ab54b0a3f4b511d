"""What networks share: the base of the differentiable ones, and the form of states and representations.

The contract is `biorep.contracts.Network`. A differentiable network also gives ``module(state) -> Encoder``, pixels in,
responses out.

The state is an `xr.Dataset` of learnt arrays; its attributes `warnings` (a JSON list) and `report` (a JSON
mapping) say how the training went.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from biorep import rng
from biorep.config import plain, setting
from biorep.context import RunContext, undisturbed
from biorep.contracts import Network, Quantity
from biorep.errors import ConfigError, DataError
from biorep.schema import (
    check_dataset,
    check_finite,
    describe,
    learnt_array,
    presentation_coords,
    require_variables,
)
from biorep.words import checked

if TYPE_CHECKING:
    import torch
    import xarray as xr

    from biorep.nn.encoder import Encoder


class DifferentiableNetwork(Network, ABC):
    """A network whose responses are a differentiable function of the pixels."""

    differentiable: ClassVar[bool] = True
    versions: ClassVar[Mapping[str, int]] = {"encoder": 1}
    answers_by: ClassVar[tuple[str, ...]] = ("input_norm",)

    input_norm: float | None = setting(
        2.0, gt=0, description="divide each image by its Lp norm with this p, inside the network; null: do not"
    )

    @abstractmethod
    def module(self, state: xr.Dataset) -> Encoder:
        """Return the frozen network as a torch module: pixels (presentation, ...) to responses."""

    def layers(self, state: xr.Dataset) -> tuple[str, ...]:
        """Return the names of the layers, from the input on."""
        return self.module(state).layers()

    @checked
    @undisturbed()
    def encode(
        self,
        state: xr.Dataset,
        dataset: xr.Dataset,
        *,
        layer: str = "last",
        quantity: Quantity = "response",
        seed: int = 0,
        repeats: int | None = None,
        first_repeat: int = 0,
        context: RunContext | None = None,
    ) -> xr.Dataset:
        """Return the responses of the frozen network to the images of a dataset.

        Parameters
        ----------
        state : xr.Dataset
            What `fit` returned.
        dataset : xr.Dataset
            Images, ``image(presentation, ...)``.
        layer : str
            One of `layers`, or ``last``.
        quantity : {"response", "preactivation"}
            After or before the nonlinearity, and what follows it.
        seed, first_repeat : int
            Not used: the responses are deterministic.
        repeats : int, optional
            Only None or 1: repeats of a deterministic response would be copies.
        context : RunContext, optional

        Returns
        -------
        xr.Dataset
            ``response(presentation, neuroid)``, float32, with the coordinates of the presentations and
            `neuroid_id`; its attributes name layer and quantity.

        Raises
        ------
        ConfigError
            If there is no such layer or quantity, or repeats are asked for.
        DataError
            If the network does not accept the images, or the state is of another network.
        """
        import torch

        from biorep.nn.encoder import layer_name

        if repeats not in (None, 1):
            raise ConfigError(f"'{self.word}' answers without noise: repeats={repeats} would be {repeats} equal copies")
        rng.check_seed(seed)
        context = RunContext.of(context)
        check_dataset(dataset, value_range=self.accepts)
        check_state(self, state, dataset)
        device = context.torch_device()
        encoder = self.module(state).to(device)
        layer, parts = layer_name(layer, encoder.layers()), []
        with torch.inference_mode():
            for images in context.track(_batches(dataset, encoder.together), f"{self.word}: encode"):
                parts.append(encoder.response_of(images.to(device), layer, quantity).cpu().numpy())
        result = representation(np.concatenate(parts), dataset, quantity=quantity, kind=self.word, layer=layer)
        return result.assign_attrs(state=state_digest(state))


def _batches(dataset: xr.Dataset, together: int | None) -> Sequence[torch.Tensor]:
    """Return the images in batches; of `together` and more where an answer depends on the images beside it."""
    import torch

    from biorep.nn import encoder

    images = np.ascontiguousarray(dataset["image"].values, dtype=np.float32)
    if together is None:
        return encoder.batches(images)
    return torch.as_tensor(images).split(encoder.equal_parts(dataset.sizes["presentation"], together))


@checked
def representation(
    response: np.ndarray, dataset: xr.Dataset, *, quantity: Quantity, kind: str, layer: str = "last"
) -> xr.Dataset:
    """Return responses, (presentation, neuroid) or (repeat, presentation, neuroid), as a representation.

    Parameters
    ----------
    response : array
    dataset : xr.Dataset
        The images.
    quantity : {"response", "preactivation"}
    kind : str
        Word of the network.
    layer : str
        Name of the layer.

    Raises
    ------
    NumericalError
        If a response is NaN or infinite.
    """
    import xarray as xr

    check_finite(response, "response")
    dims = ("repeat", "presentation", "neuroid")[-response.ndim :]
    result = xr.Dataset(
        {"response": (dims, response), **({"label": dataset["label"].variable} if "label" in dataset else {})},
        coords={**presentation_coords(dataset), "neuroid_id": ("neuroid", np.arange(response.shape[-1]))},
        attrs={"layer": layer, "quantity": quantity, "network": kind, "dataset": dataset.attrs.get("dataset", "")},
    )
    describe(result, {"response": (f"{quantity} of the neuroids", "1"), "neuroid_id": ("index of the neuroid", "1")})
    return result


def readout_dataset(weights: np.ndarray, bias: np.ndarray, classes: list[str]) -> xr.Dataset:
    """Return weights (class, neuroid) and bias (class,) as a readout."""
    import xarray as xr

    result = xr.Dataset(
        {
            "readout_weights": (("class", "neuroid"), np.asarray(weights, np.float32)),
            "readout_bias": ("class", np.asarray(bias, np.float32)),
        },
        coords={"class": np.asarray(classes, dtype=str)},
    )
    return describe(
        result,
        {
            "readout_weights": ("weights from the responses to the logits", "1"),
            "readout_bias": ("bias of the logits", "1"),
            "class": ("name of the class", "1"),
        },
    )


def set_report(state: xr.Dataset, report: dict[str, Any], warnings: list[str]) -> None:
    """Store the training report and its warnings in the attributes of a state."""
    state.attrs |= {"report": json.dumps(report), "warnings": json.dumps(warnings)}


def report_of(state: xr.Dataset) -> dict[str, Any]:
    """Return the training report of a state."""
    return dict(json.loads(state.attrs.get("report", "{}")))


def warnings_of(result: xr.Dataset) -> list[str]:
    """Return the warnings that a result carries."""
    return list(json.loads(result.attrs.get("warnings", "[]")))


def flat_images(dataset: xr.Dataset) -> np.ndarray:
    """Return the images as (presentation, input), float32, C order."""
    values = dataset["image"].values
    return np.ascontiguousarray(values.reshape(len(values), -1), dtype=np.float32)


def mark(network: Network, state: xr.Dataset, dataset: xr.Dataset) -> xr.Dataset:
    """Note in a state what it was learnt from and which network answers by it, in place; see `check_state`."""
    state.attrs |= {"image_shape": list(image_shape(dataset)), "form": json.dumps(_form(network))}
    return state


def check_state(network: Network, state: xr.Dataset, dataset: xr.Dataset | None = None) -> None:
    """Raise `DataError` unless a state is of such a network, and has learnt from images shaped like those of a dataset.

    States that are not marked (older ones, and those of users' networks) are of any network.
    """
    import xarray as xr

    if not isinstance(state, xr.Dataset):
        raise DataError(f"'{network.word}' needs the state that `fit` returned, a Dataset; got {type(state).__name__}")
    own, its = json.loads(json.dumps(_form(network))), json.loads(state.attrs.get("form", "{}"))
    if different := [name for name in own if name in its and own[name] != its[name]]:
        name = different[0]
        raise DataError(f"the state is of a network with the {name} {its[name]!r}, this one has {own[name]!r}")
    if dataset is not None and "image_shape" in state.attrs and learnt_shape(state) != image_shape(dataset):
        raise DataError(
            f"the network has learnt from images of the shape {learnt_shape(state)}, these are {image_shape(dataset)}"
        )


def _form(network: Network) -> dict[str, Any]:
    names = [name for base in type(network).__mro__ for name in vars(base).get("answers_by", ())]
    return {"kind": network.word, **{name: plain(getattr(network, name)) for name in names}}


def state_digest(state: xr.Dataset) -> str:
    """Return the digest of the arrays of a state, its history left out: what representations and readouts are of."""
    found = hashlib.blake2b(digest_size=8)
    for name in sorted(map(str, state.data_vars)):
        array = state[name]
        if array.dtype.kind == "f" and "epoch" not in array.dims:
            found.update(f"{name} {array.dims} {array.shape} {array.dtype}".encode())
            found.update(np.ascontiguousarray(array.values))
    return found.hexdigest()


def check_same_state(data: xr.Dataset, digest: str | None, what: str) -> None:
    """Raise `DataError` if data are known to be of another state than that of a digest; `what` begins the message."""
    if digest and data.attrs.get("state", digest) != digest:
        raise DataError(f"{what} of another state: that of another seed, training or network")


def learnt_weights(state: xr.Dataset, units: int) -> np.ndarray:
    """Return the weights (neuroid, input) of one layer of so many units, float32, for images as it has learnt from."""
    require_variables(state, {"weights": ()}, "the state of a network of one layer")
    inputs = state["weights"].sizes.get("input", 0)
    if "image_shape" in state.attrs:
        inputs = int(np.prod(learnt_shape(state)))
    return learnt_array(state, "weights", ("neuroid", "input"), (units, inputs))


def learnt_shape(state: xr.Dataset) -> tuple[int, ...]:
    """Return the shape of the images that a state was learnt from."""
    if "image_shape" not in state.attrs:
        raise DataError("the state has no attribute 'image_shape', the shape of the images that it was learnt from")
    return tuple(int(size) for size in np.atleast_1d(state.attrs["image_shape"]))


def image_shape(dataset: xr.Dataset) -> tuple[int, ...]:
    """Return the shape of one image."""
    return tuple(int(size) for size in dataset["image"].shape[1:])
