"""Checkpoints of long trainings: one file in a folder of the run, replaced whole.

The file is one of torch, read without running any code of it (``weights_only``): tensors, numbers, strings, and lists
and dictionaries of these. Arrays travel as tensors.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from biorep.atomic import write_with
from biorep.context import RunContext


def identity(inputs: np.ndarray, settings: Mapping[str, Any]) -> str:
    """Return what a checkpoint belongs to: a hash of the training data and of everything that steers the training."""
    data = hashlib.sha256(np.ascontiguousarray(inputs)).hexdigest()
    return hashlib.sha256(json.dumps({**settings, "data": data}, sort_keys=True, default=repr).encode()).hexdigest()


class Checkpoint:
    """The values with which a training goes on, in a file of the context's folder; without a folder nothing is saved.

    The key says what they belong to, see `identity`: those of other trainings are ignored.
    """

    def __init__(self, context: RunContext, name: str, key: str):
        self.key = key
        self.path: Path | None = context.checkpoint / f"{name}.pt" if context.checkpoint else None
        self.every, self.last = context.checkpoint_every, time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Return the values saved last, or None: there are none, they are damaged, or of another training."""
        if self.path is None or not self.path.is_file():
            return None
        import torch

        try:
            # On the CPU: what takes the values moves them, and the GPU of the killed training may be another one.
            saved = torch.load(self.path, weights_only=True, map_location="cpu")
            if saved["key"] != self.key:
                return None
            return {**saved["values"], **{name: tensor.numpy() for name, tensor in saved["arrays"].items()}}
        except Exception:  # damaged: torch raises whatever its unpickler meets; the training starts anew
            return None

    def due(self) -> bool:
        """Return whether it is time to save."""
        return self.path is not None and time.monotonic() - self.last >= self.every

    def save(self, values: Mapping[str, Any]) -> None:
        """Save values under their names: arrays, tensors, numbers, strings, and lists and dictionaries of these."""
        import torch

        assert self.path is not None
        arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray | np.generic)}
        saved = {
            "key": self.key,
            "values": {name: value for name, value in values.items() if name not in arrays},
            "arrays": {name: torch.from_numpy(np.array(value, order="C")) for name, value in arrays.items()},
        }
        write_with(self.path, lambda path: torch.save(saved, path))
        self.last = time.monotonic()

    def remove(self) -> None:
        """Remove the file: the training is done."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
