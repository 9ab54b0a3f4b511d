"""Statistics of hidden layers over a whole training set, streamed in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from biorep.nn.loss import trace
from biorep.spectra.covariance import StreamedCovariance

#: Images that go through a network at once where nothing depends on it.
BATCH = 2000
#: Responses of the hidden layers and currents of the last one -> the layers that are meant.
Layers = Callable[[Sequence[Tensor], Tensor | None], Sequence[Tensor]]


def layer_covariances(module: nn.Module, inputs: Tensor, layers: Layers) -> list[StreamedCovariance]:
    """Return mean and covariance of layers over all inputs; the module is in eval mode meanwhile.

    Parameters
    ----------
    module : nn.Module
        With a method `trace`.
    inputs : Tensor, (presentation, ...)
    layers : callable
        Picks layers (presentation, neuroid).
    """
    training = module.training
    module.eval()
    found: list[StreamedCovariance] = []
    with torch.no_grad():
        for rows in torch.split(inputs, BATCH):
            hidden, preactivation, _ = trace(module, rows)
            for index, layer in enumerate(layers(hidden, preactivation)):
                if index == len(found):
                    found.append(StreamedCovariance(layer.shape[1]))
                found[index].add(layer.cpu().numpy())
    module.train(training)
    return found
