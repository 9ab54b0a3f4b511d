"""Errors that a user can act on.

Every message says what is wrong, where, what is allowed and what to do. The command line prints them without
a traceback; anything else that escapes is a defect of biorep.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BiorepError(Exception):
    """Base class of all errors meant for the user."""


class ConfigError(BiorepError):
    """A recipe, a plan or a parameter is not what it should be."""


class DataError(BiorepError):
    """A dataset is missing, damaged or outside its stated value range."""


class SplitError(DataError):
    """Training and test presentations would be mixed."""


class NumericalError(BiorepError):
    """Values became NaN or infinite, or an algorithm cannot be applied to them."""


class StoreError(BiorepError):
    """A result cannot be written or read."""


def did_you_mean(word: object, options: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest of the options, else the empty string.

    Examples
    --------
    >>> did_you_mean("mnits", ["mnist", "digits"])
    "; did you mean 'mnist'?"
    """
    names = [str(option) for option in options]
    folded = {name.lower().replace("_", "-"): name for name in names}
    close = difflib.get_close_matches(str(word).lower().replace("_", "-"), folded, n=1, cutoff=0.6)
    return f"; did you mean '{folded[close[0]]}'?" if close else ""


def whole(value: object, name: str, *, least: int = 1) -> int:
    """Return a whole number of at least `least`, a Python or a numpy one; raise a `ConfigError` for anything else."""
    number = getattr(value, "item", lambda: value)() if getattr(value, "shape", ()) == () else None
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise ConfigError(f"{name} must be a whole number, at least {least}, got {value!r}")
    return number


def choose(word: object, options: Iterable[str], what: str) -> str:
    """Return `word` if it is one of the options, else raise a `ConfigError` that lists them."""
    names = sorted(options)
    if isinstance(word, str) and word in names:
        return word
    hint = did_you_mean(word, names) or "."
    raise ConfigError(f"unknown {what} {word!r}{hint} Available: {', '.join(names)}.")
