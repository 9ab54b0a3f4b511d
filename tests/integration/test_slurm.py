"""Sweeps on a real Slurm; `make slurm-test` brings one up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import biorep
from biorep.lab.store import read_plan

if not shutil.which("sbatch"):
    pytest.skip("no Slurm here: no sbatch on the path", allow_module_level=True)
pytest.importorskip("dask_jobqueue", reason='needs dask-jobqueue: pip install "biorep[slurm]"')
if subprocess.run(["sinfo"], capture_output=True, check=False).returncode:
    pytest.skip("sbatch is here, but no Slurm answers", allow_module_level=True)

HERE = Path(__file__).parent
RUNS = 20


def _jobs():
    """Return the ids of the jobs that run or wait."""
    answer = subprocess.run(["squeue", "-h", "-o", "%i"], capture_output=True, text=True, check=True)
    return answer.stdout.split()


def test_sweep_on_slurm_survives_a_cancelled_job(tmp_path):
    (tmp_path / "plan.yaml").write_text(f"""
name: queue
recipe:
  dataset: {{name: digits, limit: 40}}
  network: {{kind: "{HERE / "offenders.py"}:Offender", pause: 0.5}}
  readout: null
  robustness: null
  spectrum: {{first: 1, last: 4}}
zip:
  network.name: {[f"r{number}" for number in range(RUNS)]}
  seed: {{range: {RUNS}}}
""")
    ledger = tmp_path / "ledger"
    ledger.touch()
    command = [sys.executable, "-m", "biorep.cli", "sweep", "plan.yaml", "--out", "store", "--cluster", "slurm"]
    command += ["--device", "cpu", "--workers", "2"]
    command += ["--cluster-option", "queue=debug", "walltime=00:10:00", "memory=1GB"]
    environment = {**os.environ, "BIOREP_TEST_LEDGER": str(ledger)}
    with open(tmp_path / "log", "wb") as log:
        driver = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 180
            while ledger.read_text().count("done") < 5:
                assert driver.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.1)
            cancelled = _jobs()[0]
            subprocess.run(["scancel", cancelled], check=True)
            assert driver.wait(300) == 0, (tmp_path / "log").read_text()
        finally:
            driver.kill()
    plan = read_plan(tmp_path / "store" / "queue")
    assert len(plan.runs) == RUNS
    assert plan.missing == []
    assert biorep.open(plan.folder)["spectrum"]["alpha"].sizes["run"] == RUNS
    begun = Counter(line.split()[1] for line in ledger.read_text().splitlines() if line.startswith("begin"))
    assert len(begun) == RUNS
    assert sum(begun.values()) - RUNS <= 1  # the run of the cancelled job
    deadline = time.monotonic() + 60
    while _jobs() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert _jobs() == []
