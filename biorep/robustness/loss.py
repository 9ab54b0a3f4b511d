"""The losses that attacks increase, and their gradients in the images."""

from __future__ import annotations

import torch
from torch import Tensor

from biorep.errors import ConfigError, NumericalError
from biorep.robustness.gate import logits_of
from biorep.robustness.perturbation import Loss, Model
from biorep.words import checked


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ``z_y - max_{j != y} z_j`` (presentation,): negative means misclassified."""
    labels = labels.long()
    own = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return own - others


@checked
def gradient_and_logits(model: Model, images: Tensor, labels: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """Return the gradient of the loss at the images (pointing to a larger loss) and the logits there.

    Raises
    ------
    ConfigError
        If the logits do not depend on the images through torch operations.
    NumericalError
        If logits or gradient are NaN.
    """
    # What was made in `inference_mode` takes part in no gradient, a copy does.
    images, labels = (given.clone() if given.is_inference() else given for given in (images, labels))
    with torch.enable_grad():
        point = images.detach().requires_grad_(True)
        logits = logits_of(model, point, labels)
        if not logits.requires_grad:
            raise ConfigError(
                "the model gives no gradients: its logits do not follow from the images through torch operations "
                "(detach, numpy, no_grad?). Attack a differentiable surrogate, or use attacks without gradients."
            )
        if loss == "margin":
            value = -margin(logits, labels).sum()
        else:
            value = torch.nn.functional.cross_entropy(logits, labels.long(), reduction="sum")
        (gradient,) = torch.autograd.grad(value, point)
    if bool(torch.isnan(gradient).any()):
        count = int(torch.isnan(gradient).flatten(1).any(1).sum())
        raise NumericalError(f"the gradient of the {loss} is NaN at {count} of {len(images)} images: no way to attack")
    return gradient, logits.detach()
