"""Whether a network answers an image alike in each simulation: no dice of Brian2's own, no clock but that of the slot.

Training, encoding and recording are simulations of their own, cut into chunks. Brian2's random numbers would be others
in each of them, and the clock of a spike generator starts with each chunk, not with each image.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Iterator
from typing import Any
from unittest import mock

from biorep.engines.presentation import Circuit
from biorep.errors import ConfigError

DICE = re.compile(r"\b(rand|randn|poisson|binomial|sample)\s*\(")
CLOCKED = ("PoissonGroup", "PoissonInput", "SpikeGeneratorGroup")
DRAW = "draw it with numpy in `build` or `initial`, from biorep.rng.stream(seed, name), which is the same each time"


@contextlib.contextmanager
def fixed_connections(word: str) -> Iterator[None]:
    """Refuse connections that are drawn at random while the block runs: each simulation would have others."""
    import brian2 as b2

    original = b2.Synapses.connect

    def connect(self: Any, *args: Any, level: int = 0, **settings: Any) -> None:
        asked = inspect.signature(original).bind(self, *args, **settings).arguments
        texts = [str(asked.get(name, "")) for name in ("condition", "i", "j")]
        if not (asked.get("p", 1) == 1) or any(DICE.search(text) for text in texts):
            raise ConfigError(
                f"'{word}': connect() of '{self.name}' draws connections at random, others in each simulation. Take "
                f"connect(i=..., j=...) and {DRAW}."
            )
        original(self, *args, level=level + 1, **settings)  # one frame more between Brian2 and the caller's names

    with mock.patch.object(b2.Synapses, "connect", connect):
        yield


def check_repeatable(circuit: Circuit, word: str) -> None:
    """Refuse what is not the same in each simulation, or depends on the place of an image in its chunk.

    Raises
    ------
    ConfigError
        What to do instead.
    """
    for part in circuit.objects:
        if type(part).__name__ in CLOCKED:
            raise ConfigError(
                f"'{word}': the clock of the {type(part).__name__} '{part.name}' starts with each chunk of images, not "
                "with each image. Make its spikes from circuit.poisson_input(), or from the step of the slot, "
                "timestep(t, dt) % steps, in a threshold."
            )
        if part.name != "input" and (text := next(filter(DICE.search, _texts(part)), None)):
            raise ConfigError(
                f"'{word}': '{part.name}' draws Brian2's own random numbers ({' '.join(text.split())[:60]}), others in "
                f"each simulation. Take noise from circuit.poisson_input(); what is fixed, {DRAW}."
            )
        if getattr(getattr(part, "equations", None), "is_stochastic", False):
            raise ConfigError(
                f"'{word}': '{part.name}' has white noise (xi), other one in each simulation. Take noise from "
                "circuit.poisson_input()."
            )


def _texts(part: Any) -> Iterator[str]:
    """Yield the code of a Brian2 object: equations, events, resets, pathways, and what it runs regularly."""
    yield str(getattr(part, "equations", ""))
    yield from map(str, getattr(part, "events", {}).values())
    yield from map(str, getattr(part, "event_codes", {}).values())
    for inner in getattr(part, "contained_objects", ()):
        yield str(getattr(inner, "code", "") or "")
        yield str(getattr(inner, "abstract_code", "") or "")
