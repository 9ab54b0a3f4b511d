"""The session that biorep is called in: what it has set changes no number, and nothing of it is changed."""

from __future__ import annotations

import random
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import xarray as xr

from biorep import bridge, network, penalties
from biorep.robustness import evaluate, fgsm, pgd
from biorep.tables import NETWORKS

SMALL = {
    "krotov-hopfield": {"units": 6, "k": 2, "epochs": 2, "batch_size": 8, "learning_rate": 0.02},
    "pixels": {},
    "random-features": {"units": 12},
    "mlp": {
        "hidden": [8, 6], "epochs": 2, "batch_size": 5, "batch_norm": True, "whitening": {"after": 1}, "evaluate": 10,
        "penalties": ["jacobian", "spectral-norm", "isometric", {"kind": "spectral", "tau": 1}, "parseval", "l2"],
    },
    "cnn": {"channels": [2], "dense": [6], "kernel": 2, "epochs": 1, "evaluate": 0, "batch_norm": True, "batch_size": 5,
            "objective": {"kind": "adversarial", "steps": 2}},
    "hierarchical": {"width": 5, "depths": [2], "epochs": 1, "evaluate": 0,
                     "objective": {"kind": "trades", "steps": 2}},
}  # fmt: skip
ATTACKED = {"attacks": ["fgsm", {"kind": "pgd", "steps": 3}], "linf": [0.1], "l2": [0.5], "noise": [0.1],
            "noise_draws": 1, "precision": 0.5}  # fmt: skip
TORCH = [word for word in NETWORKS if not NETWORKS.load(word).own_process]


@contextmanager
def default(setter, getter, value):
    before = getter()
    setter(value)
    try:
        yield
    finally:
        setter(before)


SESSIONS = {
    "float64": lambda: default(torch.set_default_dtype, torch.get_default_dtype, torch.float64),
    "no-grad": torch.no_grad,
    "inference-mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "meta": lambda: torch.device("meta"),
    "cpu": lambda: torch.device("cpu"),
    "errors": lambda: np.errstate(all="raise"),
}


def _chain(word, data):
    """Return all that is made of a network, from its training to an attack on its classifier."""
    net = network(word, **SMALL[word])
    state = net.fit(data["train"], seed=1)
    train, test = (net.encode(state, data[split]) for split in ("train", "test"))
    readouts = [
        bridge.Readout(max_iterations=20).fit(train),
        bridge.Readout(optimiser="adam", epochs=2, batch_size=7).fit(train, seed=1),
    ]
    model = bridge.classifier(net, state, readouts[0])
    attacked = evaluate(model, data["test"], **ATTACKED)
    images = torch.as_tensor(data["test"]["image"].values, device="cpu")
    labels = torch.as_tensor(data["test"]["label"].values, device="cpu")
    moved = [fgsm(model, images, labels, epsilon=0.1).numpy(), pgd(model, images, labels, epsilon=0.1, steps=3).numpy()]
    scores = [bridge.score(readout, test) for readout in readouts]
    return [state, train, test, *readouts, *scores, *(xr.Dataset({"image": (list("pyx"), part)}) for part in moved),
            *(attacked[group].to_dataset() for group in ("/", "linf", "l2", "noise"))]  # fmt: skip


@pytest.fixture(scope="module")
def few():
    from biorep import datasets

    generator = np.random.default_rng(0)
    labels = np.arange(21) % 3
    images = (generator.random((21, 4, 4)) * 0.5 + 0.2 * labels[:, None, None]).astype(np.float32)
    return {
        split: datasets.from_arrays(images[part], labels[part], class_names=list("abc"), split=split)
        for split, part in {"train": slice(15), "test": slice(15, 21)}.items()
    }


def _streams():
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()


def _settings():
    modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
    return *modes, torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads(), np.geterr()


@pytest.mark.parametrize("word", TORCH)
def test_no_setting_of_the_session_changes_a_number_or_is_changed(word, few):
    streams, wanted = _streams(), _chain(word, few)
    assert _streams() == streams
    for name, session in SESSIONS.items():
        with session():
            before = _settings()
            found = _chain(word, few)
            assert _settings() == before, name
        assert _streams() == streams, name
        for one, other in zip(found, wanted, strict=True):
            assert one.identical(other), name


@pytest.mark.parametrize("session", ["float64", "autocast", "meta", "errors"])
def test_penalties_do_not_depend_on_the_session(session):
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(5, 6, generator=generator, requires_grad=True)
    inputs = torch.randn(9, 6, generator=generator, requires_grad=True)
    outputs, labels, basis = inputs @ weights.T, torch.arange(9) % 3, torch.eye(5)

    def values():
        found = [
            penalties.jacobian_penalty(outputs, inputs, n_proj=2, generator=generator.manual_seed(1)),
            penalties.isometric_penalty(outputs, inputs, labels),
            penalties.spectral_penalty(outputs, basis, tau=1),
            penalties.input_gradient_penalty(outputs, inputs, labels),
            penalties.spectral_norm_penalty([weights], iterations=3),
            penalties.parseval_penalty([weights]),
        ]
        return torch.stack(found).detach()

    wanted = values()
    with SESSIONS[session]():
        found = values()
    assert torch.equal(found, wanted)
    assert found.dtype == torch.float32
