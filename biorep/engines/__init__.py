"""Engines: where a Brian2 network runs. They know builders of networks, and no network.

`presentation` is what a builder gets: clocks, inputs, counters and the slot protocol. `programs` is the one interface
of all engines, `runtime` and `standalone` keep it; `chunks` feeds images to a program. `cache` keeps binaries,
`counter` makes random numbers that are the same everywhere, `subnormals` keeps tiny numbers cheap, `cuda` and `unity`
serve brian2cuda.
"""

from __future__ import annotations

from biorep.engines.programs import Blueprint, Program
from biorep.errors import choose

ENGINES = ("runtime-numpy", "runtime-cython", "cpp_standalone", "cuda_standalone", "cuda_standalone-single")

__all__ = ["ENGINES", "Blueprint", "Program", "prepare"]


def prepare(blueprint: Blueprint, engine: str) -> Program:
    """Return a program for an engine, compiled if the engine compiles and the cache does not have it.

    Raises
    ------
    ConfigError
        If the engine is unknown, what it needs is missing, or Brian2 does not accept the network's equations.
    """
    choose(engine, ENGINES, "engine")
    if engine.startswith("runtime"):
        from biorep.engines.runtime import RuntimeProgram

        return RuntimeProgram(blueprint, engine)
    from biorep.engines.standalone import StandaloneProgram

    return StandaloneProgram(blueprint, engine)
