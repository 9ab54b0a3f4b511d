"""The fast Krotov-Hopfield update against its dense oracle and against the equations."""

from __future__ import annotations

import pytest
import torch

from biorep.networks.local.kh_update import Rule, SparseUpdate, bracket, dense_step


def _data(count, size, seed):
    return torch.rand(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("mode", ["kth", "all-losers"])
@pytest.mark.parametrize(("p", "k"), [(2.0, 2), (3.0, 7), (2.5, 3)])
def test_fast_equals_dense_after_many_steps(p, k, mode):
    rule = Rule(p=p, k=k, delta=0.4, radius=1.3, delta_mode=mode)
    dense = torch.randn(40, 25, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    fast = SparseUpdate(dense.clone(), rule)
    for step in range(2000):
        inputs = _data(16, 25, step)
        winners = fast.step(inputs, 0.02)
        assert torch.equal(winners, dense_step(dense, inputs, rule, 0.02))
    assert (fast.weights - dense).abs().max() < 1e-6
    assert (fast.transform - bracket(dense, p)).abs().max() < 1e-6


def test_step_follows_the_equation_for_a_batch_of_one():
    rule = Rule(p=3.0, k=3, delta=0.25, radius=2.0)
    weights = torch.randn(6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    v = _data(1, 5, 3)
    learner = SparseUpdate(weights.clone(), rule)
    learner.step(v, 0.1)
    currents = [sum(float(w.sign() * w.abs() ** 2 * x) for w, x in zip(row, v[0], strict=True)) for row in weights]
    order = sorted(range(6), key=lambda unit: -currents[unit])
    change = torch.zeros_like(weights)
    change[order[0]] = 2.0**3 * v[0] - currents[order[0]] * weights[order[0]]
    change[order[2]] = -0.25 * (2.0**3 * v[0] - currents[order[2]] * weights[order[2]])
    expected = weights + 0.1 * change / change.abs().max()
    torch.testing.assert_close(learner.weights, expected, rtol=0, atol=1e-12)


def test_all_losers_learn_between_the_winner_and_rank_k():
    rule = Rule(p=2.0, k=4, delta=0.5, delta_mode="all-losers")
    weights = torch.randn(8, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    learner, v = SparseUpdate(weights.clone(), rule), _data(1, 5, 5)
    learner.step(v, 0.1)
    order = (v @ weights.T)[0].argsort(descending=True)
    changed = (learner.weights != weights).any(1)
    assert set(torch.nonzero(changed).flatten().tolist()) == set(order[:4].tolist())


def test_largest_change_is_the_rate():
    weights = torch.randn(30, 12, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    learner = SparseUpdate(weights.clone(), Rule(p=3.0, k=2, delta=0.4))
    learner.step(_data(10, 12, 7), 0.03)
    assert float((learner.weights - weights).abs().max()) == pytest.approx(0.03, abs=1e-12)


@pytest.mark.parametrize("p", [2.0, 3.0])
@pytest.mark.parametrize("radius", [1.0, 0.5])
def test_weights_of_units_that_learn_converge_to_the_norm(p, radius):
    """With one winner per input and no opposite learning, sum |W|^p tends to R^p."""
    rule = Rule(p=p, k=2, delta=0.0, radius=radius)
    inputs = _data(12, 6, 8)
    learner = SparseUpdate(torch.rand(3, 6, generator=torch.Generator().manual_seed(9), dtype=torch.float64), rule)
    winners = torch.zeros(3, dtype=torch.bool)
    for step in range(20000):
        won = learner.step(inputs, 0.02 * (1 - step / 20000))
        winners[won] = step > 19000 or winners[won]
    norms = (learner.weights.abs() ** p).sum(1) ** (1 / p)
    assert winners.any()
    assert (norms[winners] - radius).abs().max() < 1e-3


def test_bracket_with_p_2_is_the_weights():
    weights = torch.randn(4, 3)
    assert torch.equal(bracket(weights, 2.0), weights)
    torch.testing.assert_close(bracket(weights, 3.0), weights.sign() * weights.abs() ** 2)
    torch.testing.assert_close(bracket(weights, 2.5), weights.sign() * weights.abs() ** 1.5)


def test_zero_update_stays_zero():
    weights = torch.zeros(4, 3)
    learner = SparseUpdate(weights.clone(), Rule(p=3.0, k=2, delta=0.0))
    learner.step(torch.zeros(2, 3), 0.1)
    assert torch.equal(learner.weights, weights)
