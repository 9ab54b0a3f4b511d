"""Penalty that bends the eigenspectrum of a representation towards a power law.

Nassar, J., Sokol, P. A., Chung, S., Harris, K. D. & Park, I. M. (2020). On 1/n neural representation and robustness.
NeurIPS 33.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from biorep.baselines.regularizers.base import BasePenalty, hidden_layers
from biorep.bridge.loss import Forward, trace
from biorep.config import setting
from biorep.errors import ConfigError, choose
from biorep.spectra.covariance import StreamedCovariance

#: Samples per dim below which the spectrum of a batch is far from that of the data, whatever the network does.
ENOUGH = 10

Target = Literal["anchored", "absolute"]


def spectral_penalty(
    activations: Tensor, basis: Tensor | None = None, *, alpha: float = 1.0, tau: int = 10, target: Target = "anchored"
) -> Tensor:
    """Return ``1 / D sum_n [(l_n / g_n - 1)^2 + max(0, l_n / g_n - 1)]`` over the components behind the anchor.

    ``l_n`` are the variances of the batch along the columns of the basis, in descending order, and ``g_n`` the target:
    ``l_a (a / n)^alpha`` with the anchor a = tau + 1, of which no gradient is taken (anchored), or ``n^-alpha``
    (absolute; the sum then starts at the anchor itself).

    Parameters
    ----------
    activations : Tensor, (presentation, neuroid)
    basis : Tensor, (neuroid, component), optional
        Columns of an orthonormal basis in any order, as a rule eigenvectors of the covariance over the training set.
        None: the eigenvectors of the batch itself, with a warning for small batches, whose spectrum says little.
    alpha : float
        Exponent of the target.
    tau : int
        Index of the anchor counted from 0, as published: 10 is the 11th component.
    target : {"anchored", "absolute"}

    Returns
    -------
    Tensor
        A number; components without variance are left out.

    Raises
    ------
    ConfigError
        If `tau` is not between 0 and D - 2, the target is unknown, or the batch is too small for the anchor.
    """
    choose(target, ("anchored", "absolute"), "target")
    samples, width = activations.shape
    if not 0 <= tau <= width - 2:
        raise ConfigError(f"tau = {tau} must be between 0 and {width - 2}, the width of the layer less 2")
    if samples < 2 or (basis is None and samples - 1 < tau + 2):
        raise ConfigError(
            f"a batch of {samples} has a spectrum of {max(samples - 1, 0)} components, too few for tau = {tau}: raise "
            f"batch_size to {tau + 3} at least"
        )
    centred = activations - activations.mean(0)
    variances = own_variances(centred) if basis is None else (centred @ basis).square().sum(0) / (samples - 1)
    ordered = variances.sort(descending=True).values
    rank = torch.arange(1, len(ordered) + 1, dtype=ordered.dtype, device=ordered.device)
    if target == "anchored":
        wanted, start = ordered[tau].detach() * ((tau + 1) / rank) ** alpha, tau + 1
    else:
        wanted, start = rank**-alpha, tau
    excess = torch.where(ordered > 0, ordered / wanted - 1, 0)[start:]
    return (excess.square() + excess.clamp_min(0)).sum() / width


def own_variances(centred: Tensor) -> Tensor:
    """Return the eigenvalues of the covariance of centred rows (presentation, neuroid) that the rows can have."""
    samples, width = centred.shape
    if samples < ENOUGH * width:
        warnings.warn(
            f"the spectrum of a batch of {samples} for {width} neuroids differs from that of the data whatever the "
            f"network does; take the basis of the training set, or batches of {ENOUGH * width} and more",
            stacklevel=3,
        )
    if samples <= width:
        gram = centred @ centred.T / (samples - 1)
        return torch.linalg.eigvalsh(gram)[1:]  # one direction is taken by the mean
    return torch.linalg.eigvalsh(centred.T @ centred / (samples - 1))


#: Images that go through the network at once when the basis is refreshed.
BATCH = 2000


class SpectralPenalty(BasePenalty):
    """See `spectral_penalty`; the basis is that of the whole training set, refreshed at the start of each epoch."""

    kind: Literal["spectral"] = "spectral"
    strength: float = setting(1.0, ge=0, description="multiplies the distance from the power law (published: beta)")
    alpha: float = setting(1.0, gt=0, description="exponent of the power law")
    tau: int = setting(10, ge=0, description="index of the anchor, counted from 0")
    target: Target = setting("anchored", description="anchored: only the shape; absolute: the variances as well")
    basis: Literal["epoch", "batch"] = setting("epoch", description="batch: eigenvectors of each mini-batch")
    layers: Literal["last", "all"] = setting("last", description="hidden layers that are bent")
    of: Literal["responses", "preactivation"] = setting(
        "responses", neutral="responses", description="preactivation: the currents of the last layer (Holzhausen 2024)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> SpectralPenalty:
        if self.of == "preactivation" and self.layers == "all":
            raise ValueError("of 'preactivation' goes with layers 'last'")
        return self

    def prepare(self, module: nn.Module, inputs: Tensor, labels: Tensor) -> list[Tensor] | None:
        """Return the eigenvectors (neuroid, component) of each layer's covariance over the training set."""
        return None if self.basis == "batch" else eigenbases(module, inputs, self._bent)

    def __call__(self, forward: Forward, prepared: list[Tensor] | None = None) -> Tensor:
        """Return the penalty of a mini-batch, summed over the layers."""
        layers = self._bent(forward)
        bases = prepared if prepared is not None else [None] * len(layers)
        parts = [
            spectral_penalty(layer, basis, alpha=self.alpha, tau=self.tau, target=self.target)
            for layer, basis in zip(layers, bases, strict=True)
        ]
        return torch.stack(parts).sum()

    def exact(self, forward: Forward) -> Tensor:
        """Return the penalty of the batch's own eigenvalues: exact for these samples, no estimate of the data's."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            parts = [
                spectral_penalty(layer.detach(), alpha=self.alpha, tau=self.tau, target=self.target)
                for layer in self._bent(forward)
            ]
        return torch.stack(parts).sum()

    def _bent(self, forward: Forward) -> tuple[Tensor, ...]:
        """Return what is bent, (presentation, neuroid) each."""
        layers = hidden_layers(forward, self.layers)
        if self.of == "responses":
            return layers
        assert forward.preactivation is not None  # a network with a hidden layer has its currents
        return (forward.preactivation,)


def eigenbases(
    module: nn.Module, inputs: Tensor, layers: Callable[[Forward], Sequence[Tensor]] = hidden_layers
) -> list[Tensor]:
    """Return the eigenvectors of the covariance of layers over all inputs, columns, the largest first.

    `layers` picks them, by default the responses of the last hidden layer. The module is in eval mode meanwhile. The
    covariance is streamed in float64.
    """
    training = module.training
    module.eval()
    covariances: list[StreamedCovariance] = []
    with torch.no_grad():
        for rows in torch.split(inputs, BATCH):
            hidden, preactivation, logits = trace(module, rows)
            forward = Forward(module, rows, rows, logits, hidden, preactivation)
            for index, layer in enumerate(layers(forward)):
                if index == len(covariances):
                    covariances.append(StreamedCovariance(layer.shape[1]))
                covariances[index].add(layer.cpu().numpy())
    module.train(training)
    return [torch.as_tensor(one.eigenvectors().copy(), dtype=inputs.dtype, device=inputs.device) for one in covariances]
