"""Shape of a simulation: the time of a slot, and how many inputs, neurons, copies and slots are compiled in."""

from __future__ import annotations

from dataclasses import dataclass

from biorep.errors import ConfigError


@dataclass(frozen=True)
class Timing:
    """Time of one slot.

    Parameters
    ----------
    dt : float
        Time step in milliseconds.
    on, off : float
        Stimulus period and rest in milliseconds, multiples of `dt`.
    """

    dt: float
    on: float
    off: float = 0.0

    def __post_init__(self) -> None:
        if not self.dt > 0 or not self.on > 0 or self.off < 0:
            raise ConfigError(f"a slot needs dt > 0, on > 0 and off >= 0 ms, got {self.dt}, {self.on}, {self.off}")
        for name, value in (("on", self.on), ("off", self.off)):
            if abs(value / self.dt - round(value / self.dt)) > 1e-9:
                raise ConfigError(f"'{name}' = {value} ms is not a multiple of the time step, {self.dt} ms")

    @property
    def duration(self) -> float:
        """Length of a slot in milliseconds."""
        return self.on + self.off

    @property
    def steps_on(self) -> int:
        """Steps of the stimulus period."""
        return round(self.on / self.dt)

    @property
    def steps(self) -> int:
        """Steps of a slot."""
        return round((self.on + self.off) / self.dt)


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
    max_tries : int
        How often an image is shown at most; 1: never again.
    """

    timing: Timing
    inputs: int
    neurons: int
    copies: int = 1
    slots: int = 250
    max_tries: int = 1

    @property
    def rows(self) -> int:
        """Rows of the image table: each copy has its own."""
        return self.copies * self.slots
