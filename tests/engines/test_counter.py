"""Counter-based random numbers."""

from __future__ import annotations

import numpy as np
from scipy import stats

from biorep.engines.counter import KEY_BITS, draw_key, uniform

MASK = 2**64 - 1


def _reference(index, number, low, high):
    """The same in unbounded Python integers."""
    z = 0
    for word in ((high << 24) ^ low, ((number & 0xFFFFFFFF) << 32) | (index & 0xFFFFFFFF)):
        z = ((z ^ word) + 0x9E3779B97F4A7C15) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        z ^= z >> 31
    return (z >> 11) / 2**53


def test_draws_equal_those_of_unbounded_integers():
    for arguments in [(0, 0, 0, 0), (783, 999, 2**24 - 1, 2**24 - 1), (-1, -1, 5, 7), (2**31 - 1, 12, 1, 0)]:
        assert float(uniform(*arguments)) == _reference(*arguments)


def test_draws_are_uniform_along_every_argument():
    many = np.arange(20_000)
    for arguments in [(many, 3, 1, 2), (3, many, 1, 2), (3, 1, many, 2), (3, 1, 2, many)]:
        draws = uniform(*arguments)
        assert draws.min() >= 0
        assert draws.max() < 1
        assert stats.kstest(draws, "uniform").pvalue > 1e-4
        assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 4 / np.sqrt(len(many))


def test_keys_depend_on_every_part_and_fit_into_single_precision():
    keys = {draw_key(seed, "train", k) for seed in range(3) for k in range(100)}
    assert len(keys) == 300
    for low, high in keys:
        assert 0 <= low < 2**KEY_BITS
        assert int(np.float32(low)) == low
        assert int(np.float32(high)) == high
