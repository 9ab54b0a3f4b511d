"""Checkpoints of long trainings: arrays in one file in a folder of the run, replaced whole."""

from __future__ import annotations

import time
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from biorep.atomic import write_with
from biorep.context import RunContext


class Checkpoint:
    """The arrays with which a training goes on; without a folder nothing is saved.

    Parameters
    ----------
    run : RunContext
        Its `checkpoint` is the folder and its `checkpoint_every` the seconds between two checkpoints.
    name : str
        Name of the file, without suffix.
    key : str
        What the checkpoint belongs to, see `biorep.context.identity`: those of other trainings are ignored.
    """

    def __init__(self, run: RunContext, name: str, key: str):
        self.key = key
        self.path: Path | None = run.checkpoint / f"{name}.npz" if run.checkpoint else None
        self.every, self.last = run.checkpoint_every, time.monotonic()

    def load(self) -> dict[str, np.ndarray] | None:
        """Return the arrays saved last, or None: there are none, they are damaged, or of another training."""
        if self.path is None or not self.path.is_file():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as saved:
                arrays = {name: saved[name] for name in saved.files}
        except (OSError, EOFError, ValueError, LookupError, zipfile.BadZipFile, zlib.error):
            return None
        return arrays if str(arrays.pop("key", "")) == self.key else None

    def due(self) -> bool:
        """Return whether it is time to save."""
        return self.path is not None and time.monotonic() - self.last >= self.every

    def save(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Save arrays under their names."""
        assert self.path is not None

        def write(path: Path) -> None:
            with open(path, "wb") as file:
                np.savez(file, key=np.asarray(self.key), **arrays)  # type: ignore[arg-type]

        write_with(self.path, write)
        self.last = time.monotonic()

    def remove(self) -> None:
        """Remove the file: the training is done."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
