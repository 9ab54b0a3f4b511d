"""What a sweep costs beside its runs: overhead per run, scaling over workers, collecting, opening, repeating.

    python benchmarks/batch.py

The peer is a bare Dask task, as one writes it by hand: it loads the images, does the same work and writes the same two
Datasets with `to_netcdf`; no key, no manifest, no lock, no log, no resume. Both run on one worker, ours behind a pipe,
the peer's behind a scheduler, in turns. Run it on an idle machine.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from biorep.lab import batch
from biorep.lab.batch.pool import Submit, pool
from biorep.lab.batch.worker import ONE_THREAD, Task, attempt
from biorep.lab.plan import Plan
from biorep.lab.store import write_plan

TRIVIAL = """
name: trivial
recipe:
  dataset: {name: digits, limit: 40}
  network: {kind: random-features, units: 20}
  readout: null
  spectrum: null
  robustness: null
grid: {seed: {range: 400}}
"""
BOUND = """
name: bound
recipe:
  dataset: {name: digits}
  network: {kind: krotov-hopfield, units: 300, epochs: 300}
  readout: null
  spectrum: null
  robustness: null
grid: {seed: {range: 16}}
"""
MANY = """
name: many
recipe:
  dataset: {name: digits, limit: 40}
  network: {kind: random-features, units: 20}
  readout: {source: assignment}
  spectrum: {first: 1, last: 8}
  robustness: null
