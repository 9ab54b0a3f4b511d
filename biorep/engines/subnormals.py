"""Flush-to-zero: numbers too small to matter must not cost a hundred times as much as others.

A conductance that decays towards 0 ends among the subnormal numbers, below 2.2e-308, and stays there. The processors
of some makers handle each of them in microcode, which makes a long training 15 to 33 times slower with equal results.
So the simulations treat them as 0: the compiled ones from the first line of their `main`, those in this process while
they run. CUDA devices compute with subnormals at full speed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

#: First in the `main` of a compiled simulation. Brian2's `-ffast-math` would do the same, but its makefile compiles
#: with the flag and links without it, so that the start-up code that sets the mode is left out.
CODE = """
#if defined(__x86_64__) || defined(__i386__)
    { // flush-to-zero (bit 15) and denormals-are-zero (bit 6) of the control register of SSE
        unsigned int mode;
        __asm__ __volatile__("stmxcsr %0" : "=m"(mode));
        mode |= 0x8040;
        __asm__ __volatile__("ldmxcsr %0" : : "m"(mode));
    }
#elif defined(__aarch64__)
    { // FZ (bit 24) of the floating-point control register covers inputs and results
        unsigned long mode;
        __asm__ __volatile__("mrs %0, fpcr" : "=r"(mode));
        mode |= 1ul << 24;
        __asm__ __volatile__("msr fpcr, %0" : : "r"(mode));
    }
#endif
"""


@contextlib.contextmanager
def flushed() -> Iterator[None]:
    """Treat subnormal numbers as 0 in this thread while the block runs, where the processor can."""
    import torch

    before = is_flushed()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def is_flushed() -> bool:
    """Return whether this thread treats subnormal numbers as 0."""
    import numpy as np

    # An array, because a scalar product may be folded before it is run.
    return bool((np.full(1, 1e-300) * np.full(1, 1e-10))[0] == 0)
