"""Penalty that bends the eigenspectrum of a representation towards a power law.

Nassar, J., Sokol, P. A., Chung, S., Harris, K. D. & Park, I. M. (2020). On 1/n neural representation and robustness.
NeurIPS 33.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from biorep.config import setting
from biorep.context import as_usual
from biorep.errors import ConfigError
from biorep.nn import gate
from biorep.nn.loss import Forward
from biorep.nn.streaming import Layers, layer_covariances
from biorep.penalties.base import BasePenalty, hidden_layers
from biorep.words import checked

#: Samples per dim below which the spectrum of a batch is far from that of the data, whatever the network does.
ENOUGH = 10

Target = Literal["anchored", "absolute"]


@checked
@as_usual()
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
        If `tau` is not between 0 and D - 2, the target is unknown, the batch is too small for the anchor, or the basis
        is not that of as many neuroids.
    """
    if not gate.is_number(alpha):
        raise ConfigError(f"alpha must be a number, got {alpha!r}")
    activations = gate.numbers(activations, "activations")
    samples, width = activations.shape
    check_anchor(samples, width, tau, own=basis is None)
    if basis is not None:
        basis = gate.numbers(basis, "basis").to(activations)
        if basis.shape != (width, width):
            raise ConfigError(f"the basis is {tuple(basis.shape)}, the activations have {width} neuroids: not theirs")
    centred = activations - activations.mean(0)
    variances = own_variances(centred) if basis is None else (centred @ basis).square().sum(0) / (samples - 1)
    ordered = variances.sort(descending=True).values
    rank = torch.arange(1, len(ordered) + 1, dtype=ordered.dtype, device=ordered.device)
    if target == "anchored":
        wanted, start = ordered[tau].detach() * ((tau + 1) / rank) ** alpha, tau + 1
    else:
        wanted, start = rank**-alpha, tau
    alive = ~((ordered <= 0) | (wanted <= 0))  # true for NaN, which must stay one
    excess = torch.where(alive, ordered / torch.where(alive, wanted, 1) - 1, 0)[start:]
    return (excess.square() + excess.clamp_min(0)).sum() / width


def check_anchor(samples: int, width: int, tau: int, *, own: bool) -> None:
    """Raise `ConfigError` unless a batch and a layer are large enough for an anchor at index `tau`."""
    if not gate.is_whole(tau) or not 0 <= tau <= width - 2:
        raise ConfigError(f"tau = {tau!r} must be between 0 and {width - 2}, the width of the layer less 2, and whole")
    needed = tau + 3 if own else max(2, tau + 1)
    if samples < needed:
        raise ConfigError(
            f"a batch of {samples} is too small for an anchor at component {tau + 1} (tau = {tau}): it takes {needed}. "
            "Raise batch_size, or choose one that leaves no small last batch"
        )


def own_variances(centred: Tensor) -> Tensor:
    """Return the eigenvalues of the covariance of centred rows (presentation, neuroid) that the rows can have."""
    samples, width = centred.shape
    if samples < ENOUGH * width:
        warnings.warn(small_batch(samples, width), stacklevel=3)
    with gate.solvable("the spectrum of the batch"):
        if samples <= width:
            gram = centred @ centred.T / (samples - 1)
            return torch.linalg.eigvalsh(gram)[1:]  # one direction is taken by the mean
        return torch.linalg.eigvalsh(centred.T @ centred / (samples - 1))


def small_batch(samples: int, width: int) -> str:
    """Return why the own spectrum of a batch says little."""
    return (
        f"the spectrum of a batch of {samples} for {width} neuroids differs from that of the data whatever the "
        f"network does; take the basis of the training set, or batches of {ENOUGH * width} and more"
    )


class SpectralPenalty(BasePenalty):
    """See `spectral_penalty`; the basis is that of the whole training set, refreshed at the start of each epoch.

    Within an epoch a network can turn away from the basis: then ``penalty_spectral`` over strength is far below the
    exact ``value_spectral`` of the history. A refresh after fewer steps, that is larger batches, brings them together.
    """

    versions: ClassVar[Mapping[str, int]] = {"spectral": 1}

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

    def examine(self, forward: Forward, smallest: int) -> list[str]:
        """Refuse an anchor that layers or batches cannot have; say if a batch is too small for a basis of its own."""
        remarks = []
        for layer in self._bent(forward.hidden, forward.preactivation):
            samples, width = layer.shape
            check_anchor(min(smallest, samples), width, self.tau, own=self.basis == "batch")
            if self.basis == "batch" and samples < ENOUGH * width:
                remarks.append(small_batch(samples, width))
        return remarks

    def prepare(self, module: nn.Module, inputs: Tensor, labels: Tensor) -> list[Tensor] | None:
        """Return the eigenvectors (neuroid, component) of each layer's covariance over the training set."""
        return None if self.basis == "batch" else eigenbases(module, inputs, self._bent)

    def __call__(self, forward: Forward, prepared: list[Tensor] | None = None) -> Tensor:
        """Return the penalty of a mini-batch, summed over the layers."""
        return self._summed(self._bent(forward.hidden, forward.preactivation), prepared)

    def exact(self, forward: Forward) -> Tensor:
        """Return the penalty of the batch's own eigenvalues: exact for these samples, no estimate of the data's."""
        return self._summed([layer.detach() for layer in self._bent(forward.hidden, forward.preactivation)], None)

    def _summed(self, layers: Sequence[Tensor], bases: Sequence[Tensor] | None) -> Tensor:
        given: Sequence[Tensor | None] = [None] * len(layers) if bases is None else bases
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # `examine` has said it once
            parts = [
                spectral_penalty(layer, basis, alpha=self.alpha, tau=self.tau, target=self.target)
                for layer, basis in zip(layers, given, strict=True)
            ]
        return torch.stack(parts).sum()

    def _bent(self, hidden: Sequence[Tensor], preactivation: Tensor | None) -> Sequence[Tensor]:
        """Return what is bent, (presentation, neuroid) each."""
        layers = hidden_layers(hidden, self.layers)
        if self.of == "responses":
            return layers
        assert preactivation is not None  # a network with a hidden layer has its currents
        return (preactivation,)


def eigenbases(module: nn.Module, inputs: Tensor, layers: Layers | None = None) -> list[Tensor]:
    """Return the eigenvectors of the covariance of layers over all inputs, columns, the largest first.

    `layers` picks them, by default the responses of the last hidden layer.
    """
    found = layer_covariances(module, inputs, layers or (lambda hidden, _: hidden_layers(hidden)))
    return [torch.as_tensor(one.eigenvectors().copy(), dtype=inputs.dtype, device=inputs.device) for one in found]
