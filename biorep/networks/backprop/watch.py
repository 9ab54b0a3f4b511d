"""What a training records after each epoch besides its own terms, on images that it does not learn from.

Penalties are recorded in their exact form in float64, whether they are trained or not, so that networks with and
without one can be compared.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from biorep.errors import ConfigError, DataError
from biorep.nn.encoder import equal_parts
from biorep.nn.loss import Forward, Part, trace
from biorep.nn.streaming import BATCH
from biorep.nn.whitening import depends_on_batch
from biorep.penalties.base import BasePenalty
from biorep.spectra import eigenspectrum, fit_powerlaw


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
        Those that are recorded.
    parts : sequence of Part
        As in `biorep.nn.training.Training`; the values are those of the last one.
    every : int
        Epochs from one record of the exact values to the next, which are NaN in between.
    epochs : int
        Of the training; the last one is always recorded.
    stop_accuracy : float, optional
        Accuracy on the validation split at which to stop.
    together : int, optional
        See `biorep.nn.encoder.Encoder`.
    """

    inputs: Tensor
    labels: Tensor
    whole: tuple[Tensor, Tensor] | None
    penalties: Sequence[BasePenalty]
    parts: Sequence[Part]
    every: int
    epochs: int
    stop_accuracy: float | None
    together: int | None = None

    def __call__(self, done: int) -> tuple[dict[str, float], bool]:
        """Return the values after `done` epochs and whether to stop."""
        row: dict[str, float] = {}
        stop = False
        if self.whole is not None:
            inputs, labels = self.whole
            for part in self.parts:
                row[part.called("validation_accuracy")] = accuracy(
                    part.module, inputs, part.relabel(labels), self.together
                )
            stop = self.stop_accuracy is not None and row["validation_accuracy"] >= self.stop_accuracy
        if len(self.inputs):
            due = stop or done % self.every == 0 or done == self.epochs
            row |= self._values() if due else dict.fromkeys(names(self.penalties), float("nan"))
        return row, stop

    def _values(self) -> dict[str, float]:
        part = self.parts[-1]
        return exact_values(part.module, self.inputs, part.relabel(self.labels), self.penalties)


def names(penalties: Sequence[BasePenalty] = ()) -> list[str]:
    """Return the variables of the history that `exact_values` gives."""
    values = [f"value_{penalty.word}" for penalty in penalties]
    return ["evaluation_loss", "evaluation_accuracy", "evaluation_exponent", *values]


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


def exact_values(
    module: nn.Module, inputs: Tensor, labels: Tensor, penalties: Sequence[BasePenalty] = ()
) -> dict[str, float]:
    """Return cross-entropy, accuracy, exponent of the spectrum and penalties, in eval mode and float64.

    Parameters
    ----------
    module : nn.Module
        With a method `trace`; left as it is.
    inputs : Tensor, (presentation, ...)
    labels : Tensor of int64, (presentation,)
    penalties : sequence of BasePenalty

    Returns
    -------
    dict
        By `names`; NaN for what these inputs or this network do not have, such as an exponent of 10 neuroids, or the
        gradient of one image if the answer to it depends on the others.
    """
    twin = copy.deepcopy(module).double().eval()
    rows = inputs.detach().double().requires_grad_()
    hidden, preactivation, logits = trace(twin, rows)
    forward = Forward(twin, rows, labels, logits, hidden, preactivation)
    alone = not depends_on_batch(twin)
    values = {
        "evaluation_loss": float(nn.functional.cross_entropy(logits, labels).detach()),
        "evaluation_accuracy": float((logits.argmax(1) == labels).double().mean()),
        "evaluation_exponent": exponent(hidden[-1].detach()),
    }
    for penalty in penalties:
        try:
            known = alone or not penalty.needs_input_gradient
            values[f"value_{penalty.word}"] = float(penalty.exact(forward).detach()) if known else np.nan
        except ConfigError:  # no such value, for example an anchor behind the end of the spectrum
            values[f"value_{penalty.word}"] = np.nan
    return values


def exponent(responses: Tensor) -> float:
    """Return the exponent of the power law of the covariance of responses (presentation, neuroid), or NaN."""
    labelled = xr.DataArray(responses.cpu().numpy(), dims=("presentation", "neuroid"))
    try:
        return float(fit_powerlaw(eigenspectrum(labelled))["alpha"])
    except (ConfigError, DataError):
        return np.nan


def accuracy(module: nn.Module, inputs: Tensor, labels: Tensor, together: int | None = None) -> float:
    """Return the share of inputs that are classified correctly; `together` are shown at once if that matters."""
    lengths = equal_parts(len(inputs), together or BATCH)
    with torch.no_grad():
        hits = [
            (module(rows).argmax(1) == wanted).sum()
            for rows, wanted in zip(inputs.split(lengths), labels.split(lengths), strict=True)
        ]
    return float(torch.stack(hits).sum()) / len(labels)
