"""Counter-based random numbers for Brian2 expressions: ``uniform(index, number, key_low, key_high)``.

A draw depends on its four integers alone and on no generator state. So the input of a network is the same on every
engine, for every way of cutting a simulation into chunks, for any number of copies and in any order. The numbers are
hashed with the finaliser of SplitMix64, which passes the usual statistical batteries.

Steele, G. L., Lea, D. & Flood, C. H. (2014). Fast splittable pseudorandom number generators. OOPSLA.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from biorep import rng

#: Keys are cut into two parts that are exact even as single precision numbers in a lookup table.
KEY_BITS = 24

_INCREMENT, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

_C = """
{qualifier} inline double uniform(int index, int number, int key_low, int key_high)
{{
    const unsigned long long words[2] = {{
        ((unsigned long long)key_high << 24) ^ (unsigned long long)key_low,
        ((unsigned long long)(unsigned int)number << 32) | (unsigned int)index}};
    unsigned long long z = 0;
    for (int k = 0; k < 2; k++)
    {{
        z = (z ^ words[k]) + 0x9E3779B97F4A7C15ULL;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
        z = z ^ (z >> 31);
    }}
    return (double)(z >> 11) * (1.0 / 9007199254740992.0);
}}
"""

_CYTHON = """
cdef inline double uniform(int index, int number, int key_low, int key_high) noexcept nogil:
    cdef unsigned long long z = 0
    cdef unsigned long long word
    cdef int k
    for k in range(2):
        if k == 0:
            word = ((<unsigned long long>key_high) << 24) ^ (<unsigned long long>key_low)
        else:
            word = ((<unsigned long long>(<unsigned int>number)) << 32) | (<unsigned int>index)
        z = (z ^ word) + 0x9E3779B97F4A7C15ULL
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL
        z = z ^ (z >> 31)
    return (<double>(z >> 11)) * (1.0 / 9007199254740992.0)
"""


def uniform(index: Any, number: Any, key_low: Any, key_high: Any) -> np.ndarray:
    """Return uniform numbers in [0, 1), the reference implementation of what all engines compute.

    Parameters
    ----------
    index, number : int or array of int
        Which input, and which draw of that input; 32 bits.
    key_low, key_high : int or array of int
        The two parts of a key, see `draw_key`.

    Examples
    --------
    >>> float(uniform(0, 0, 1, 2)) == float(uniform(0, 0, 1, 2)) != float(uniform(1, 0, 1, 2))
    True
    """
    index, number, low, high = (np.asarray(a).astype(np.int64) for a in (index, number, key_low, key_high))
    unsigned = np.uint64
    words = (
        (high.astype(unsigned) << unsigned(24)) ^ low.astype(unsigned),
        ((number & 0xFFFFFFFF).astype(unsigned) << unsigned(32)) | (index & 0xFFFFFFFF).astype(unsigned),
    )
    z = np.zeros((), unsigned)
    with np.errstate(over="ignore"):
        for word in words:
            z = (z ^ word) + unsigned(_INCREMENT)
            z = (z ^ (z >> unsigned(30))) * unsigned(_FIRST)
            z = (z ^ (z >> unsigned(27))) * unsigned(_SECOND)
            z = z ^ (z >> unsigned(31))
    return (z >> unsigned(11)).astype(np.float64) * (1.0 / 9007199254740992.0)


def draw_key(seed: int, *names: str | int) -> tuple[int, int]:
    """Return the key ``(low, high)`` of the draws that belong to ``(seed, *names)``, 24 bits each."""
    word = rng.stream_seed(seed, *names)
    return word & (2**KEY_BITS - 1), (word >> KEY_BITS) & (2**KEY_BITS - 1)


def function() -> Any:
    """Return `uniform` as a Brian2 function for all code generation targets."""
    from brian2 import Function

    result = Function(
        uniform, arg_units=[1] * 4, return_unit=1, arg_types=["integer"] * 4, return_type="float", stateless=True
    )
    result.implementations.add_numpy_implementation(uniform, discard_units=True)  # units would cost 20 times the hash
    result.implementations.add_implementation("cpp", _C.format(qualifier="static"), name="uniform")
    result.implementations.add_implementation("cython", _CYTHON, name="uniform")
    result.implementations.add_implementation("cuda", _C.format(qualifier="__host__ __device__ static"), name="uniform")
    return result
