"""What a training records after each epoch besides its own terms, on images that it does not learn from.

Every kind of penalty is recorded in its exact form in float64, whether it is trained or not, so that networks with and
without it can be compared.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from biorep.baselines.regularizers import DEFAULTS
from biorep.baselines.regularizers.base import BasePenalty
from biorep.bridge.loss import Forward, Part, trace
from biorep.errors import ConfigError, DataError
from biorep.spectra import eigenspectrum, fit_powerlaw

#: Images that go through the network at once.
BATCH = 2000


@dataclass
class Watch:
    """Values after an epoch, and whether the training has reached what it is to reach.

    Parameters
    ----------
    inputs : Tensor, (presentation, ...)
        As the module takes them: the evaluation batch.
    labels : Tensor of int64, (presentation,)
    whole : (Tensor, Tensor), optional
        Inputs and labels of the whole validation split, for its accuracy.
    penalties : sequence of BasePenalty
        Those that are trained: their settings are used for their kind.
    parts : sequence of Part
        As in `biorep.bridge.training.train`; the values are those of the last one.
    every : int
        Epochs from one record of the exact values to the next, which are NaN in between.
    epochs : int
        Of the training; the last one is always recorded.
    stop_accuracy : float, optional
        Accuracy on the validation split at which to stop.
    """

    inputs: Tensor
    labels: Tensor
    whole: tuple[Tensor, Tensor] | None
    penalties: Sequence[BasePenalty]
    parts: Sequence[Part]
    every: int
    epochs: int
    stop_accuracy: float | None

    def __call__(self, done: int) -> tuple[Mapping[str, float], bool]:
        """Return the values after `done` epochs and whether to stop."""
        row: dict[str, float] = {}
        stop = False
        if self.whole is not None:
            inputs, labels = self.whole
            for part in self.parts:
                row[part.called("validation_accuracy")] = accuracy(part.module, inputs, part.relabel(labels))
            stop = self.stop_accuracy is not None and row["validation_accuracy"] >= self.stop_accuracy
        if len(self.inputs):
            due = stop or done % self.every == 0 or done == self.epochs
            row |= self._values() if due else dict.fromkeys(NAMES, np.nan)
        return row, stop

    def _values(self) -> dict[str, float]:
        part = self.parts[-1]
        return exact_values(part.module, self.inputs, part.relabel(self.labels), self.penalties)


#: Variables of the history that `exact_values` gives.
NAMES = (
    "evaluation_loss",
    "evaluation_accuracy",
    "evaluation_exponent",
    *(f"value_{penalty.kind}" for penalty in DEFAULTS),
)


def exact_values(
    module: nn.Module, inputs: Tensor, labels: Tensor, penalties: Sequence[BasePenalty] = ()
) -> dict[str, float]:
    """Return cross-entropy, accuracy, exponent of the spectrum and every penalty, in eval mode and float64.

    Parameters
    ----------
    module : nn.Module
        With a method `trace`; left as it is.
    inputs : Tensor, (presentation, ...)
    labels : Tensor of int64, (presentation,)
    penalties : sequence of BasePenalty
        Settings other than the defaults, for the kinds that are in it.

    Returns
    -------
    dict
        By the names in `NAMES`; NaN for what these inputs or this network do not have, such as an exponent of 10
        neuroids.
    """
    twin = copy.deepcopy(module).double().eval()
    rows = inputs.detach().double().requires_grad_()
    hidden, preactivation, logits = trace(twin, rows)
    forward = Forward(twin, rows, labels, logits, hidden, preactivation)
    own = {penalty.kind: penalty for penalty in penalties}
    values = {
        "evaluation_loss": float(nn.functional.cross_entropy(logits, labels).detach()),
        "evaluation_accuracy": float((logits.argmax(1) == labels).double().mean()),
        "evaluation_exponent": exponent(hidden[-1].detach()),
    }
    for penalty in DEFAULTS:
        try:
            values[f"value_{penalty.kind}"] = float(own.get(penalty.kind, penalty).exact(forward).detach())
        except ConfigError:  # no such value, for example an anchor behind the end of the spectrum
            values[f"value_{penalty.kind}"] = np.nan
    return values


def exponent(responses: Tensor) -> float:
    """Return the exponent of the power law of the covariance of responses (presentation, neuroid), or NaN."""
    labelled = xr.DataArray(responses.cpu().numpy(), dims=("presentation", "neuroid"))
    try:
        return float(fit_powerlaw(eigenspectrum(labelled))["alpha"])
    except (ConfigError, DataError):
        return np.nan


def accuracy(module: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Return the share of inputs that are classified correctly."""
    with torch.no_grad():
        hits = [
            (module(rows).argmax(1) == wanted).sum()
            for rows, wanted in zip(inputs.split(BATCH), labels.split(BATCH), strict=True)
        ]
    return float(torch.stack(hits).sum()) / len(labels)
