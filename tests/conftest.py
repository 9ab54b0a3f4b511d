"""Shared fixtures: small data without any file, and one thread per test process."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_data_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests see neither the user's data folders nor the user's cache."""
    monkeypatch.delenv("BIOREP_DATA", raising=False)
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # what one process compiles, all may use
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared / "cache"))


@pytest.fixture(scope="session")
def shrunk(tmp_path_factory):
    """Return a function that runs a published model or a file, shrunk, in a store of all tests, under another name."""
    from biorep import atomic
    from biorep.context import RunContext
    from biorep.lab import batch

    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shrunk"

    def run(model, name):
        plan = batch.read(model, [f"name={name}"], shrunk=True)
        with atomic.locked(root / f".{Path(str(model)).stem}"):  # what another test has run is found done
            record = batch.execute(plan, root, context=RunContext(engine="runtime-numpy"), say=lambda line: None)
        return plan, record

    return run


@pytest.fixture(scope="session")
def digits():
    """Training, validation and test digits."""
    from biorep import datasets

    return {split: datasets.load("digits", split) for split in ("train", "validation", "test")}


@pytest.fixture
def tiny():
    """Twenty small images of two classes, learnable, in [0, 1]."""
    from biorep import datasets

    generator = np.random.default_rng(0)
    labels = np.arange(20) % 2
    images = generator.random((20, 4, 4)) * 0.5
    images[labels == 1, :2] += 0.5
    return datasets.from_arrays(images, labels, class_names=["low", "high"])


@pytest.fixture
def small_disk(tmp_path):
    """Return a function that makes a disk of so many bytes and returns its folder; skips where none can be mounted."""
    mounted = []

    def make(size):
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("needs the right to mount a small disk")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)
