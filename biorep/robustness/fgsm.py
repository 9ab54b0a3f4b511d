"""The fast gradient sign method, and its L2 twin: one step of length epsilon (Goodfellow et al. 2015)."""

from __future__ import annotations

from torch import Tensor

from biorep.robustness.perturbation import Loss, Model, Norm, direction, gradient_and_logits, per_image


def fgsm(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
    norm: Norm = "linf",
    loss: Loss = "cross-entropy",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """Return adversarial images.

    Parameters
    ----------
    model : callable
        Images (presentation, ...) to logits (presentation, class).
    images : Tensor, (presentation, ...)
    labels : Tensor of int64, (presentation,)
    epsilon : float or Tensor, (presentation,)
        Length of the step in the units of the pixels.
    norm : {"linf", "l2"}
    loss : {"cross-entropy", "margin"}
    bounds : (float, float)
        Smallest and largest allowed value.

    References
    ----------
    Goodfellow, Shlens & Szegedy (2015), arXiv:1412.6572.
    """
    gradient, _ = gradient_and_logits(model, images, labels, loss)
    return (images + per_image(epsilon, images) * direction(gradient, norm)).clamp(*bounds)
