"""Named, independent random streams.

A stream is addressed by the seed of a run and any number of names, for example ``("shuffle", epoch)``. So a
result depends on neither the order in which streams are opened, nor the chunking, nor the number of workers,
and a killed training resumes at epoch *e* without a saved generator state.
"""

from __future__ import annotations

import hashlib
import json
import operator

import numpy as np

from biorep.errors import ConfigError


def check_seed(seed: object) -> int:
    """Return a seed as a built-in integer of any size.

    Raises
    ------
    ConfigError
        If it is no whole number, or negative.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ConfigError(f"seed must be a non-negative integer, got {seed!r}")
    return int(seed)


def stream_seed(seed: int, *names: str | int) -> int:
    """Return the 64-bit seed of the stream ``(seed, *names)``: the first 8 bytes of its SHA-256."""
    plain = [name if isinstance(name, str) else operator.index(name) for name in names]
    label = json.dumps([check_seed(seed), *plain])
    return int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "little")


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return a numpy generator for the stream ``(seed, *names)``.

    Examples
    --------
    >>> bool(stream(0, "shuffle", 1).random() == stream(0, "shuffle", 1).random())
    True
    """
    return np.random.Generator(np.random.PCG64(stream_seed(seed, *names)))
