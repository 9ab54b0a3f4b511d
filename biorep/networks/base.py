"""The contract that every network keeps.

A network is a frozen configuration with two verbs: ``fit(dataset, *, seed, run) -> state`` learns, and
``encode(state, dataset, *, seed, repeats, run) -> representation`` shows a frozen network images. A
differentiable network also gives ``module(state) -> Encoder``, pixels in, responses out.

The state is an `xr.Dataset` of learnt arrays; its attributes `warnings` (a JSON list) and `report` (a JSON
mapping) say how the training went.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from biorep.config import Config, setting
from biorep.context import RunContext
from biorep.errors import ConfigError
from biorep.schema import check_dataset, check_finite, describe, presentation_coords, require_splits

if TYPE_CHECKING:
    import xarray as xr

    from biorep.networks.encoder import Encoder

Layer = Literal["response", "preactivation"]
FITTING = ("train", "validation")


class Network(Config, ABC):
    """Base of all networks; concrete ones are final and set `kind` to the name that recipes use."""

    #: Range of image values that the network accepts; None: any.
    accepts: ClassVar[tuple[float, float] | None] = (0.0, 1.0)
    #: Whether `fit` learns classes as well, so that the state holds a readout of its own.
    has_readout: ClassVar[bool] = False
    #: Whether `fit` takes images of the validation split as `validation`, to watch the training.
    takes_validation: ClassVar[bool] = False
    #: Whether encoding takes so long that the responses to the training images are kept as well.
    slow_to_encode: ClassVar[bool] = False
    #: Whether a sweep executes its runs in processes of their own.
    own_process: ClassVar[bool] = False
    #: Who described the network.
    reference: ClassVar[str] = ""

    kind: str

    @abstractmethod
    def fit(self, dataset: xr.Dataset, *, seed: int, run: RunContext | None = None) -> xr.Dataset:
        """Learn from a dataset and return the state."""

    @abstractmethod
    def encode(
        self,
        state: xr.Dataset,
        dataset: xr.Dataset,
        *,
        seed: int = 0,
        repeats: int | None = None,
        layer: Layer = "response",
        run: RunContext | None = None,
    ) -> xr.Dataset:
        """Return the responses of the frozen network to the images of a dataset."""

    @property
    def depends_on_batch(self) -> bool:
        """Whether the answer to an image depends on the images that are shown with it."""
        return False

    def engine(self, run: RunContext | None = None) -> str:
        """Return what runs the network, as it enters the hash of its results."""
        return f"torch-{(run or RunContext()).torch_device().partition(':')[0]}"

    def check_fitting(self, dataset: xr.Dataset) -> None:
        """Check a dataset that is to be learnt from: its values, and that no test image is in it."""
        check_dataset(dataset, value_range=self.accepts)
        require_splits(dataset, FITTING, f"training of '{self.kind}'")


class DifferentiableNetwork(Network, ABC):
    """A network whose responses are a differentiable function of the pixels."""

    input_norm: float | None = setting(
        2.0, gt=0, description="divide each image by its Lp norm with this p, inside the network; null: do not"
    )

    @abstractmethod
    def module(self, state: xr.Dataset) -> Encoder:
        """Return the frozen network as a torch module: pixels (presentation, ...) to responses."""

    def encode(
        self,
        state: xr.Dataset,
        dataset: xr.Dataset,
        *,
        seed: int = 0,
        repeats: int | None = None,
        layer: Layer = "response",
        run: RunContext | None = None,
    ) -> xr.Dataset:
        """Return the responses of the frozen network to the images of a dataset.

        Parameters
        ----------
        state : xr.Dataset
            What `fit` returned.
        dataset : xr.Dataset
            Images, ``image(presentation, ...)``.
        seed : int
            Not used: the responses are deterministic.
        repeats : int, optional
            Only None or 1: repeats of a deterministic response would be copies.
        layer : {"response", "preactivation"}
            After or before the nonlinearity.
        run : RunContext, optional

        Returns
        -------
        xr.Dataset
            ``response(presentation, neuroid)``, float32, with the coordinates of the presentations and
            `neuroid_id`.
        """
        import torch

        from biorep.networks.encoder import batches, equal_parts

        if repeats not in (None, 1):
            raise ConfigError(f"'{self.kind}' answers without noise: repeats={repeats} would be {repeats} equal copies")
        run = run or RunContext()
        check_dataset(dataset, value_range=self.accepts)
        device = run.torch_device()
        encoder = self.module(state).to(device)
        function = encoder if layer == "response" else encoder.preactivation_of
        values: Sequence[torch.Tensor] = batches(dataset["image"].values)
        if encoder.together is not None:
            lengths = equal_parts(dataset.sizes["presentation"], encoder.together)
            values = torch.as_tensor(dataset["image"].values).split(lengths)
        with torch.inference_mode():
            parts = [function(images.to(device)).cpu().numpy() for images in run.track(values, f"{self.kind}: encode")]
        return representation(np.concatenate(parts), dataset, layer=layer, kind=self.kind)


def representation(response: np.ndarray, dataset: xr.Dataset, *, layer: str, kind: str) -> xr.Dataset:
    """Return responses, (presentation, neuroid) or (repeat, presentation, neuroid), as a representation."""
    import xarray as xr

    check_finite(response, "response")
    dims = ("repeat", "presentation", "neuroid")[-response.ndim :]
    result = xr.Dataset(
        {"response": (dims, response), "label": dataset["label"].variable},
        coords={
            **presentation_coords(dataset),
            "neuroid_id": ("neuroid", np.arange(response.shape[-1])),
        },
        attrs={"layer": layer, "network": kind, "dataset": dataset.attrs.get("dataset", "")},
    )
    describe(result, {"response": (f"{layer} of the neuroids", "1"), "neuroid_id": ("index of the neuroid", "1")})
    return result


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


def image_shape(dataset: xr.Dataset) -> tuple[int, ...]:
    """Return the shape of one image."""
    return tuple(int(size) for size in dataset["image"].shape[1:])
