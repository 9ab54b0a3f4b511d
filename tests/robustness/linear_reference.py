"""The exact smallest perturbation that fools a linear classifier inside a box, without biorep."""

from __future__ import annotations

import numpy as np


def exact_distance(weights, bias, image, label, norm, low=0.0, high=1.0):
    """Return the smallest L-inf or L2 norm that changes the class of one image; inf if no point of the box does.

    Along the path delta(s) = clip(x + s r) - x with r = w (L2) or sign(w) (L-inf), the gain delta(s).w does not
    decrease and each point is the best of its norm (Karush-Kuhn-Tucker conditions), so bisection finds the answer.
    """
    logits = weights @ image + bias
    if logits.argmax() != label:
        return 0.0
    return min(
        _to_class(weights[j] - weights[label], logits[label] - logits[j], image, norm, low, high)
        for j in range(len(weights))
        if j != label
    )


def _to_class(w, gap, image, norm, low, high):
    ray = np.sign(w) if norm == "linf" else w

    def delta(s):
        return np.clip(image + s * ray, low, high) - image

    top = 1e9
    if delta(top) @ w < gap:
        return np.inf
    bottom = 0.0
    for _ in range(200):
        middle = (bottom + top) / 2
        bottom, top = (middle, top) if delta(middle) @ w < gap else (bottom, middle)
    return np.linalg.norm(delta(top), np.inf if norm == "linf" else 2)
