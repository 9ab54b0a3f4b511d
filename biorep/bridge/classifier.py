"""The bridge: a frozen network and its readout as one torch module, pixels to logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from biorep.bridge.readout import arrays_of
from biorep.bridge.surrogate import surrogate_module
from biorep.context import undisturbed
from biorep.contracts import Network
from biorep.errors import ConfigError, DataError
from biorep.networks.base import DifferentiableNetwork, check_same_state, state_digest
from biorep.nn.encoder import Encoder, taken
from biorep.schema import check_finite, in_order
from biorep.words import checked

Space = Literal["pixel", "normalised"]


class Classifier(nn.Module):
    """``logits = V response(image) + c``, frozen.

    Parameters
    ----------
    encoder : Encoder
    weights : Tensor, (class, neuroid)
    bias : Tensor, (class,)
    space : {"pixel", "normalised"}
        What `forward` takes: images, (presentation, ...), or rows that are normalised already. Holzhausen et
        al. (2024) attack the latter, so that their epsilons are in units of the unit-norm images.
    class_names : sequence of str, optional
        Of the logits; labels of a dataset with other places for them are matched by name.
    """

    @checked
    def __init__(
        self,
        encoder: Encoder,
        weights: Tensor,
        bias: Tensor,
        space: Space = "pixel",
        class_names: Sequence[str] | None = None,
    ):
        super().__init__()
        self.encoder, self.space, self.class_names = encoder, space, class_names
        self.register_buffer("weights", weights)
        self.register_buffer("bias", bias)
        self.weights: Tensor
        self.bias: Tensor
        self.eval()
        for parameter in self.parameters():
            parameter.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, (presentation, class)."""
        images = taken(images, self)
        response = self.encoder(images) if self.space == "pixel" else self.encoder.after_normalisation(images)
        return torch.nn.functional.linear(response, self.weights, self.bias)

    def prepare(self, images: Tensor) -> Tensor:
        """Return images as this module takes them: as they are, or as normalised rows."""
        images = taken(images, self)
        return images if self.space == "pixel" else self.encoder.normalise(images)


@checked
@undisturbed()
def classifier(
    network: Network,
    state: xr.Dataset,
    readout: xr.Dataset,
    *,
    surrogate: xr.Dataset | None = None,
    space: Space = "pixel",
) -> Classifier:
    """Join a trained network and its readout.

    Parameters
    ----------
    network : Network
    state : xr.Dataset
        What ``network.fit`` returned.
    readout : xr.Dataset
        What ``Readout.fit`` returned, or the network's own readout.
    surrogate : xr.Dataset, optional
        What ``Surrogate.fit`` returned, for a spiking network: it stands for the network's expected response.
    space : {"pixel", "normalised"}
        See `Classifier`.

    Returns
    -------
    Classifier
        A frozen `torch.nn.Module`: pixels in [0, 1], (presentation, ...), to logits, (presentation, class).

    Raises
    ------
    ConfigError
        If the network gives no gradients.
    DataError
        If the readout belongs to a network of another width, to another state or to other neuroids (they are matched by
        `neuroid_id`), was fitted to another layer or quantity, or its classes have no names.
    NumericalError
        If a weight is NaN or infinite.
    """
    if not isinstance(network, Network):
        raise ConfigError(f"needs a network of biorep, got {type(network).__name__}; a torch module needs no bridge")
    if isinstance(network, DifferentiableNetwork):
        encoder = network.module(state)
    elif surrogate is not None:
        encoder = surrogate_module(state, surrogate)
    else:
        raise ConfigError(f"'{network.word}' is not differentiable; it needs a surrogate to become a torch module")
    found, bias, classes = arrays_of(readout)
    if found.shape[1] != encoder.neuroids:
        raise DataError(
            f"the readout reads {found.shape[1]} neuroids, the network has {encoder.neuroids}: "
            "they do not belong together"
        )
    fitted = {"layer": encoder.layers()[-1], "quantity": "response"}
    for name, own in fitted.items():
        if surrogate is None and readout.attrs.get(name, own) != own:
            raise DataError(
                f"the readout was fitted to the {name} '{readout.attrs[name]}', and the module answers with '{own}'"
            )
    check_same_state(readout, state_digest(state), "the readout was fitted to responses")
    weights, _, _ = arrays_of(in_order(readout, np.arange(encoder.neuroids)))
    for name, values in encoder.state_dict().items():
        check_finite(np.asarray(values), name)
    return Classifier(encoder, torch.as_tensor(weights), torch.as_tensor(bias), space, classes)
