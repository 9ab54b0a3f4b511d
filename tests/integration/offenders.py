"""A network that misbehaves on request, and notes in a ledger what it has begun and done."""

from __future__ import annotations

import os
import signal
import time
from typing import ClassVar

import numpy as np
import xarray as xr

from biorep.config import setting
from biorep.contracts import Network
from biorep.networks.base import flat_images, representation


def note(word: str, name: str) -> None:
    """Append a line to the ledger; lines of this length are written whole."""
    with open(os.environ["BIOREP_TEST_LEDGER"], "a") as ledger:
        ledger.write(f"{word} {name} {os.getpid()}\n")


class Offender(Network):
    """Answers with random features, after a while."""

    kind: str = "offenders.py:Offender"
    units: int = setting(5, ge=1)
    name: str = setting("run")
    misdeed: str = setting("none")
    pause: float = setting(0.1, ge=0)

    def fit(self, dataset, *, seed, context=None):
        note("begin", self.name)
        time.sleep(self.pause)
        if self.misdeed == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.misdeed == "raise":
            raise RuntimeError("this run always raises")
        if self.misdeed == "half":
            self._die_while_writing()
        weights = np.random.default_rng(seed).standard_normal((self.units, flat_images(dataset).shape[1]))
        note("done", self.name)
        state = xr.Dataset({"weights": (("neuroid", "input"), weights)})
        state["weights"].attrs.update(long_name="weights", units="1")
        return state

    def encode(self, state, dataset, *, seed=0, repeats=None, quantity="response", context=None, **rest):
        response = np.maximum(flat_images(dataset) @ state["weights"].values.T, 0).astype(np.float32)
        return representation(response, dataset, quantity=quantity, kind=self.word)

    def _die_while_writing(self):
        """Once: let the next result be half written when the process is killed."""
        from biorep.lab.store import stages

        marker = os.environ["BIOREP_TEST_LEDGER"] + ".half"
        if os.path.exists(marker):
            return
        whole = stages._write

        def half(result, path):
            whole(result, path)
            with open(path, "r+b") as file:
                file.truncate(os.path.getsize(path) // 2)
            open(marker, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)

        stages._write = half


class Apart(Offender):
    """The same in a process of its own, as networks of spikes."""

    kind: str = "offenders.py:Apart"
    own_process: ClassVar[bool] = True
