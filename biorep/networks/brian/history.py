"""The learning history of a spiking network: answers, thresholds and the accuracy of labels assigned on the way."""

from __future__ import annotations

import numpy as np
import xarray as xr

from biorep.engines.chunks import Answers
from biorep.engines.programs import Arrays
from biorep.schema import describe


class History:
    """How the training went: answers, thresholds, and the accuracy of labels assigned on the way.

    Parameters
    ----------
    units : int
    labels : (presentation,) int array
        Of the images in the order in which they are shown.
    """

    #: After so many images the weight of an answer in the assignment of labels has halved.
    HALVED = 2000
    #: Labels are assigned anew after so many images.
    BLOCK = 100

    def __init__(self, units: int, labels: np.ndarray):
        self.units, self.labels = units, labels
        self.classes = int(labels.max()) + 1 if len(labels) else 1
        self.winner = np.full(len(labels), -1, np.int32)
        self.spikes = np.zeros(len(labels))
        self.tries = np.zeros(len(labels), np.int16)
        self.correct = np.full(len(labels), -1, np.int8)
        self.per_class = np.zeros((self.classes, units))
        self.shown_per_class = np.zeros(self.classes)
        self.assigned = np.full(units, -1)
        self.thresholds = np.zeros((0, 2))

    def add(self, answers: Answers, arrays: Arrays) -> None:
        """Take the answers of one chunk and the variables at its end."""
        at = answers.presentation
        if not len(at):
            return
        self.spikes[at], self.tries[at] = answers.count.sum(1), answers.tries
        self.winner[at] = np.where(self.spikes[at] > 0, answers.count.argmax(1), -1)
        # Blocks begin at fixed images, wherever a chunk ends: the history does not depend on the chunks.
        for block in np.unique(at // self.BLOCK):
            inside = at // self.BLOCK == block
            if at[inside][0] % self.BLOCK == 0:
                self._assign()
            self._judge(at[inside], answers.count[inside])
        theta = next((values for name, values in arrays.items() if name.endswith(".theta")), None)
        if theta is not None:
            self.thresholds = np.vstack([self.thresholds, [at[-1] + 1, 1e3 * theta.mean()]])

    def _assign(self) -> None:
        if self.per_class.any():
            mean = self.per_class / np.maximum(self.shown_per_class, 1e-9)[:, None]
            self.assigned = np.where(mean.max(0) > 0, mean.argmax(0), -1)
        fade = 0.5 ** (self.BLOCK / self.HALVED)
        self.per_class *= fade
        self.shown_per_class *= fade

    def _judge(self, at: np.ndarray, counts: np.ndarray) -> None:
        labels = self.labels[at]
        if (self.assigned >= 0).any():
            members = (self.assigned == np.arange(self.classes)[:, None]).astype(float)
            mean = counts @ members.T / np.maximum(members.sum(1), 1)
            self.correct[at] = (mean.argmax(1) == labels) & (mean.max(1) > 0)
        for label, count in zip(labels, counts, strict=True):
            self.per_class[label] += count
            self.shown_per_class[label] += 1

    def dataset(self) -> xr.Dataset:
        """Return the history in about twenty entries."""
        window = max(self.BLOCK, -(-len(self.labels) // 20))
        ends = np.array(sorted({*range(window, len(self.labels), window), len(self.labels)} - {0}), int)
        starts = np.concatenate([[0], ends])[:-1].astype(int)
        rows = [slice(a, b) for a, b in zip(starts, ends, strict=True)]
        known = [self.correct[r][self.correct[r] >= 0] for r in rows]
        result = xr.Dataset(
            {
                "online_accuracy": ("shown", np.array([k.mean() if len(k) else np.nan for k in known])),
                "mean_spikes": ("shown", np.array([self.spikes[r].mean() for r in rows])),
                "shown_again": ("shown", np.array([(self.tries[r] > 1).mean() for r in rows])),
                "wins": ("neuroid", np.bincount(self.winner[self.winner >= 0], minlength=self.units)),
                "share_of_winners": (
                    "shown",
                    np.array([len(np.unique(self.winner[r][self.winner[r] >= 0])) / self.units for r in rows]),
                ),
            },
            coords={"shown": ends},
        )
        if len(self.thresholds) and len(ends):
            result["mean_theta"] = ("shown", np.interp(ends, *self.thresholds.T))
        return describe(
            result,
            {
                "shown": ("images shown so far", "1"),
                "online_accuracy": ("share of images classified by labels assigned on the images before", "1"),
                "mean_spikes": ("spikes per image", "1"),
                "wins": ("images that the neuroid answered most to", "1"),
                "shown_again": ("share of images that were shown more than once", "1"),
                "share_of_winners": ("share of the units that answered most to at least one image", "1"),
                "mean_theta": ("mean adaptive part of the threshold", "mV"),
            },
        )

    def arrays(self) -> Arrays:
        """Return everything as arrays, for a checkpoint."""
        return {name: getattr(self, name) for name in self._KEPT}

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` returned."""
        for name in self._KEPT:
            setattr(self, name, arrays[name])

    _KEPT = ("winner", "spikes", "tries", "correct", "per_class", "shown_per_class", "assigned", "thresholds")
