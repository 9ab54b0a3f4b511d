"""Which engine runs a Brian2 network, and why."""

from __future__ import annotations

import shutil
from pathlib import Path

from biorep.errors import choose

#: From here on a GPU is expected to beat one CPU thread: a GPU step costs several launches whatever the size.
GPU_NEURONS = 6400


def resolve(wish: str, *, neurons: int, copies: int = 1) -> tuple[str, str]:
    """Return the engine for a wish and the reason in words.

    Parameters
    ----------
    wish : str
        ``"auto"`` or one of `biorep.engines.ENGINES`.
    neurons, copies : int
        Size of the simulation: neurons of one copy.

    Raises
    ------
    ConfigError
        If the wish is unknown.
    """
    from biorep.engines import ENGINES

    choose(wish, ("auto", *ENGINES), "engine")
    if wish != "auto":
        return wish, "as asked for"
    size = neurons * copies
    if size >= GPU_NEURONS and _has_gpu():
        return "cuda_standalone", f"{size} neurons fill the GPU"
    if shutil.which("g++") or shutil.which("clang++") or shutil.which("c++"):
        few = f"{size} neurons are too few to fill the GPU" if _has_gpu() else "there is no GPU"
        return "cpp_standalone", f"a C++ compiler is there, {few}"
    return "runtime-numpy", "there is no C++ compiler: this is a hundred times slower. Install g++ and make."


def _has_gpu() -> bool:
    return Path("/dev/nvidia0").exists() or Path("/dev/nvidiactl").exists()
