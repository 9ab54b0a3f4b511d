"""Shape of a simulation: the time of a slot, and how many inputs, neurons, copies and slots are compiled in."""

from __future__ import annotations

from dataclasses import dataclass

from biorep.errors import ConfigError


@dataclass(frozen=True)
class Timing:
    """Time of one slot.

    Parameters
    ----------
    step : float
        Time step in milliseconds.
    on, off : float
        Stimulus period and rest in milliseconds, multiples of `step`.
    """

    step: float
    on: float
    off: float = 0.0

    def __post_init__(self) -> None:
        if not self.step > 0 or not self.on > 0 or self.off < 0:
            raise ConfigError(f"a slot needs step > 0, on > 0 and off >= 0 ms, got {self.step}, {self.on}, {self.off}")
        for name, value in (("on", self.on), ("off", self.off)):
            if abs(value / self.step - round(value / self.step)) > 1e-9:
                raise ConfigError(f"'{name}' = {value} ms is not a multiple of the time step, {self.step} ms")

    @property
    def steps_on(self) -> int:
        """Steps of the stimulus period."""
        return round(self.on / self.step)

    @property
    def steps(self) -> int:
        """Steps of a slot."""
        return round((self.on + self.off) / self.step)


@dataclass(frozen=True)
class Layout:
    """Shape of a simulation; everything here is compiled in.

    Parameters
    ----------
    timing : Timing
    inputs, neurons : int
        Pixels of an image; neurons that are recorded, per copy.
    copies : int
        Networks side by side.
    slots : int
        Slots of one chunk.
    most_tries : int
        How often an image is shown at most; 1: never again.
    """

    timing: Timing
    inputs: int
    neurons: int
    copies: int = 1
    slots: int = 250
    most_tries: int = 1

    @property
    def rows(self) -> int:
        """Rows of the image table: each copy has its own."""
        return self.copies * self.slots
