"""Whether a network answers an image alike in each simulation: no dice of Brian2's own, no clock but that of the slot.

Training, encoding and recording are simulations of their own, cut into chunks. Brian2's random numbers would be others
in each of them, and its time starts with each chunk, not with each image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from biorep.engines.presentation import Circuit
from biorep.errors import ConfigError

DICE = re.compile(r"\b(rand|randn|poisson|binomial|sample)\s*\(")
CLOCKED = ("PoissonGroup", "PoissonInput", "SpikeGeneratorGroup")
DRAW = (
    "Draw what is fixed with numpy: in `build` from biorep.rng.stream(0, 'connections'), for all seeds alike, or in "
    "`initial` from biorep.rng.stream(seed, 'weights')"
)
#: The step within the slot, and what else names the time: that of the chunk.
STEP = re.compile(r"timestep\(\s*t\s*,\s*dt\s*\)\s*%")
TIME = re.compile(r"\b(t|t_in_timesteps)\b")
#: Code that Brian2 makes of texts that are looked at elsewhere.
MADE = ("StateUpdater", "Thresholder", "Resetter")


def check_repeatable(circuit: Circuit, word: str) -> None:
    """Refuse what is not the same in each simulation, or depends on the place of an image in its chunk.

    Raises
    ------
    ConfigError
        What to do instead.
    """
    steps = circuit.layout.timing.steps
    if abs(1e3 * float(circuit.presenter.clock.dt) - circuit.layout.timing.dt) > 1e-9:
        raise ConfigError(f"'{word}': `build` has changed defaultclock.dt. The time step is the setting 'dt', in ms.")
    for part in circuit.objects:
        here, kind = f"{made_at(part)}'{word}': '{part.name}'", type(part).__name__
        if kind in CLOCKED:
            raise ConfigError(
                f"{made_at(part)}'{word}': the clock of the {kind} '{part.name}' starts with each chunk of images, not "
                f"with each image. Make its spikes from circuit.poisson_input(), or in a threshold from the step of "
                f"the slot, timestep(t, dt) % {steps}."
            )
        if kind == "NetworkOperation":
            raise ConfigError(f"{here} runs Python in each step, which no compiled engine can. Take run_regularly.")
        if getattr(getattr(part, "equations", None), "is_stochastic", False):
            raise ConfigError(
                f"{here} has white noise (xi), other one in each simulation. Take noise from circuit.poisson_input()."
            )
        _check_clocks(circuit, part, here)
        for text in () if part.name in ("input", "presenter") else texts(part):
            _check_text(text, part, here, steps)


def made_at(part: Any) -> str:
    """Return where a Brian2 object was made, ``"file:line: "``."""
    found = re.search(r"File '(.+?)', line (\d+)", part._creation_stack)
    return f"{found[1]}:{found[2]}: " if found else ""


def _check_clocks(circuit: Circuit, part: Any, here: str) -> None:
    """Refuse clocks that do not tick alike in each slot."""
    step, steps = circuit.layout.timing.dt * 1e-3, circuit.layout.timing.steps
    for inner in (part, *getattr(part, "contained_objects", ())):
        if type(inner.clock).__name__ == "EventClock":
            raise ConfigError(
                f"{here} has run_at, whose times start with each chunk of images, not with each image. Take "
                f"run_regularly('v += 1*int(timestep(t, dt) % {steps} == STEP)') with the step of the slot."
            )
        ratio = float(inner.clock.dt) / step
        if abs(ratio - round(ratio)) > 1e-6 or round(ratio) < 1 or steps % round(ratio):
            raise ConfigError(
                f"{here}: its clock ticks every {1e3 * float(inner.clock.dt):g} ms. A slot of {steps * step * 1e3:g} "
                f"ms in steps of {step * 1e3:g} ms has to hold a whole number of its ticks."
            )


def _check_text(text: str, part: Any, here: str, steps: int) -> None:
    from brian2 import Function

    short = " ".join(text.split())[:60]
    known = getattr(part, "namespace", None) or {}
    dice = any(isinstance(f, Function) and not f.stateless and re.search(rf"\b{n}\b", text) for n, f in known.items())
    if dice or DICE.search(text):
        raise ConfigError(
            f"{here} draws Brian2's own random numbers ({short}), others in each simulation. Take noise from "
            f"circuit.poisson_input(). {DRAW}."
        )
    if TIME.search(STEP.sub("", text)):
        raise ConfigError(
            f"{here} reads the time ({short}), which starts with each chunk of images, not with each image. Write "
            f"(timestep(t, dt) % {steps})*dt for the time since the onset of the image."
        )


def texts(part: Any) -> Iterator[str]:
    """Yield the code of a Brian2 object: equations, and what `codes` yields."""
    for equations in (getattr(part, "equations", None), getattr(part, "event_driven", None)):
        yield from map(str, (equations or {}).values())
    yield from codes(part)


def codes(part: Any) -> Iterator[str]:
    """Yield the code of a Brian2 object beside its equations: events, resets, pathways, what it runs regularly."""
    yield from map(str, getattr(part, "events", {}).values())
    yield from map(str, getattr(part, "event_codes", {}).values())
    yield str(getattr(part, "_refractory", ""))
    for inner in (part, *getattr(part, "contained_objects", ())):
        if not type(inner).__name__.endswith(MADE):
            yield str(getattr(inner, "code", "") or "")
            yield str(getattr(inner, "abstract_code", "") or "")