grid: {seed: {range: COUNT}}
"""
ROUNDS, PER_ROUND = 7, 40
RUNS, MORE, REPEATED = 1000, 10, 100


def read(text: str, folder: Path) -> Plan:
    """Return a plan from its text."""
    path = folder / "plan.yaml"
    path.write_text(text)
    return batch.read(path)


def tasks(plan: Plan, root: Path) -> list[Task]:
    """Return the runs of a plan as a sweep sends them to workers."""
    return [
        Task(run.name, run.recipe.document(), run.coordinates, str(root / plan.name), "benchmark") for run in plan.runs
    ]


def all_done(submit: Submit, part: list[Task]) -> None:
    """Execute tasks and return when the last one has ended."""
    outcomes = {future.result() for future in [submit(task) for task in part]}
    assert outcomes == {"done"}, outcomes


def bare(recipe: dict[str, Any], folder: str) -> None:
    """Do by hand what the trivial run does."""
    import biorep

    name, limit = recipe["dataset"]["name"], recipe["dataset"]["limit"]
    images = {split: biorep.datasets.load(name, split, limit=limit) for split in ("train", "test")}
    network = biorep.network(**recipe["network"])
    state = network.fit(images["train"], seed=recipe["seed"])
    os.makedirs(folder)
    state.to_netcdf(f"{folder}/state.nc", engine="netcdf4")
    network.encode(state, images["test"]).to_netcdf(f"{folder}/representation.nc", engine="netcdf4")


def unlocked(recipe: dict[str, Any], folder: str) -> None:
    """Do the same without the lock that xarray asks the scheduler for, for each file."""
    import dask

    with dask.config.set(scheduler="threads"):
        bare(recipe, folder)


def overhead(folder: Path) -> None:
    """Print the time of a trivial run beside that of the bare task."""
    trivial = tasks(read(TRIVIAL, folder), folder / "store")
    spent: dict[str, list[float]] = {"biorep": [], "bare": [], "bare, without xarray's lock": []}
    from distributed import Client, LocalCluster

    settings = {"n_workers": 1, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with pool(1) as submit, LocalCluster(**settings, env=ONE_THREAD) as cluster, Client(cluster) as client:
        for number in range(ROUNDS + 1):
            part = trivial[number * PER_ROUND : (number + 1) * PER_ROUND]
            for name in spent:
                start = time.perf_counter()
                if name == "biorep":
                    all_done(submit, part)
                else:
                    function = bare if name == "bare" else unlocked
                    target = folder / function.__name__
                    client.gather([client.submit(function, t.recipe, str(target / t.name), pure=False) for t in part])
                if number:  # the first round loads libraries
                    spent[name].append((time.perf_counter() - start) / PER_ROUND * 1e3)
    middle = {name: statistics.median(values) for name, values in spent.items()}
    print(f"\nTrivial run, one worker, wall ms, medians of {ROUNDS} rounds of {PER_ROUND}")
    for name, values in spent.items():
        ratio = "" if name == "biorep" else f"  biorep is {middle['biorep'] / middle[name]:.2f} of it (target <= 1.5)"
        print(f"  {name:<28}{middle[name]:>7.1f}  ({min(values):.1f}-{max(values):.1f}){ratio}")


def scaling(folder: Path) -> None:
    """Print how much faster two workers are than one with CPU-bound runs."""
    wall = {}
    for workers in (1, 2):
        bound = tasks(read(BOUND, folder), folder / f"store{workers}")
        with pool(workers) as submit:
            all_done(submit, bound[:workers])  # libraries are loaded in every process
            start = time.perf_counter()
            all_done(submit, bound[2:])
            wall[workers] = time.perf_counter() - start
    print(f"\nCPU-bound sweep of {len(bound) - 2} runs: {wall[1]:.1f} s with 1 worker, {wall[2]:.1f} s with 2")
    print(f"  ratio   {wall[1] / wall[2]:>7.2f}  (target >= 1.8)")


def repeating(folder: Path) -> None:
    """Print what it costs to repeat a finished plan of a hundred runs."""
    path = folder / "repeated.yaml"
    path.write_text(MANY.replace("COUNT", str(REPEATED)).replace("name: many", "name: repeated", 1))
    command = [sys.executable, "-m", "biorep.cli", "run", str(path), "--out", str(folder / "repeated-store")]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    spent = statistics.median(_cpu(command) for _ in range(3))
    libraries = (
        "import xarray, netCDF4, torch, scipy.linalg, biorep.cli, biorep.bridge, biorep.robustness, biorep.geometry"
    )
    imports = statistics.median(_cpu([sys.executable, "-c", libraries]) for _ in range(3))
    each = 1e3 * (spent - imports) / REPEATED
    print(f"\nA repeated finished plan of {REPEATED} runs: {spent:.1f} CPU s, of them {imports:.1f} imports")
    print(f"  per run                      {each:>6.1f} CPU ms (target <= 10)")


def _cpu(command: list[str]) -> float:
    """Return the CPU seconds of a command."""
    before = os.times()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def collecting(folder: Path) -> None:
    """Print what it costs to collect a thousand runs, to open them, and to collect ten more."""
    plan = read(MANY.replace("COUNT", str(RUNS + MORE)), folder)
    store = folder / "many-store"
    start = time.perf_counter()
    for task in tasks(plan, store):
        attempt(task)
    made = time.perf_counter() - start
    planned = {run.name: run.coordinates for run in plan.runs}
    hidden = list(planned)[RUNS:]
    for name in hidden:
        _record(store, name).rename(_record(store, name).with_suffix(".later"))
    write_plan(store / plan.name, plan.dims, planned, dict(plan.about))
    cold = _child("collect", store / plan.name)
    opened = [_child("open", store / plan.name) for _ in range(3)]
    for name in hidden:
        _record(store, name).with_suffix(".later").rename(_record(store, name))
    more = _child("collect", store / plan.name)
    size = sum(path.stat().st_size for path in (store / plan.name / "collected").iterdir()) / 2**20
    print(f"\n{RUNS} runs with readout and spectrum, made in {made:.0f} s; collected: {size:.1f} MiB; new processes")
    print(f"  cold collect                 {cold['cpu']:>6.2f} CPU s  (target <= 20)")
    print(f"  {MORE} more                      {more['cpu']:>6.2f} CPU s  (target <= 0.5)")
    wall, peak = (statistics.median(report[key] for report in opened) for key in ("wall", "peak"))
    print(f"  open, and the mean exponent  {wall:>6.2f} s      (target < 1), peak memory {peak:.0f} MB (target < 200)")
    imports = statistics.median(report["import"] for report in opened)
    print(f"  of that, importing xarray and netCDF4: {imports:.2f} s")


def _record(store: Path, name: str) -> Path:
    return store / "many" / "runs" / name / "run.json"


def _child(verb: str, folder: Path) -> dict[str, float]:
    """Do one thing in a new process, as a user would, and return what it cost without the start of Python."""
    command = [sys.executable, "-c", INSIDE, verb, str(folder)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **ONE_THREAD})
    return dict(json.loads(answer.stdout))


INSIDE = """
import json, sys, time
begin = time.perf_counter()
verb, folder = sys.argv[1:]
import netCDF4, xarray
if verb == "collect":
    import dask.array, distributed  # xarray loads them when it first makes an array
imported, cpu = time.perf_counter() - begin, time.process_time()
import biorep
from biorep.lab.store import collect
if verb == "open":
    float(biorep.open(folder)["spectrum"]["alpha"].mean())
else:
    collect(folder)
report = {"wall": time.perf_counter() - begin, "cpu": time.process_time() - cpu, "import": imported}
with open("/proc/self/status") as status:  # getrusage would give the peak of the parent, if that was higher
    report["peak"] = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1e3
print(json.dumps(report))
"""


def main() -> None:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for measure in (repeating, collecting, overhead, scaling):
            measure(folder)


if __name__ == "__main__":
    main()
