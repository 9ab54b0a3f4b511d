"""Attacks against exact answers: recurrences, balls and boxes, and the distance of a linear classifier."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from linear_reference import exact_distance

from biorep.errors import ConfigError, DataError, NumericalError
from biorep.robustness import fgsm, pgd
from biorep.robustness.loss import margin
from biorep.robustness.perturbation import direction, project, unit_start


class Linear(torch.nn.Module):
    """A linear classifier in float64."""

    def __init__(self, classes, inputs, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weights = torch.randn(classes, inputs, generator=generator, dtype=torch.float64)
        self.bias = torch.randn(classes, generator=generator, dtype=torch.float64) * 0.1
        self.eval()

    def forward(self, images):
        return images.flatten(1) @ self.weights.T + self.bias


def _images(count, seed=0):
    images = torch.rand(count, 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    # Near the corners of the box, so that the box binds.
    return torch.where(images < 0.5, images * 0.3, 1 - (1 - images) * 0.3)


def _exact(model, images, labels, norm):
    weights, bias = model.weights.numpy(), model.bias.numpy()
    pairs = zip(images.numpy(), labels.numpy(), strict=True)
    return np.array([exact_distance(weights, bias, image, label, norm) for image, label in pairs])


def _fooled(model, images, labels):
    return (model(images).argmax(1) != labels).numpy()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("attack", [fgsm, pgd])
@pytest.mark.parametrize("epsilon", [0.01, 0.3, 2.0])
def test_attacks_stay_in_the_ball_and_in_the_box(attack, norm, epsilon):
    model, images = Linear(4, 10, 0), _images(30)
    labels = model(images).argmax(1)
    extra = {"start": unit_start((30, 10), norm, 0).double()} if attack is pgd else {}
    found = attack(model, images, labels, epsilon=epsilon, norm=norm, **extra)
    sizes = (found - images).norm(p=torch.inf if norm == "linf" else 2, dim=1)
    assert sizes.max() <= epsilon * (1 + 1e-9)
    assert found.min() >= 0
    assert found.max() <= 1


def test_two_class_attacks_are_exact_in_linf():
    """Nothing is fooled at 0.98 of the exact distance, everything at 1.02."""
    model, images = Linear(2, 10, 1), _images(60, 1)
    labels = model(images).argmax(1)
    exact = torch.as_tensor(_exact(model, images, labels, "linf"))
    reachable = torch.isfinite(exact)
    assert reachable.sum() > 30
    images, labels, exact = images[reachable], labels[reachable], exact[reachable]
    for attack in (fgsm, pgd):
        assert not _fooled(model, attack(model, images, labels, epsilon=0.98 * exact, norm="linf"), labels).any()
        assert _fooled(model, attack(model, images, labels, epsilon=1.02 * exact, norm="linf"), labels).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_no_attack_beats_the_exact_distance(norm):
    model, images = Linear(5, 10, 2), _images(80, 2)
    labels = model(images).argmax(1)
    exact = torch.as_tensor(_exact(model, images, labels, norm)).clamp_max(10)
    for attack in (fgsm, pgd):
        assert not _fooled(model, attack(model, images, labels, epsilon=0.98 * exact, norm=norm), labels).any()


@pytest.mark.parametrize(("norm", "slack", "share"), [("linf", 1.02, 0.8), ("l2", 1.05, 0.75)])
def test_pgd_reaches_the_exact_distance_of_several_classes(norm, slack, share):
    """Untargeted descent may follow a class that is not the nearest; most images it solves."""
    model, images = Linear(5, 10, 3), _images(80, 3)
    labels = model(images).argmax(1)
    exact = torch.as_tensor(_exact(model, images, labels, norm))
    reachable = torch.isfinite(exact)
    images, labels, exact = images[reachable], labels[reachable], exact[reachable]
    found = [
        pgd(model, images, labels, epsilon=slack * exact, norm=norm, steps=200, start=start)
        for start in (None, *(unit_start((len(images), 10), norm, 0, restart).double() for restart in range(4)))
    ]
    solved = np.any([_fooled(model, images_, labels) for images_ in found], axis=0)
    assert solved.mean() >= share


def test_fgsm_is_one_signed_step_of_the_cross_entropy():
    model, images = Linear(4, 10, 4), _images(6, 4)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    probabilities = torch.softmax(model(images), 1)
    onehot = torch.nn.functional.one_hot(labels, 4)
    gradient = (probabilities - onehot) @ model.weights
    expected = (images + 0.07 * gradient.sign()).clamp(0, 1)
    torch.testing.assert_close(fgsm(model, images, labels, epsilon=0.07), expected, rtol=0, atol=1e-12)
    step = gradient / gradient.norm(dim=1, keepdim=True)
    expected = (images + 0.07 * step).clamp(0, 1)
    torch.testing.assert_close(fgsm(model, images, labels, epsilon=0.07, norm="l2"), expected, rtol=0, atol=1e-12)


def test_pgd_takes_the_gradient_at_the_current_point():
    """Against the recurrence written out, on a network whose gradient turns."""
    first = torch.randn(12, 10, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    second = torch.randn(3, 12, generator=torch.Generator().manual_seed(6), dtype=torch.float64)

    def model(images):
        return torch.tanh(2 * images @ first.T) @ second.T

    images = _images(20, 5)
    labels = model(images).argmax(1)
    found = pgd(model, images, labels, epsilon=0.2, steps=10, relative_step=0.25, loss="cross-entropy")
    point, trace, margins = images.clone(), [], []
    for step in range(11):
        point = point.detach().requires_grad_(True)
        logits = model(point)
        trace.append(point.detach())
        margins.append(margin(logits.detach(), labels))
        if step < 10:
            loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, point)
            moved = (point + 0.05 * gradient.sign()).detach()
            point = (images + (moved - images).clamp(-0.2, 0.2)).clamp(0, 1)
    best = torch.stack(margins).argmin(0)
    expected = torch.stack(trace)[best, torch.arange(20)]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    once = fgsm(model, images, labels, epsilon=0.2)
    assert _fooled(model, found, labels).sum() > _fooled(model, once, labels).sum()


def test_the_default_steps_can_reach_every_point_of_the_ball():
    """The image stands on one side of the ball, its only weak spot on the other."""
    for steps in (5, 40):
        sizes = [5 / steps * (1 - k / steps) for k in range(steps)]
        assert sum(sizes) >= 2.5
    model, images = Linear(2, 10, 1), _images(60, 1)
    labels = model(images).argmax(1)
    exact = torch.as_tensor(_exact(model, images, labels, "linf"))
    near = torch.isfinite(exact)
    images, labels, exact = images[near], labels[near], exact[near]
    helpful = (model.weights[1 - labels] - model.weights[labels]).sign()
    found = pgd(model, images, labels, epsilon=1.02 * exact, steps=20, start=-helpful)
    assert _fooled(model, found, labels).all()


def test_an_epsilon_per_image_equals_separate_calls():
    model, images = Linear(4, 10, 7), _images(5, 7)
    labels, radii = model(images).argmax(1), torch.tensor([0.0, 0.05, 0.1, 0.2, 0.4], dtype=torch.float64)
    together = pgd(model, images, labels, epsilon=radii, norm="l2")
    for i in range(5):
        alone = pgd(model, images[i : i + 1], labels[i : i + 1], epsilon=float(radii[i]), norm="l2")
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-12)
    assert torch.equal(together[0], images[0])


def test_directions():
    gradient = torch.tensor([[3.0, -4.0], [0.0, 0.0], [1e-30, 0.0]])
    assert torch.equal(direction(gradient, "linf"), torch.tensor([[1.0, -1.0], [0.0, 0.0], [1.0, 0.0]]))
    torch.testing.assert_close(direction(gradient, "l2"), torch.tensor([[0.6, -0.8], [0.0, 0.0], [1.0, 0.0]]))


def test_projection_is_the_nearest_point_of_the_l2_ball():
    centre, point = torch.zeros(1, 3), torch.tensor([[3.0, 0.0, 4.0]])
    moved = project(point, centre, torch.ones(1, 1), "l2", (-10.0, 10.0))
    torch.testing.assert_close(moved, torch.tensor([[0.6, 0.0, 0.8]]))
    inside = torch.tensor([[0.1, 0.2, 0.0]])
    assert torch.equal(project(inside, centre, torch.ones(1, 1), "l2", (-10.0, 10.0)), inside)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_starts_fill_the_unit_ball(norm):
    start = unit_start((4000, 6), norm, 0)
    sizes = start.norm(p=torch.inf if norm == "linf" else 2, dim=1)
    assert sizes.max() <= 1 + 1e-6
    # The radius of a uniform point of a ball in 6 dimensions is below r with probability r^6.
    assert (sizes < 0.5 ** (1 / 6)).double().mean() == pytest.approx(0.5, abs=0.04)


def test_margin():
    logits = torch.tensor([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0]])
    assert margin(logits, torch.tensor([1, 0])).tolist() == [1.0, -2.0]


@pytest.mark.parametrize("attack", [fgsm, pgd])
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"norm": "l-inf"}, ConfigError, "unknown norm 'l-inf'; did you mean 'linf'"),
        ({"loss": "crossentropy"}, ConfigError, "unknown loss 'crossentropy'; did you mean 'cross-entropy'"),
        ({"epsilon": -0.1}, ConfigError, "epsilon must be finite and not negative"),
        ({"epsilon": float("nan")}, ConfigError, "epsilon must be finite and not negative"),
        ({"epsilon": torch.tensor([0.1, 0.2])}, ConfigError, "one for each of 6 images"),
        ({"bounds": (1.0, 0.0)}, ConfigError, "bounds must be the smallest and the largest"),
        ({"bounds": (0.0, float("nan"))}, ConfigError, "bounds must be the smallest and the largest"),
        ({"bounds": (0.0, 0.5)}, DataError, r"outside the bounds \[0, 0.5\]"),
        ({"bounds": None}, ConfigError, "bounds must be"),
        ({"epsilon": None}, ConfigError, "epsilon must be a number"),
        ({"epsilon": True}, ConfigError, "epsilon must be a number"),
        ({"labels": torch.zeros(6)}, DataError, "labels must be integers"),
        ({"labels": torch.zeros(6, dtype=torch.bool)}, DataError, "labels must be integers"),
        ({"labels": np.zeros(6, int)}, DataError, "labels must be a torch tensor, got ndarray"),
        ({"images": torch.zeros(6, 10, dtype=torch.uint8)}, DataError, "images must be floating-point numbers"),
        ({"labels": torch.full((6,), 4)}, DataError, "the model has 4 classes"),
        ({"images": torch.full((6, 10), torch.nan)}, NumericalError, "60 values are NaN or infinite"),
        ({"model": lambda images: images.flatten(1) * torch.nan}, NumericalError, "NaN for 6 of 6 images"),
        ({"model": lambda images: images.sum(1)}, DataError, "must return logits"),
        ({"model": lambda images: images.detach()}, ConfigError, "the model gives no gradients"),
    ],
)
def test_what_cannot_be_attacked_is_explained(attack, wrong, error, message):
    """Wrong words, NaN, boxes that are none: nothing of it may pass for an image that withstands."""
    given = {"model": Linear(4, 10, 0), "images": _images(6), "labels": torch.zeros(6, dtype=torch.int64)}
    given |= {"epsilon": 0.1} | wrong
    with pytest.raises(error, match=message):
        attack(given.pop("model"), given.pop("images"), given.pop("labels"), **given)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"steps": 0}, ConfigError, "steps must be a whole number, at least 1"),
        ({"steps": 1.5}, ConfigError, "steps must be a whole number"),
        ({"steps": True}, ConfigError, "steps must be a whole number"),
        ({"relative_step": 0.0}, ConfigError, "relative_step must be a positive number"),
        ({"relative_step": float("nan")}, ConfigError, "relative_step must be a positive number"),
        ({"start": torch.full((6, 10), torch.nan)}, NumericalError, "start: values are NaN"),
        ({"start": torch.zeros(1, 10)}, DataError, "start has the shape"),
    ],
)
def test_what_would_attack_nothing_is_refused(wrong, error, message):
    with pytest.raises(error, match=message):
        pgd(Linear(4, 10, 0), _images(6), torch.zeros(6, dtype=torch.int64), epsilon=0.1, **wrong)


@pytest.mark.parametrize("attack", [fgsm, pgd])
@pytest.mark.parametrize("labels", [torch.zeros(4, dtype=torch.int64), torch.arange(4) % 2])
def test_one_output_is_no_classifier(attack, labels):
    """With all labels 0 nothing could be fooled, and the images would come back as they are."""
    with pytest.raises(DataError, match="the model has one output, .* a binary network needs two logits"):
        attack(Linear(1, 10, 0), _images(4), labels, epsilon=0.1)
