"""Sweeps on workers: what is shared, what is repeated, what fails and how it is said."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import biorep
from biorep import atomic
from biorep.context import RunContext
from biorep.errors import ConfigError, StoreError
from biorep.lab import batch
from biorep.lab.batch import clusters, pool, worker
from biorep.lab.store import Stages, failures, read_plan
from biorep.lab.store.lease import lease

OFFENDERS = Path(__file__).parents[2] / "integration" / "offenders.py"
PLAN = f"""
name: p
recipe:
  dataset: {{name: digits, limit: 40}}
  network: {{kind: "{OFFENDERS}:Offender", pause: 0}}
  readout: {{source: assignment}}
  spectrum: {{first: 1, last: 4}}
  robustness: null
"""


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    path = tmp_path / "ledger"
    path.touch()
    monkeypatch.setenv("BIOREP_TEST_LEDGER", str(path))
    return path


@pytest.fixture
def sweep(tmp_path, ledger):
    """Return a function that sweeps a plan and returns its record and what was said."""

    def run(text, root=None, workers=1, **options):
        (tmp_path / "p.yaml").write_text(PLAN + text)
        said = []
        record = batch.sweep(tmp_path / "p.yaml", root or tmp_path / "out", workers=workers, say=said.append, **options)
        return record, said

    return run


def begun(ledger):
    return [line for line in ledger.read_text().splitlines() if line.startswith("begin")]


def test_a_sweep_gives_what_one_process_gives_and_repeats_nothing(sweep, tmp_path, ledger):
    grid = "grid: {readout.source: [assignment, shares], seed: {range: 3}}"
    record, said = sweep(grid, workers=2)
    assert (len(record.runs), record.missing, said) == (6, [], [])
    assert len(begun(ledger)) == 3  # runs that share a training wait for it
    assert sweep(grid)[0] == record
    assert len(begun(ledger)) == 3
    alone = batch.execute(batch.read(tmp_path / "p.yaml"), tmp_path / "alone", say=lambda line: None)
    assert [run.stages for run in alone.runs] == [run.stages for run in record.runs]
    for run in record.runs:
        for address in run.stages.values():
            one, other = (Stages(tmp_path / root).load(*address.split("/")) for root in ("out", "alone"))
            assert one.equals(other)
    log = failures.log_path(record.folder, record.runs[0].name).read_text()
    assert "state" in log
    assert biorep.open(record.folder)["readout"]["test_accuracy"].dims == ("source", "seed")


def test_a_failure_is_kept_with_its_log_and_tried_again_on_request(sweep, ledger):
    text = "zip: {network.misdeed: [none, raise, none], network.name: [a, b, c], seed: [0, 1, 2]}"
    record, said = sweep(text)
    assert len(record.runs) == 2
    (name,) = record.missing
    facts = failures.read_failures(record.folder)[name]
    assert (facts["error"], facts["message"], facts["attempts"]) == ("RuntimeError", "this run always raises", 1)
    assert any("Traceback" in line for line in facts["log"])
    assert said == [f"{name}: failed: RuntimeError: this run always raises"]
    before = len(begun(ledger))
    _, said = sweep(text)
    assert said == [f"{name}: failed before; --retry-failed tries it again"]
    assert len(begun(ledger)) == before
    sweep(text, retry_failed=True)
    assert len(begun(ledger)) == before + 1


def test_a_sweep_whose_runs_all_fail_alike_is_stopped(sweep, ledger):
    with pytest.raises(StoreError, match=r"the first 3 runs that failed said the same: RuntimeError.*--retry-failed"):
        sweep("grid: {network.misdeed: [raise], seed: {range: 20}}")
    assert len(begun(ledger)) == 3


def test_runs_in_processes_of_their_own(sweep, tmp_path):
    """A spiking run executes in a child; one that cannot run says why and leaves the others alone."""
    (tmp_path / "s.yaml").write_text("""
name: spikes
recipe:
  dataset: {name: digits, limit: 12}
  network: {kind: diehl-cook, units: 4, peak_rate: 110, norm: 20, stimulus_duration: 40, rest_duration: 10,
    max_tries: 1}
  readout: {source: assignment}
  spectrum: null
  robustness: null
cases:
  good: {}
  bad: {network.stimulus_duration: 40.3}
