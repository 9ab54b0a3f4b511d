"""The one style of all figures, applied without touching the user's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure


def styled() -> Any:
    """Return a context in which figures are made in the style of biorep."""
    return style.context(str(Path(__file__).with_name("biorep.mplstyle")))


def new_figure(**settings: Any) -> Figure:
    """Return a figure that no window system knows of, so that it is freed with its last reference."""
    return Figure(layout="constrained", **settings)
