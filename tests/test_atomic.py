"""Files appear whole or not at all, whatever fails while they are written."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from biorep import atomic
from biorep.errors import StoreError
from biorep.lab.store import Stages


def _names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _raise(number):
    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with atomic.replacing(path) as temporary:
        temporary.write_text("one")
        assert temporary.parent == path.parent
        assert not path.exists()
    with atomic.replacing(path) as temporary:
        temporary.write_text("two")
        assert path.read_text() == "one"
    assert path.read_text() == "two"
    assert _names(tmp_path) == ["new/a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
def test_nothing_is_left_behind_by_an_interrupted_write(tmp_path, error):
    path = tmp_path / "a.txt"
    with pytest.raises(error), atomic.replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert _names(tmp_path) == []


def test_an_interrupted_write_spares_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ValueError, match="stop"), atomic.replacing(path) as temporary:
        temporary.write_text("half")
        raise ValueError("stop")
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["a.txt"]


def test_a_body_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(StoreError, match="cannot write"), atomic.replacing(tmp_path / "a.txt"):
        pass
    assert _names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch, number):
    path = tmp_path / "a.txt"
    monkeypatch.setattr(os, "replace", _raise(number))
    with pytest.raises(StoreError) as caught:
        atomic.write_text(path, "x")
    assert str(caught.value) == (
        f"cannot write {path}: {os.strerror(number)}. Choose a folder that you may write to, with --out FOLDER."
    )
    assert isinstance(caught.value.__cause__, OSError)
    assert _names(tmp_path) == []


@pytest.mark.parametrize("below", ["a.txt", "deeper/a.txt"])
def test_a_parent_that_is_a_file(tmp_path, below):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match=r"cannot write .*a\.txt: .*Choose a folder that you may write to, with --out"):
        atomic.write_text(tmp_path / "file" / below, "x")
    assert (tmp_path / "file").read_text() == "mine"
    assert _names(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(tmp_path, monkeypatch, call, number):
    path = tmp_path / "a.txt"
    path.write_text("old")
    monkeypatch.setattr(os, call, _raise(number))
    with pytest.raises(StoreError) as caught:
        atomic.write_text(path, "new")
    message = str(caught.value)
    assert message.startswith(f"cannot write {path}: the disk is full (")
    assert f"MiB free in {tmp_path})" in message
    assert "Free some space or choose another folder with --out FOLDER" in message
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["a.txt"]


def test_a_folder_that_cannot_be_flushed_does_not_lose_the_file(tmp_path, monkeypatch):
    real, calls = os.fsync, []

    def second_fails(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", second_fails)
    atomic.write_text(tmp_path / "a.txt", "x")
    assert len(calls) == 2
    assert (tmp_path / "a.txt").read_text() == "x"
    assert _names(tmp_path) == ["a.txt"]


def test_the_data_are_flushed_before_the_name_changes(tmp_path, monkeypatch):
    events, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append("fsync"), fsync(descriptor))[1])
    monkeypatch.setattr(os, "replace", lambda *paths: (events.append("replace"), replace(*paths))[1])
    atomic.write_text(tmp_path / "a.txt", "x")
    assert events == ["fsync", "replace", "fsync"]


def test_text_is_utf8_whatever_the_locale(tmp_path):
    atomic.write_text(tmp_path / "a.txt", "Möwe ∑\n")
    assert (tmp_path / "a.txt").read_bytes() == "Möwe ∑\n".encode()


def test_json_round_trip(tmp_path):
    value = {"b": [1, 2.5, None, True], "a": {"name": "Möwe"}}
    atomic.write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert text.endswith("}\n")
    assert "Möwe" in text


@pytest.mark.parametrize("value", [{"a": float("nan")}, {"a": {1, 2}}])
def test_values_that_json_cannot_hold_leave_no_file(tmp_path, value):
    with pytest.raises((ValueError, TypeError)):
        atomic.write_json(tmp_path / "a.json", value)
    assert _names(tmp_path) == []


def test_write_with_turns_a_runtime_error_into_a_store_error(tmp_path):
    def write(temporary):
        temporary.write_text("half")
        raise RuntimeError("NetCDF: HDF error")

    path = tmp_path / "a.nc"
    with pytest.raises(StoreError) as caught:
        atomic.write_with(path, write)
    assert str(caught.value).startswith(f"cannot write {path}: NetCDF: HDF error (")
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert _names(tmp_path) == []


def test_write_with_lets_mistakes_in_the_code_through(tmp_path):
    def write(temporary):
        temporary.write_text("half")
        raise KeyError("oops")

    with pytest.raises(KeyError, match="oops"):
        atomic.write_with(tmp_path / "a.nc", write)
    assert _names(tmp_path) == []


def test_write_with_writes(tmp_path):
    atomic.write_with(tmp_path / "a.bin", lambda temporary: temporary.write_bytes(b"\0\1"))
    assert (tmp_path / "a.bin").read_bytes() == b"\0\1"


def test_sha256(tmp_path):
    content = os.urandom(300_000)
    (tmp_path / "a").write_bytes(content)
    assert atomic.sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


# --------------------------------------------------------------------------------------------- finished stages


def test_a_stage_whose_manifest_cannot_be_written_is_not_finished(tmp_path, monkeypatch):
    stages, real = Stages(tmp_path), os.replace
    result = xr.Dataset({"a": ("x", np.arange(4.0))})

    def full_at_the_manifest(source, target):
        if os.path.basename(target) == "manifest.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full_at_the_manifest)
        with pytest.raises(StoreError, match=r"manifest\.json: the disk is full"):
            stages.save("spectrum", "k", result, config={}, seconds=0)
    assert not stages.done("spectrum", "k")
    assert _names(tmp_path) == ["stages/spectrum/k/spectrum.nc", "stages/spectrum/k/stage.json"]
    stages.save("spectrum", "k", result, config={}, seconds=0)
    assert stages.done("spectrum", "k")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np, xarray as xr
from biorep.errors import StoreError
from biorep.lab.store import Stages

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
root = Path(sys.argv[1])
stages = Stages(root)
small = xr.Dataset({"a": ("x", np.arange(4.0))})
large = xr.Dataset({"weights": (("neuroid", "input"), np.random.default_rng(0).random((400, 1000)))})
stages.save("state", "first", small, config={}, seconds=0)
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, unlimited[1]))
try:
    stages.save("state", "second", large, config={}, seconds=0)
except StoreError as error:
    print("StoreError", error)
print("files", sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()))
print("done", stages.done("state", "first"), stages.done("state", "second"))
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
stages.save("state", "second", large, config={}, seconds=0)
print("repeated", stages.done("state", "second"), stages.load("state", "second").equals(large))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs file size limits")
def test_a_netcdf_file_that_outgrows_the_disk_leaves_nothing(tmp_path):
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    path = tmp_path / "stages" / "state" / "second" / "state.nc"
    assert lines[0].startswith(f"StoreError cannot write {path}: ")
    assert "with --out FOLDER" in lines[0]
    assert lines[1:] == [
        "files ['stages/state/first/manifest.json', 'stages/state/first/stage.json', 'stages/state/first/state.nc', "
        "'stages/state/second/stage.json']",
        "done True False",
        "repeated True True",
    ]


def _count(folder: str) -> None:
    for _ in range(300):
        with atomic.locked(Path(folder) / "a.lock"):
            file = Path(folder) / "count"
            file.write_text(str(int(file.read_text()) + 1))


def test_a_lock_admits_one_process_at_a_time_and_leaves_no_file(tmp_path):
    (tmp_path / "count").write_text("0")
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.map(_count, [str(tmp_path)] * 4)
    assert (tmp_path / "count").read_text() == "1200"
    assert _names(tmp_path) == ["count"]