""")
    context = RunContext(engine="runtime-numpy")
    record = batch.sweep(tmp_path / "s.yaml", tmp_path / "out", workers=1, context=context, say=lambda line: None)
    assert [one.name for one in record.runs] == ["good"]
    facts = failures.read_failures(record.folder)["bad"]
    assert "is not a multiple of the time step" in facts["message"]
    assert "Traceback" not in "".join(facts["log"])


def test_a_run_that_kills_its_own_process_leaves_its_worker_alone(tmp_path, ledger):
    text = PLAN.replace(":Offender", ":Apart") + "zip: {network.misdeed: [none, kill, none], seed: [0, 1, 2]}"
    (tmp_path / "p.yaml").write_text(text)
    record = batch.sweep(tmp_path / "p.yaml", tmp_path / "out", workers=1, say=lambda line: None)
    assert len(record.runs) == 2
    (facts,) = failures.read_failures(record.folder).values()
    assert (facts["error"], facts["message"], facts["attempts"]) == ("death", "its process died 2 times", 2)
    assert any("ended by signal 9" in line for line in facts["log"])
    processes = [line.split()[2] for line in begun(ledger)]
    assert len(set(processes)) == len(processes) == 4  # one for each attempt, and two for the offender


def test_a_killed_driver_leaves_no_run_behind(tmp_path, ledger):
    text = PLAN.replace(":Offender", ":Apart").replace("pause: 0", "pause: 300") + "grid: {seed: [0]}"
    (tmp_path / "p.yaml").write_text(text)
    command = [sys.executable, "-m", "biorep.cli", "sweep", "p.yaml", "--out", "out", "--workers", "1"]
    with open(tmp_path / "log", "wb") as log:
        driver = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    deadline = time.monotonic() + 90
    while not begun(ledger) and time.monotonic() < deadline:
        assert driver.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.1)
    process = int(begun(ledger)[0].split()[2])
    assert atomic.lives(process)
    driver.kill()
    driver.wait()
    while atomic.lives(process) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not atomic.lives(process)


def test_a_scheduler_that_is_there_already_is_used(sweep, ledger):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster:
        with pytest.raises(ConfigError, match="say which device its machines have"):
            sweep("grid: {seed: [0, 1]}", cluster=cluster.scheduler_address, context=RunContext(device="auto"))
        record, _ = sweep("grid: {seed: [0, 1]}", cluster=cluster.scheduler_address)
        assert len(record.runs) == 2
        assert len(cluster.workers) == 1  # it is not ours to stop
    with pytest.raises(ConfigError, match="no Dask scheduler answers at tcp://127.0.0.1:9"):
        sweep("grid: {seed: [2]}", cluster="tcp://127.0.0.1:9")


def test_a_script_without_a_guard_does_not_run_twice(tmp_path, ledger):
    (tmp_path / "p.yaml").write_text(PLAN + "grid: {seed: [0, 1]}")
    script = tmp_path / "script.py"
    script.write_text("import biorep\nprint('once')\nrecord = biorep.sweep('p.yaml', 'out')\nprint(len(record.runs))\n")
    answer = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert answer.stdout == "once\n2\n"


def test_the_second_driver_is_refused(sweep, tmp_path):
    with lease(tmp_path / "out" / "p"), pytest.raises(StoreError, match=f"worked on by process {os.getpid()}"):
        sweep("grid: {seed: [0]}")


def test_a_full_disk_fails_runs_and_leaves_results_intact(sweep, small_disk, tmp_path):
    disk = small_disk(600_000)
    with pytest.raises(StoreError, match="the disk is full|No space left"):
        sweep("grid: {network.units: [2000], seed: {range: 6}}", disk)
    stages = Stages(disk)
    done = [path.parent for path in disk.glob("stages/*/*/manifest.json")]
    assert all(stages.done(folder.parent.name, folder.name) for folder in done)
    assert not list(disk.rglob(".*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
    record, _ = sweep("grid: {network.units: [2000], seed: {range: 6}}", disk, retry_failed=True)
    assert len(record.runs) == 6


def test_a_folder_that_may_only_be_read_is_named(sweep, small_disk):
    disk = small_disk(100_000)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(StoreError, match=r"cannot write .*Read-only file system.*--out FOLDER"):
        sweep("grid: {seed: [0]}", disk)


def test_a_damaged_result_fails_its_run_and_says_what_to_remove(sweep):
    record, _ = sweep("grid: {seed: [0, 1]}")
    path = Stages(record.root).path(*record.runs[0].stages["state"].split("/"))
    path.write_bytes(path.read_bytes()[:-10])
    record, (said,) = sweep("grid: {seed: [0, 1]}")
    assert record.missing == ["seed0"]
    assert f"{path} is damaged" in said
    assert f"Remove the folder {path.parent}" in said


def test_preview_says_what_is_left_and_how_long_it_may_take(sweep, tmp_path):
    sweep("grid: {seed: [0, 1]}")
    (tmp_path / "p.yaml").write_text(PLAN + "time: an hour\ngrid: {seed: [0, 1, 2]}")
    plan = batch.read(tmp_path / "p.yaml")
    lines = batch.preview(plan, tmp_path / "out", workers=2)
    assert lines[0] == "p: 3 runs: 2 done, 0 failed, 1 to do"
    assert [line.split() for line in lines[1:4]] == [["seed0", "done"], ["seed1", "done"], ["seed2", "to", "do"]]
    assert lines[4].startswith("a finished run took")
    assert lines[4].endswith("with 2 workers")
    assert "The plan says: an hour" in batch.preview(plan, tmp_path / "new")[-1]


def test_survey_knows_runs_of_other_settings(sweep, tmp_path):
    sweep("grid: {seed: [0, 1]}")
    plan = batch.read(tmp_path / "p.yaml", ["network.units=6"])
    assert [len(batch.survey(plan, tmp_path / "out").done), len(batch.survey(plan, tmp_path / "out").todo)] == [0, 2]
    assert len(read_plan(tmp_path / "out" / "p").runs) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "at least 1 worker, got 0"),
        ({"workers": 1.5}, "at least 1 worker, got 1.5"),
        ({"cluster": None}, "unknown cluster None"),
        ({"cluster": "slrum"}, "unknown cluster 'slrum'.*did you mean 'slurm'"),
        ({"options": {"queue": "debug"}}, r"cluster options \(queue\) are for '--cluster slurm'"),
    ],
)
def test_bad_requests_are_refused_and_lose_nothing(sweep, tmp_path, options, message):
    record, _ = sweep("grid: {seed: [0]}")
    for text in ("grid: {seed: [0]}", "grid: {seed: [1]}"):
        with pytest.raises(ConfigError, match=message):
            sweep(text, **options)
        assert read_plan(record.folder).runs == record.runs


def test_cluster_options_are_words_with_values():
    with pytest.raises(ConfigError, match="write KEY=VALUE"):
        clusters.parse_options(["debug"])
    for wrong in ("soon", "1:2:3:4x", ""):
        with pytest.raises(ConfigError, match="is no time limit of Slurm"):
            clusters.seconds(wrong)


def test_a_worker_hands_a_run_back_that_its_time_is_too_short_for(monkeypatch):
    import distributed

    from biorep.lab.batch import worker as work

    class Worker:
        def __init__(self):
            self.loop, self.left = self, []

        def add_callback(self, function):
            self.left.append(function)

        def close_gracefully(self):
            raise AssertionError("only asked for")

    here = Worker()
    monkeypatch.setattr(distributed, "get_worker", lambda: here)
    monkeypatch.setenv(work.DEADLINE, str(time.time() + 100))
    work._leave_in_time(50)
    assert here.left == []
    with pytest.raises(distributed.Reschedule):
        work._leave_in_time(200)
    assert here.left == [here.close_gracefully]


def test_every_process_has_a_gpu_of_its_own_and_one_thread(monkeypatch):
    """Two stand-in GPUs, four workers asked for: two processes, each sees one."""
    monkeypatch.setattr(pool, "gpus", lambda: 2)
    found = pool._environments(4, "cuda")
    assert [one["CUDA_VISIBLE_DEVICES"] for one in found] == ["0", "1"]
    assert {one["OMP_NUM_THREADS"] for one in (*found, *pool._environments(3, "cpu"))} == {"1"}


def listening():
    """Return the addresses, in hexadecimal, that this process and its descendants listen on."""
    family = {os.getpid()}
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    while grown := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= grown
    sockets = set()
    for pid in family:
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                sockets.add(os.readlink(descriptor))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A" and f"socket:[{cells[9]}]" in sockets:
                found.append(cells[1].partition(":")[0])
    return found


def test_processes_that_end_before_they_begin_do_not_hang_the_sweep(sweep, monkeypatch):
    real = subprocess.Popen
    broken = [sys.executable, "-c", "raise SystemExit(3)"]
    monkeypatch.setattr(worker.subprocess, "Popen", lambda command, **rest: real(broken, **rest))
    record, said = sweep("grid: {seed: [0]}")
    assert record.missing == ["seed0"]
    assert "processes for runs end before they begin" in said[0]
    log = failures.log_path(record.folder, "seed0").read_text()
    assert "ended by exit code 3" in log


def test_a_flipped_bit_is_found_by_repeating_a_sweep(sweep):
    record, _ = sweep("grid: {seed: [0, 1]}")
    path = Stages(record.root).path(*record.runs[0].stages["state"].split("/"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    record, (said,) = sweep("grid: {seed: [0, 1]}")
    assert f"{path} is damaged" in said


@pytest.mark.skipif(not os.path.isdir("/proc/net"), reason="needs /proc")
def test_a_local_sweep_listens_to_nothing(sweep, monkeypatch):
    seen = []
    ask = worker.Child.ask
    monkeypatch.setattr(worker.Child, "ask", lambda self, task: [ask(self, task), seen.append(listening())][0])
    sweep("grid: {seed: {range: 2}}", workers=2)
    assert seen == [[], []]
