"""One driver per plan."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from biorep.errors import StoreError
from biorep.lab.store.lease import STALE, lease, read_lease

HOLDER = """
import sys, time
from pathlib import Path
from biorep.lab.store.lease import lease
with lease(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lease of a folder."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_driver_is_refused_with_host_process_and_start(tmp_path, holder):
    said = json.loads((tmp_path / "lease.json").read_text())
    words = f"worked on by process {holder.pid} on {socket.gethostname()} since {said['started']}"
    with pytest.raises(StoreError, match=words.replace("+", r"\+")), lease(tmp_path):
        pass
    assert read_lease(tmp_path)["pid"] == holder.pid


def test_the_lease_of_a_killed_driver_is_taken_over(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert (tmp_path / "lease.json").is_file()
    assert read_lease(tmp_path) is None
    with lease(tmp_path):
        assert read_lease(tmp_path)["pid"] == os.getpid()


def test_each_lease_has_its_own_identity_and_is_gone_afterwards(tmp_path):
    with lease(tmp_path) as one:
        pass
    assert not (tmp_path / "lease.json").exists()
    with lease(tmp_path) as two:
        pass
    assert one != two


def test_a_holder_on_another_machine_is_believed_until_it_stops_renewing(tmp_path):
    path = tmp_path / "lease.json"
    path.write_text(json.dumps({"id": "x", "host": "another-machine", "pid": 12, "started": "then"}))
    with pytest.raises(StoreError, match="process 12 on another-machine since then"), lease(tmp_path):
        pass
    old = time.time() - STALE - 1
    os.utime(path, (old, old))
    with lease(tmp_path):
        assert read_lease(tmp_path)["host"] == socket.gethostname()


def test_a_folder_that_cannot_be_made_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write .*--out FOLDER"), lease(tmp_path / "file" / "plan"):
        pass
