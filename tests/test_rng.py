"""Random streams: addressed by name, so that no order of opening changes them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from biorep.errors import ConfigError
from biorep.rng import stream, stream_seed

NAMES = [(), ("a",), ("b",), ("a", "b"), ("b", "a"), ("ab",), ("a", 1), ("a", "1"), ("a", 2), (1,), ("1",), ("",)]


def test_the_seed_of_a_stream_is_a_known_number():
    label = '[3, "shuffle", 7]'
    expected = int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "little")
    assert stream_seed(3, "shuffle", 7) == expected
    assert stream_seed(0, "shuffle", 1) == 8509628457788371264  # every stored result rests on this
    draws = np.random.Generator(np.random.PCG64(expected)).random(5)
    np.testing.assert_array_equal(stream(3, "shuffle", 7).random(5), draws)


def test_streams_do_not_depend_on_the_order_in_which_they_are_opened():
    forward = [stream(0, *names).random(4) for names in NAMES]
    backward = [stream(0, *names).random(4) for names in reversed(NAMES)][::-1]
    np.testing.assert_array_equal(forward, backward)


def test_interleaved_streams_draw_what_they_draw_alone():
    one, other = stream(0, "a"), stream(0, "b")
    drawn = np.array([(one.random(), other.random()) for _ in range(6)])
    np.testing.assert_array_equal(drawn[:, 0], stream(0, "a").random(6))
    np.testing.assert_array_equal(drawn[:, 1], stream(0, "b").random(6))


def test_streams_ignore_and_spare_the_global_generators():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    first = stream(0, "a").random(3)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    np.random.seed(1)
    np.testing.assert_array_equal(stream(0, "a").random(3), first)


def test_different_names_seeds_and_types_give_different_streams():
    seeds = [stream_seed(seed, *names) for seed in (0, 1, 2**40) for names in NAMES]
    assert len(set(seeds)) == len(seeds)
    assert stream_seed(0, 1) != stream_seed(0, "1")
    assert stream_seed(0, "a", 1) != stream_seed(0, "a", "1")


def test_streams_of_neighbouring_names_are_uncorrelated():
    draws = np.stack([stream(0, "epoch", epoch).standard_normal(20_000) for epoch in range(6)])
    correlation = np.corrcoef(draws) - np.eye(6)
    assert np.abs(correlation).max() < 5 / np.sqrt(20_000)


@pytest.mark.parametrize("seed", [-1, 1.5, 1.0, "1", None, True, False, np.float64(2), np.int64(-3)])
def test_bad_seeds(seed):
    with pytest.raises(ConfigError) as caught:
        stream_seed(seed, "a")
    assert str(caught.value) == f"seed must be a non-negative integer, got {seed!r}"


def test_bad_seeds_are_refused_by_streams_too():
    with pytest.raises(ConfigError, match="non-negative integer, got -1"):
        stream(-1, "a")


def test_numpy_seeds_are_the_same_as_plain_ones():
    assert stream_seed(np.int32(5), "a") == stream_seed(np.uint64(5), "a") == stream_seed(5, "a")


def test_numpy_names_are_the_same_as_plain_ones():
    assert stream_seed(0, "shuffle", np.int64(1)) == stream_seed(0, "shuffle", 1)


def test_a_name_that_is_no_whole_number_is_not_cut():
    try:
        seed = stream_seed(0, "noise", 1.5)
    except (ConfigError, TypeError):
        return
    assert seed != stream_seed(0, "noise", 1)


def test_no_name_imitates_two():
    imitations = ["a\x1fstr:b", 'a", "b', "a, b", "ab", "a\\", "b"]
    assert stream_seed(0, "a", "b") not in [stream_seed(0, name) for name in imitations]
    assert stream_seed(0, "a", "b") not in [stream_seed(0, name, "b") for name in imitations]
