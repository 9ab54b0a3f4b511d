"""Start and memory of the spiking network: seconds to the first presentations, and the peak of a training.

python benchmarks/spiking_start.py
python benchmarks/spiking_start.py --memory      # only memory, of a whole epoch of MNIST (minutes)
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from spiking_cases import ENGINE, EPOCH, INPUTS, MEGA, cpu_seconds, dataset, diehl_cook, draw_keys

import biorep
from biorep.engines.chunks import Showing
from biorep.networks.base import flat_images
from biorep.networks.brian.simulation import feeder
from biorep.networks.brian.spiking import SpikingNetwork


def first_presentations(units: int) -> None:
    """Prepare a training, show ten images, and print how long both took: run in a new process."""
    begin = time.perf_counter()
    network, images = diehl_cook(units), np.random.default_rng(0).random((10, INPUTS)) * 0.26
    showing = Showing(images, np.arange(10), draw_keys(10))
    feed = feeder([network], [showing], INPUTS, learn=True, context=ENGINE)
    ready = time.perf_counter()
    feed.chunk(feed.start(network.initial(INPUTS, 0)))
    shown = time.perf_counter()
    print(json.dumps({"prepare": ready - begin, "show": shown - ready}))


def print_start(units: int) -> None:
    """Print how long it takes from a command to the first ten presentations, with an empty and a filled cache."""
    print(f"\nStart: seconds of a new process that prepares a training of N={units} and shows ten images")
    with tempfile.TemporaryDirectory() as folder:
        for cache, repeats in (("empty", 1), ("filled", 3)):
            wall, cpu, inside = [], [], []
            for _ in range(repeats):
                before, before_cpu = time.perf_counter(), cpu_seconds()
                inside.append(_child("--first", str(units), XDG_CACHE_HOME=folder))
                wall.append(time.perf_counter() - before)
                cpu.append(cpu_seconds() - before_cpu)
            prepared = statistics.median(report["prepare"] for report in inside)
            target = " (target <= 5)" if cache == "filled" else ""
            print(
                f"  cache of compiled simulations {cache:<7} wall {statistics.median(wall):>6.1f}{target}, of which "
                f"preparing {prepared:.1f}; CPU {statistics.median(cpu):.1f}"
            )


def _child(*arguments: str, **environment: str) -> dict[str, float]:
    """Run this file in a new process and return the JSON that it prints."""
    command = [sys.executable, str(Path(__file__).resolve()), *arguments]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **environment})
    return dict(json.loads(answer.stdout))


def train_in_memory(presentations: int) -> None:
    """Train the default network of 100 units on an epoch, or on its beginning, and print the peak of this process."""
    _, images = dataset()
    network = biorep.network("diehl-cook", units=100)
    assert isinstance(network, SpikingNetwork)
    begin = time.perf_counter()
    if presentations >= len(images["image"]):
        network.fit(images, seed=0, context=ENGINE)
    else:
        network.check_fitting(images)
        rows = network.prepare_images(flat_images(images))
        showing = Showing(rows, np.random.default_rng(0).permutation(len(rows)), draw_keys(len(rows)))
        feed = feeder([network], [showing], INPUTS, learn=True, context=ENGINE)
        progress = feed.start(network.initial(INPUTS, 0))
        for _ in range(-(-presentations // feed.layout.slots)):
            progress, _ = feed.chunk(progress)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        json.dumps(
            {
                "peak": peak,
                "images": images["image"].nbytes,
                "n": len(images["image"]),
                "s": time.perf_counter() - begin,
            }
        )
    )


def print_memory(presentations: int) -> None:
    """Print the peak memory of a training: of the process, and together with the binary that it runs."""
    command = [sys.executable, str(Path(__file__).resolve()), "--train", str(presentations)]
    together = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            together = max(together, sum(_resident(process.pid)))
            time.sleep(0.05)
        assert process.stdout is not None
        said = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"the training stopped with code {process.returncode}")
    report = json.loads(said)
    whole = presentations >= report["n"]
    print(f"\nMemory: training of N=100 with {report['n']} images in memory ({report['images'] / MEGA:.0f} MB)")
    print(
        f"  peak after {presentations} presentations: {report['peak'] / MEGA:.0f} MB in Python, with the binary "
        f"{max(together, report['peak']) / MEGA:.0f} MB (target < 2000); {report['s']:.0f} s"
    )
    if not whole:
        # Per presentation: row of the list (8 bytes), key (16), history (23).
        print(
            "  images, order and keys of the whole epoch are there from the start and a chunk is as large as the next;"
            f"\n  of what is left the history, 23 bytes per presentation, is {23 * report['n'] / MEGA:.1f} MB for"
            f" {report['n']}: an epoch has the same peak. --memory runs it."
        )


def _resident(pid: int) -> Iterator[int]:
    """Yield the resident memory of a process and of those that it started."""
    try:
        process = psutil.Process(pid)
        yield process.memory_info().rss
        for child in process.children(recursive=True):
            if child.exe() != process.exe():  # before it becomes another program, a child shares all of its parent's
                yield child.memory_info().rss
    except psutil.Error:  # it has just ended
        return


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=100)
    parser.add_argument("--memory", action="store_true", help="peak memory of a whole epoch, and nothing else")
    parser.add_argument("--first", type=int, metavar="UNITS", help=argparse.SUPPRESS)
    parser.add_argument("--train", type=int, metavar="PRESENTATIONS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    special: list[tuple[Any, Callable[[Any], None]]] = [
        (arguments.first, first_presentations),
        (arguments.train, train_in_memory),
        (EPOCH if arguments.memory else None, print_memory),
    ]
    for value, function in special:
        if value is not None:
            return function(value)
    print_start(arguments.units)
    print_memory(3000)


if __name__ == "__main__":
    main()
