"""Backprop networks on a GPU learn what they learn on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import biorep
from biorep.context import RunContext

PENALTIES = [
    {"kind": "l2", "strength": 1e-4},
    {"kind": "spectral", "tau": 2, "strength": 0.1},
    {"kind": "isometric", "strength": 0.1},
    {"kind": "input-gradient", "strength": 0.01},
    {"kind": "spectral-norm", "strength": 0.01},
]
HALVES = [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
NETWORKS = {
    "mlp": {"hidden": (30, 20, 20), "whitening": {"after": 1}, "penalties": PENALTIES},
    "cnn": {"channels": (4, 6), "kernel": 2, "pool": 1, "dense": (20,), "batch_norm": True, "penalties": PENALTIES},
    "hierarchical": {"levels": [HALVES, "classes"], "depths": (1, 1), "width": 20, "penalties": PENALTIES},
    "mlp-adversarial": {"hidden": (20,), "objective": {"kind": "adversarial", "epsilon": 0.1, "steps": 3}},
    "mlp-trades": {"hidden": (20,), "objective": {"kind": "trades", "epsilon": 0.1, "steps": 3}},
    "mlp-jacobian": {"hidden": (20,), "penalties": [{"kind": "jacobian", "n_proj": -1}]},
}


@pytest.mark.gpu
@pytest.mark.parametrize("name", NETWORKS)
def test_training_on_a_gpu_equals_that_on_the_cpu(name, digits):
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    network = biorep.network(name.partition("-")[0], **NETWORKS[name], epochs=3)
    states = [
        network.fit(digits["train"], seed=0, validation=digits["validation"], context=RunContext(device=device))
        for device in ("cpu", "cuda")
    ]
    if "objective" in NETWORKS[name]:  # whose draws differ from device to device
        assert float(states[1]["validation_accuracy"][-1]) == pytest.approx(
            float(states[0]["validation_accuracy"][-1]), abs=0.05
        )
        return
    for variable in ("loss", "evaluation_loss", "value_jacobian", "value_isometric"):
        np.testing.assert_allclose(states[1][variable], states[0][variable], rtol=1e-2)
