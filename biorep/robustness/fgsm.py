"""The fast gradient sign method, and its L2 twin: one step of length epsilon (Goodfellow et al. 2015)."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from biorep.config import setting
from biorep.context import undisturbed
from biorep.robustness.attack import Attack, Problem, zero_gradients
from biorep.robustness.gate import check_call
from biorep.robustness.loss import gradient_and_logits
from biorep.robustness.perturbation import Bounds, Loss, Model, Norm, direction, per_image
from biorep.words import checked


@checked
@undisturbed()
def fgsm(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
    norm: Norm = "linf",
    loss: Loss = "cross-entropy",
    bounds: Bounds = (0.0, 1.0),
) -> Tensor:
    """Return adversarial images.

    Parameters
    ----------
    model : callable
        Images (presentation, ...) to logits (presentation, class). A module in training mode is asked as in use.
    images : Tensor, (presentation, ...)
    labels : Tensor of int64, (presentation,)
    epsilon : float or Tensor, (presentation,)
        Length of the step in the units of the pixels.
    norm : {"linf", "l2"}
    loss : {"cross-entropy", "margin"}
    bounds : (float, float)
        Smallest and largest allowed value.

    Raises
    ------
    ConfigError, DataError, NumericalError
        See `biorep.robustness.gate`.

    References
    ----------
    Goodfellow, Shlens & Szegedy (2015), arXiv:1412.6572.
    """
    check_call(images, labels, epsilon=epsilon, norm=norm, bounds=bounds, loss=loss)
    gradient, _ = gradient_and_logits(model, images, labels, loss)
    return (images + per_image(epsilon, images) * direction(gradient, norm)).clamp(*bounds)


class FGSM(Attack):
    """One step of length epsilon along the gradient at the image: the sign of it in L-inf, its direction in L2."""

    versions: ClassVar[dict[str, int]] = {"fgsm": 1}

    kind: Literal["fgsm"] = "fgsm"
    loss: Loss = setting("cross-entropy", description="loss that is increased")

    def __call__(self, problem: Problem, index: Tensor, epsilon: Tensor | None) -> Tensor:
        """Return the images after the step."""
        assert epsilon is not None
        return fgsm(
            problem.model,
            problem.images[index],
            problem.labels[index],
            epsilon=epsilon,
            norm=problem.norm,
            loss=self.loss,
            bounds=problem.bounds,
        )

    def examine(self, problem: Problem) -> list[str]:
        """Warn where the gradient is zero."""
        return zero_gradients(problem, self.loss)
