"""Training against perturbed images: the upper references for robustness.

``adversarial`` learns from images moved by projected gradient descent (Madry et al. 2018), ``trades`` from the images
and from how much their labels change under it (Zhang et al. 2019), ``noise`` from images with Gaussian noise. Penalties
of the same training see the images that are learnt from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from biorep.config import Config, setting
from biorep.context import undisturbed
from biorep.nn.loss import CrossEntropy, Forward, Problem
from biorep.robustness.perturbation import Norm, direction, per_image, project
from biorep.words import checked


class BaseObjective(Config, CrossEntropy):
    """Base of the objectives that recipes name: the cross-entropy of the images that `batch` makes of a mini-batch.

    Concrete ones are final, set `kind`, and say by `moves_images` whether they must see images as they are.
    """

    kind: str


class PlainObjective(BaseObjective):
    """The cross-entropy of the images as they are."""

    versions: ClassVar[Mapping[str, int]] = {"cross-entropy": 1}

    kind: Literal["cross-entropy"] = "cross-entropy"


class NoiseTraining(BaseObjective):
    """The cross-entropy of images with independent Gaussian noise on each pixel, clipped to the range of images."""

    versions: ClassVar[Mapping[str, int]] = {"noise": 1}
    moves_images: ClassVar[bool] = True

    kind: Literal["noise"] = "noise"
    sd: float = setting(0.1, gt=0, description="standard deviation of the noise, in units of the pixels")

    def batch(self, images: Tensor, labels: Tensor, problem: Problem) -> Tensor:
        """Return noisy images."""
        draws = torch.randn(images.shape, generator=problem.generator, dtype=images.dtype, device=images.device)
        return (images + self.sd * draws).clamp(*problem.bounds)


class Ball(BaseObjective):
    """Settings of the inner attack."""

    versions: ClassVar[Mapping[str, int]] = {"ascent": 1}

    epsilon: float = setting(0.3, gt=0, description="radius of the ball, in units of the pixels")
    norm: Norm = setting("linf", description="of the ball")
    steps: int = setting(40, ge=1, description="gradient steps of the attack")
    step: float = setting(0.01, gt=0, description="length of a step, in units of the pixels")

    def _ascend(self, value: Callable[[Tensor], Tensor], start: Tensor, images: Tensor, problem: Problem) -> Tensor:
        return ascend(
            value,
            start,
            images,
            epsilon=self.epsilon,
            norm=self.norm,
            steps=self.steps,
            step=self.step,
            bounds=problem.bounds,
        )


class AdversarialTraining(Ball):
    """The cross-entropy at the points that projected gradient descent finds in a ball around each image.

    Madry, A. et al. (2018). Towards deep learning models resistant to adversarial attacks. arXiv:1706.06083.
    """

    versions: ClassVar[Mapping[str, int]] = {"adversarial": 1}
    moves_images: ClassVar[bool] = True

    kind: Literal["adversarial"] = "adversarial"

    def batch(self, images: Tensor, labels: Tensor, problem: Problem) -> Tensor:
        """Return adversarial images, from a random start in the cube of side 2 epsilon."""
        draws = torch.rand(images.shape, generator=problem.generator, dtype=images.dtype, device=images.device)
        start = images + self.epsilon * (2 * draws - 1)

        def loss(points: Tensor) -> Tensor:
            return nn.functional.cross_entropy(problem.model(points), labels, reduction="sum")

        with evaluating(problem.module):
            return self._ascend(loss, start, images, problem)


class Trades(Ball):
    """Cross-entropy plus `beta` times how far the class probabilities can be moved within a ball around each image.

    Zhang, H. et al. (2019). Theoretically principled trade-off between robustness and accuracy. arXiv:1901.08573.
    """

    versions: ClassVar[Mapping[str, int]] = {"trades": 1}
    moves_images: ClassVar[bool] = True
    names: ClassVar[tuple[str, ...]] = ("loss", "loss_divergence")

    kind: Literal["trades"] = "trades"
    beta: float = setting(1.0, ge=0, description="weight of the second term; 1 for MNIST, 6 for CIFAR-10")

    def terms(self, forward: Forward, images: Tensor, problem: Problem) -> dict[str, Tensor]:
        """Return the cross-entropy, and beta times the mean Kullback-Leibler divergence at its largest."""
        with evaluating(problem.module):
            wanted = torch.softmax(problem.model(images), 1).detach()
            draws = torch.randn(images.shape, generator=problem.generator, dtype=images.dtype, device=images.device)

            def divergence(points: Tensor) -> Tensor:
                found = torch.log_softmax(problem.model(points), 1)
                return nn.functional.kl_div(found, wanted, reduction="sum")

            moved = self._ascend(divergence, images + 1e-3 * draws, images, problem)
        found = torch.log_softmax(problem.model(moved), 1)
        apart = nn.functional.kl_div(found, torch.softmax(forward.logits, 1), reduction="batchmean")
        return {**super().terms(forward, images, problem), "loss_divergence": self.beta * apart}


@checked
@undisturbed()
def ascend(
    value: Callable[[Tensor], Tensor],
    start: Tensor,
    images: Tensor,
    *,
    epsilon: float,
    norm: Norm,
    steps: int,
    step: float,
    bounds: tuple[float, float],
) -> Tensor:
    """Return the last point of projected gradient ascent on `value`, in a ball around each image and in the box.

    Unlike `biorep.robustness.pgd` it takes any function of the points, and returns where it ends: training wants the
    typical strong point, evaluation the worst.
    """
    radius = per_image(epsilon, images)
    points = project(start, images, radius, norm, bounds)
    for _ in range(steps):
        points = points.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(value(points), points)
        points = project(points.detach() + step * direction(gradient, norm), images, radius, norm, bounds)
    return points.detach()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Hold a module in eval mode, so that an attack leaves no trace in its running statistics."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
