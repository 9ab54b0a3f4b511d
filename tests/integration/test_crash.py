"""A sweep survives whatever is killed: a worker, the driver, a writer in the middle of a file, runs that misbehave."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

import biorep
from biorep.lab.store import Stages, failures, read_plan

HERE = Path(__file__).parent
RUNS, WORKERS = 50, 2
pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")


class Sweep:
    """A plan of 50 runs, three of which misbehave, and the processes that work on it."""

    def __init__(self, folder, seed):
        self.random = random.Random(seed)
        deeds = ["none"] * (RUNS - 3) + ["kill", "raise", "half"]
        self.random.shuffle(deeds)
        names = [f"r{number}" for number in range(RUNS)]
        self.offenders = {name for name, deed in zip(names, deeds, strict=True) if deed in ("kill", "raise")}
        (folder / "plan.yaml").write_text(f"""
name: crash
recipe:
  dataset: {{name: digits, limit: 40}}
  network: {{kind: "{HERE / "offenders.py"}:Offender"}}
  readout: null
  robustness: null
  spectrum: {{first: 1, last: 4}}
zip:
  network.name: {names}
  network.misdeed: {deeds}
  seed: {{range: {RUNS}}}
""")
        self.folder, self.ledger = folder, folder / "ledger"
        self.ledger.touch()
        self.environment = {**os.environ, "BIOREP_TEST_LEDGER": str(self.ledger)}

    def start(self):
        command = [
            sys.executable,
            "-m",
            "biorep.cli",
            "sweep",
            "plan.yaml",
            "--out",
            "store",
            "--workers",
            str(WORKERS),
        ]
        with open(self.folder / "log", "ab") as log:
            return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)

    def lines(self, word):
        return [line.split()[1] for line in self.ledger.read_text().splitlines() if line.startswith(word)]

    def wait_for(self, done, driver):
        deadline = time.monotonic() + 120
        while len(self.lines("done")) < done:
            assert driver.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)

    def said(self):
        return (self.folder / "log").read_text()[-3000:]

    def processes(self):
        """Return all living processes that were started for this sweep."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("BIOREP_TEST_LEDGER") == str(self.ledger) and process.status() != "zombie":
                    found.append(process)
            except psutil.Error:
                continue
        return [process for process in found if process.pid != os.getpid()]

    def worker(self):
        """Return a worker that works on a run."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for path in self.folder.glob("store/crash/runs/*/attempt.json"):
                if "misdeedhalf" in path.parent.name:
                    continue  # it dies once by itself, and a run whose process has died twice is given up
                attempt = failures.read_attempt(self.folder / "store/crash", path.parent.name)
                if attempt and psutil.pid_exists(attempt["pid"]):
                    return attempt["pid"]
            time.sleep(0.005)
        raise AssertionError("no worker works")


def check(sweep):
    """Exactly the offenders failed, little was repeated, nothing is damaged and nobody is left."""
    folder = sweep.folder / "store" / "crash"
    plan, failed = read_plan(folder), failures.read_failures(folder)
    names = {name: plan.planned[name]["name"] for name in plan.planned}
    assert {names[run] for run in failed} == sweep.offenders, sweep.said()
    assert len(plan.runs) == RUNS - 2, sweep.said()
    assert set(plan.missing) == set(failed)
    reasons = {facts["error"] for facts in failed.values()}
    assert reasons == {"death", "RuntimeError"}
    stages = Stages(plan.root)
    assert all(stages.done(*address.split("/")) for run in plan.runs for address in run.stages.values())  # checksums
    tree = biorep.open(folder)
    assert tree["spectrum"]["alpha"].sizes["run"] == RUNS - 2
    assert int(tree["spectrum"]["eigenvalue"].notnull().any("component").sum()) == RUNS - 2
    assert not list((sweep.folder / "store").rglob(".*.tmp"))
    good = Counter(name for name in sweep.lines("begin") if name not in sweep.offenders)
    assert set(good) == set(names.values()) - sweep.offenders
    # In flight when something was killed: one with the worker, one per worker with the driver, one with the writer.
    assert sum(good.values()) - len(good) <= 1 + WORKERS + 1, good
    deadline = time.monotonic() + 20
    while sweep.processes() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert sweep.processes() == []


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 10))])
def test_sweep_survives_kills_of_worker_driver_and_writer(tmp_path, seed):
    sweep = Sweep(tmp_path, seed)
    driver = sweep.start()
    first = sweep.random.randint(2, 20)
    sweep.wait_for(first, driver)
    os.kill(sweep.worker(), signal.SIGKILL)
    sweep.wait_for(first + sweep.random.randint(4, 20), driver)
    driver.kill()
    driver.wait()
    deadline = time.monotonic() + 20
    while sweep.processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sweep.processes() == []
    driver = sweep.start()
    assert driver.wait(300) == 1, sweep.said()  # some runs failed
    check(sweep)
