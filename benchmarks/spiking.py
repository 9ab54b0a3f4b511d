"""Speed of the spiking network, one CPU thread, against BindsNET and ngc-learn through their public APIs.

    python benchmarks/spiking.py                                        # ours alone
    python benchmarks/spiking.py --bindsnet PYTHON --ngclearn PYTHON    # the Pythons that have the peers installed

Start and memory are in `spiking_start.py`, speed late in a training in `spiking_late.py`: on the processors of some
makers numbers that decay towards 0 would cost more and more; this program prints that table too.

"Each asked" is the same network without `biorep.engines.waiting`, as Brian2 compiles it: its answers are equal.

Process CPU time, user and system, per presentation; medians of interleaved rounds. Ours is everything that a training
does between two presentations of its list: feeding, reading and writing files, starting the binary, drawing the input
spikes, normalisation, plasticity, counting; only the history and checkpoints are left out. The peers run as
`peer_bindsnet.py` and `peer_ngclearn.py` say: no start, no compilation, and for BindsNET no encoding either.

All contenders see the same images: MNIST, or sparse random images of the same mean if it is not at hand, 63.75 Hz for
a white pixel, and have been trained on the same number of them before the clock starts. It is each package's nearest
784 -> N competitive network with pair STDP, not one model: ours is conductance-based in double precision, theirs are
current-based in single precision. All of them start each 250-step presentation from rest. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from spiking_cases import (
    ASKED,
    PEER_CHUNKS,
    PEER_TIMED,
    PEERS,
    PROTOCOLS,
    TIMED,
    TRAINED,
    Case,
    Measured,
    dataset,
    draw_keys,
    every_input_asked,
    input_spikes,
)
from spiking_late import print_late
from spiking_tables import print_profile, print_speed

from biorep.networks.base import flat_images


def ask_peer(python: str, program: str, units: int, images: Path) -> dict[str, Any]:
    """Run one case of a peer in a process of its own and return its report, or ``{"error": ...}``."""
    command = [python, str(Path(__file__).with_name(program)), "--images", str(images), "--units", str(units)]
    command += ["--trained", str(TRAINED), "--presentations", str(PEER_TIMED), "--chunks", str(PEER_CHUNKS)]
    environment = {**os.environ, **{f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}}
    environment.pop("PYTHONPATH", None)
    try:
        # The peer sees its own packages and neither ours nor this folder.
        with tempfile.TemporaryDirectory() as folder:
            answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=folder)
        return dict(json.loads(answer.stdout.splitlines()[-1]))
    except subprocess.CalledProcessError as error:
        return {"error": (error.stderr.strip().splitlines() or ["no message"])[-1]}
    except (OSError, IndexError, ValueError) as error:
        return {"error": str(error)}


def measure(
    cases: dict[tuple[str, int], Case],
    pythons: dict[str, str | None],
    images: np.ndarray,
    sizes: list[int],
    rounds: int,
) -> Measured:
    """Run all contenders, round after round."""
    found = Measured(defaultdict(list), {}, {}, {})
    for peer, python in pythons.items():
        if python is None:
            found.remarks[peer] = f"not given (--{PEERS[peer][0]} PYTHON)"
    found.spikes |= {(*key, verb): value for key, case in cases.items() for verb, value in case.spikes.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, images)
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}, load {load()}")
            for key, case in cases.items():
                for verb in case.work:
                    found.spent[*key, verb].append(case.milliseconds(verb))
            for peer, python in pythons.items():
                for units in sizes:
                    if python is not None and peer not in found.remarks:
                        _take(found, peer, units, ask_peer(python, PEERS[peer][1], units, path))
    return found


def _take(found: Measured, peer: str, units: int, report: dict[str, Any]) -> None:
    if "error" in report:
        found.remarks[peer] = f"does not run: {report['error']}"
        return
    for verb in ("train", "infer"):
        found.spent[peer, units, verb] += [1e3 * seconds for seconds in report["cpu_s"][verb]]
        found.spikes[peer, units, verb] = report["spikes"][verb]
    found.title[peer] = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    if encoding := report["encoding_cpu_s"]:
        found.spent[peer, units, "encode"].append(1e3 * encoding)
        found.spikes[peer, units, "encode"] = report["input_spikes"]


def load() -> str:
    """Return the load of the last minute."""
    return f"{os.getloadavg()[0]:.2f}"


def say(text: str) -> None:
    """Report progress."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bindsnet", metavar="PYTHON", help="Python that has bindsnet installed")
    parser.add_argument("--ngclearn", metavar="PYTHON", help="Python that has ngclearn installed")
    parser.add_argument("--units", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--rounds", type=int, default=5)
    compare(parser.parse_args())


def compare(arguments: argparse.Namespace) -> None:
    """Compile, measure all contenders, and print the tables."""
    name, whole = dataset()
    chosen = np.random.default_rng(0).permutation(len(whole["image"]))[: TRAINED + TIMED]
    images = flat_images(whole.isel(presentation=chosen))
    keys = draw_keys(len(images))
    say("compiling")
    inputs = {protocol.name: input_spikes(protocol, images, keys) for protocol in PROTOCOLS}
    cases = {}
    for protocol in PROTOCOLS:
        for units in arguments.units:
            cases[protocol.name, units] = ours = Case(protocol, units, images, keys)
            with every_input_asked():
                cases[f"{protocol.name}{ASKED}", units] = asked = Case(protocol, units, images, keys)
            for verb in ("train", "infer"):
                assert np.array_equal(ours.answers(verb), asked.answers(verb)), "the two forms answer otherwise"
    pythons = {peer: getattr(arguments, option) for peer, (option, _, _) in PEERS.items()}
    before = load()
    found = measure(cases, pythons, images, arguments.units, arguments.rounds)
    print(
        f"{name}, mean pixel {images.mean():.3f}, 63.75 Hz, one thread, CPU ms per presentation after {TRAINED} "
        f"training presentations.\nMedians of {arguments.rounds} rounds: ours of {TIMED} presentations, peers of "
        f"{PEER_CHUNKS} x {PEER_TIMED}. Load of the machine: {before} before, {load()} after (1 is this benchmark)."
    )
    print_speed(found, arguments.units, inputs)
    print_profile(found, arguments.units, inputs)
    print_late(arguments.units, images, {key[:2]: spent for key, spent in found.spent.items() if key[2] == "train"})


if __name__ == "__main__":
    main()
