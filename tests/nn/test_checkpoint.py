"""Checkpoints: what goes in comes out, whatever else lies in the file is never run."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch

from biorep.checkpoint import Checkpoint
from biorep.context import RunContext


def checkpoint(folder, key="key", **settings):
    return Checkpoint(RunContext(checkpoint=folder, **settings), "name", key)


VALUES = {
    "float": np.linspace(0, 1, 5, dtype=np.float32),
    "unsigned": np.array([[0, 2**64 - 1]], dtype=np.uint64),
    "empty": np.zeros(0),
    "single": np.array(7),
    "turned": np.arange(6).reshape(2, 3)[::-1].T,
    "tensor": torch.arange(3.0),
    "nested": {"history": {"loss": [0.5, float("nan")]}, "epoch": 3, "stopped": False, "name": "mlp", "none": None},
}


def test_values_come_back_bit_for_bit_and_of_their_kind(tmp_path):
    checkpoint(tmp_path).save(VALUES)
    found = checkpoint(tmp_path).load()
    assert set(found) == set(VALUES)
    for name in ("float", "unsigned", "empty", "single", "turned"):
        np.testing.assert_array_equal(found[name], VALUES[name])
        assert found[name].dtype == VALUES[name].dtype
        assert found[name].shape == VALUES[name].shape
    assert torch.equal(found["tensor"], VALUES["tensor"])
    assert repr(found["nested"]) == repr(VALUES["nested"])
    checkpoint(tmp_path).remove()
    assert list(tmp_path.iterdir()) == []


class Evil:
    def __reduce__(self):
        return os.mkdir, ("run",)


@pytest.mark.parametrize("content", [b"", b"damaged", pickle.dumps(Evil())])
def test_damaged_files_and_those_of_others_are_not_used(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "name.pt").write_bytes(content)
    assert checkpoint(tmp_path).load() is None
    assert not (tmp_path / "run").exists()
    checkpoint(tmp_path).save({"epoch": 1})
    assert checkpoint(tmp_path, key="other").load() is None
    assert checkpoint(tmp_path).load() == {"epoch": 1}


def test_nothing_is_saved_without_a_folder_or_before_it_is_time(tmp_path):
    alone = Checkpoint(RunContext(), "name", "key")
    assert alone.load() is None
    assert not alone.due()
    alone.remove()
    assert not checkpoint(tmp_path, checkpoint_every=1e6).due()
    assert checkpoint(tmp_path, checkpoint_every=0.0).due()
