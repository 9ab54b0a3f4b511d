"""The presentation protocol: statistics of the input, showing again, chunks, copies, order."""

from __future__ import annotations

import numpy as np
import pytest
from circuits import relayed, showing
from scipy import stats

from biorep.engines import Blueprint, prepare
from biorep.engines.layout import Layout, Timing
from biorep.errors import ConfigError


def test_input_spikes_are_bernoulli_draws():
    """500 inputs of each brightness, 50 steps of 1 ms: binomial counts with p = image * peak * dt."""
    levels = np.repeat([0.0, 0.2, 0.6, 1.0], 500)
    (counts,), _, _ = relayed(np.stack([levels, levels]), peak_rate=300.0, slots=2)
    for level in (0.2, 0.6, 1.0):
        found = counts[:, levels == level].ravel()
        expected = stats.binom(50, level * 0.3)
        assert abs(found.mean() - expected.mean()) < 4 * expected.std() / np.sqrt(found.size)
        assert found.var() == pytest.approx(expected.var(), rel=0.2)
        bins = np.arange(int(expected.ppf(0.05)), int(expected.ppf(0.95)) + 1)
        observed = np.array([(found == b).sum() for b in bins])
        assert stats.chisquare(observed, expected.pmf(bins) / expected.pmf(bins).sum() * observed.sum()).pvalue > 1e-4
    assert (counts[:, levels == 0] == 0).all()


def test_the_gaps_between_input_spikes_do_not_depend_on_the_step_of_the_slot():
    """With probability 1 a neuron spikes in every step of the stimulus period and in none of the rest."""
    (counts,), _, _ = relayed(np.ones((1, 3)), peak_rate=1000.0, slots=1)
    assert (counts == 50).all()


def test_weakly_answered_images_are_shown_again_brighter():
    images = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.02, 0.02, 0.02]])
    (counts,), (tries,), slots = relayed(images, min_spikes=5, max_tries=6, peak_rate=200.0)
    assert tries[0] == 6
    assert counts[0].sum() == 0
    assert tries[1] == 1
    assert counts[1].sum() >= 5
    assert 1 < tries[2] <= 6
    assert counts[2].sum() >= 5 or tries[2] == 6
    assert slots[0] == tries.sum()


@pytest.mark.parametrize("slots", [1, 3, 16])
def test_chunks_change_nothing(slots):
    images = np.random.default_rng(0).random((5, 6)) * 0.2
    expected = relayed(images, min_spikes=4, max_tries=4, slots=7)
    found = relayed(images, min_spikes=4, max_tries=4, slots=slots)
    assert (expected[0][0] == found[0][0]).all()
    assert (expected[1][0] == found[1][0]).all()
    assert expected[2] == found[2]


def test_copies_and_order_change_nothing():
    """Two copies with half of the images each, in another order, answer as one copy with all of them."""
    images = np.random.default_rng(1).random((6, 5)) * 0.3
    (together,), (tries,), _ = relayed(images, min_spikes=6, max_tries=5)
    parts = [[4, 0, 2], [5, 1, 3]]
    counts, again, _ = relayed(images, min_spikes=6, max_tries=5, showings=[showing(images, order=p) for p in parts])
    for part, count, tried in zip(parts, counts, again, strict=True):
        assert (together[part] == count).all()
        assert (tries[part] == tried).all()
    assert len(set(map(int, tries))) > 1


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize(
    ("i", "j", "message"),
    [
        ([0, 3], [0, 0], "i names neuron 3 of 'few', which has 0 to 2"),
        ([0], [-1], "j names neuron -1 of 'few'"),
        ([0.5], [1], "i must be a list of whole numbers"),
        ([0, 1], [1], "i and j must have one length"),
    ],
)
def test_pairs_that_would_reach_another_copy_are_refused(copies, i, j, message):
    def build(circuit):
        import brian2 as b2

        few = b2.NeuronGroup(3 * copies, "count : 1", threshold="count > 9", name="few")
        synapses = b2.Synapses(few, few, on_pre="count_post += 1", name="wires")
        circuit.connect_pairs(synapses, i, j)

    layout = Layout(Timing(1.0, 5.0), 3, 3, copies, 1)
    with pytest.raises(ConfigError, match=message):
        prepare(Blueprint(layout, build), "runtime-numpy")


def test_a_link_to_one_of_many_is_refused():
    def build(circuit):
        import brian2 as b2

        few = b2.NeuronGroup(3, "other : 1 (linked)\ncount : 1", name="few")
        circuit.link(few, "other", few, "count")

    with pytest.raises(ConfigError, match="'few.other' is linked to 'few', which has 3 neurons for 1 copies"):
        prepare(Blueprint(Layout(Timing(1.0, 5.0), 3, 3, 1, 1), build), "runtime-numpy")


def test_timing_is_checked():
    assert (Timing(0.5, 350, 150).steps_on, Timing(0.5, 350, 150).steps) == (700, 1000)
    with pytest.raises(ConfigError, match="not a multiple of the time step"):
        Timing(0.5, 10.2, 0)
    with pytest.raises(ConfigError, match="dt > 0"):
        Timing(0, 10, 0)
