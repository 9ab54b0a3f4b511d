"""Speed of the spiking network, one CPU thread, against BindsNET and ngc-learn through their public APIs.

    python benchmarks/spiking.py                                        # ours alone
    python benchmarks/spiking.py --bindsnet PYTHON --ngclearn PYTHON    # the Pythons that have the peers installed

Start and memory are in `spiking_start.py`.

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
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import biorep
from biorep.context import RunContext
from biorep.engines.chunks import Feeder, Progress, Showing
from biorep.engines.counter import draw_key
from biorep.engines.presentation import Circuit
from biorep.errors import DataError
from biorep.networks.base import flat_images
from biorep.networks.spiking import SpikingNetwork, feeder

INPUTS, EPOCH = 784, 60_000
#: Presentations before the clock starts, and in one timed chunk of ours.
TRAINED, TIMED = 250, 250
#: Presentations in one timed chunk of a peer, and chunks per process.
PEER_TIMED, PEER_CHUNKS = 20, 3
PEERS = {"ngc-learn": ("ngclearn", "peer_ngclearn.py", 12), "BindsNET": ("bindsnet", "peer_bindsnet.py", 40)}
ENGINE = RunContext(engine="cpp_standalone")
MEGA, GIGA = 1e6, 1e9

Key = tuple[str, int, str]  #: contender or protocol, units, what is timed
Spent = dict[Key, list[float]]


@dataclass(frozen=True)
class Protocol:
    """Time of a presentation, and the targets for it in ms by verb and number of units."""

    name: str
    settings: dict[str, Any]
    targets: dict[str, dict[int, float]]


PROTOCOLS = (
    Protocol(
        "250 steps",
        {"step": 1.0, "stimulus": 250.0, "rest": 0.0, "reset_between": True},
        {"train": {100: 0.78, 400: 2.15}, "infer": {100: 0.51, 400: 1.14}},
    ),
    Protocol(
        "1000 steps",
        {"step": 0.5, "stimulus": 350.0, "rest": 150.0},
        {"train": {100: 1.8, 400: 4.3}, "infer": {100: 1.3, 400: 2.8}},
    ),
)


def dataset() -> tuple[str, xr.Dataset]:
    """Return an epoch of images and where they are from."""
    try:
        return "MNIST", biorep.datasets.load("mnist", "train+validation")
    except DataError:
        generator = np.random.default_rng(0)
        shape = (EPOCH, 28, 28)
        values = (generator.random(shape, np.float32) * (generator.random(shape, np.float32) < 0.2614)).astype("f4")
        return "sparse random images", biorep.datasets.from_arrays(values)


def diehl_cook(units: int, **settings: Any) -> SpikingNetwork:
    """Return the default spiking network, every image shown once."""
    network = biorep.network("diehl-cook", units=units, **{"most_tries": 1, "least": 0.0} | settings)
    assert isinstance(network, SpikingNetwork)
    return network


def cpu_seconds() -> float:
    """Return the CPU time of this process and of all that it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


# ------------------------------------------------------------------------------------------------------------ speed


class Case:
    """Our network of one size under one protocol, compiled and trained a little.

    Parameters
    ----------
    protocol : Protocol
    units : int
    images : (presentation, input) array
        `TRAINED` to learn from, then `TIMED` for the clock.
    keys : (presentation, 2) array
        Keys of their draws.
    """

    def __init__(self, protocol: Protocol, units: int, images: np.ndarray, keys: np.ndarray):
        network = diehl_cook(units, **protocol.settings)
        shown = np.arange(len(images))
        training = feeder([network], [Showing(images, shown, keys)], INPUTS, learn=True, run=ENGINE)
        timed = Showing(images, shown[TRAINED:], keys[TRAINED:])
        inference = feeder([network], [timed], INPUTS, learn=False, run=ENGINE)
        assert training.layout.slots == inference.layout.slots == TIMED == TRAINED
        trained, _ = training.chunk(training.start(network.initial(INPUTS, 0)))
        state = network.learnt(trained.state, INPUTS)
        frozen = inference.start({**network.at_rest(INPUTS), **network.frozen(state)})
        #: Feeder and progress from which the same chunk is simulated again and again.
        self.work: dict[str, tuple[Feeder, Progress]] = {
            "train": (training, trained),
            "infer": (inference, frozen),
            "train, no input": (_without_input(training), trained),
            "infer, no input": (_without_input(inference), frozen),
        }
        self.spikes = {verb: float(self._answers(verb).sum(1).mean()) for verb in ("train", "infer")}

    def _answers(self, verb: str) -> np.ndarray:
        feed, progress = self.work[verb]
        return feed.chunk(progress)[1][0].count

    def milliseconds(self, verb: str) -> float:
        """Return CPU milliseconds per presentation of one chunk."""
        feed, progress = self.work[verb]
        before = cpu_seconds()
        feed.chunk(progress)
        return 1e3 * (cpu_seconds() - before) / TIMED


def _without_input(feed: Feeder) -> Feeder:
    """Return the same program with all input rates 0."""
    return replace(feed, parameters={**feed.parameters, "input.peak": np.zeros(())})


def input_spikes(protocol: Protocol, images: np.ndarray, keys: np.ndarray) -> float:
    """Return the input spikes per presentation in a timed chunk: counted; they do not depend on the network."""
    network = diehl_cook(1, **protocol.settings)

    def build(circuit: Circuit) -> None:
        import brian2 as b2

        network.build(circuit, False)
        source = next(group for group in circuit.objects if group.name == "input")
        circuit.add(b2.SpikeMonitor(source, record=False, name="counted"))

    showing = Showing(images, np.arange(TRAINED, len(images)), keys[TRAINED:])
    feed = feeder([network], [showing], INPUTS, learn=False, run=ENGINE, build=build)
    feed.watched = ("counted.count",)
    feed.chunk(feed.start({**network.at_rest(INPUTS), "feedforward.w": np.zeros(INPUTS)}))
    feed.program.close()
    return float(feed.seen["counted.count"].sum()) / TIMED


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


@dataclass
class Measured:
    """What the rounds have found.

    Parameters
    ----------
    spent : dict
        CPU milliseconds per presentation.
    spikes : dict
        Output spikes per presentation.
    title, remarks : dict
        Per peer: its name with versions; what else there is to say about it.
    """

    spent: Spent
    spikes: dict[Key, float]
    title: dict[str, str]
    remarks: dict[str, str]


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


def print_speed(found: Measured, sizes: list[int], inputs: dict[str, float]) -> None:
    """Print the table of times: ours against the targets, the peers against ours."""
    middle = {key: statistics.median(values) for key, values in found.spent.items()}
    for protocol in PROTOCOLS:
        short = protocol is PROTOCOLS[0]
        settings = protocol.settings
        print(
            f"\n{protocol.name} of {settings['step']} ms ({settings['stimulus']:.0f} ms of image, "
            f"{settings['rest']:.0f} ms of rest), {inputs[protocol.name]:.0f} input spikes per presentation\n"
        )
        print(
            f"{'':<12}{'N':>4}  " + "".join(f"{verb + ' ms':>10}  {'range':<14}" for verb in ("train", "infer")), end=""
        )
        print("  output spikes   target ms, or times ours (target)" if short else "  output spikes   target ms")
        for units in sizes:
            print(_row("biorep", (protocol.name, units), found, middle), end="")
            wishes = (f"{verb} <= {wish[units]}" for verb, wish in protocol.targets.items() if units in wish)
            print(", ".join(wishes))
            if not short:
                continue
            for peer, (_, _, wish) in PEERS.items():
                if peer in found.remarks:
                    print(f"{peer:<12}{units:>4}  {found.remarks[peer]}")
                    continue
                ratio = {
                    verb: middle[peer, units, verb] / middle[protocol.name, units, verb] for verb in ("train", "infer")
                }
                print(_row(peer, (peer, units), found, middle), end="")
                print(f"train {ratio['train']:.1f} (>= {wish}), infer {ratio['infer']:.1f}")
    for peer, title in found.title.items():
        encoding = [units for units in sizes if (peer, units, "encode") in middle]
        apart = "".join(
            f"; encoding is not in it: {middle[peer, units, 'encode']:.1f} ms on top, "
            f"{found.spikes[peer, units, 'encode']:.0f} input spikes"
            for units in encoding[:1]
        )
        print(f"\n{peer}: {title}{apart}", end="")
    print()


def _row(name: str, case: tuple[str, int], found: Measured, middle: dict[Key, float]) -> str:
    cells = []
    for verb in ("train", "infer"):
        values = found.spent[*case, verb]
        cells.append(f"{middle[*case, verb]:>10.2f}  {f'{min(values):.2f}-{max(values):.2f}':<14}")
    spikes = " / ".join(f"{found.spikes[*case, verb]:.1f}" for verb in ("train", "infer"))
    return f"{name:<12}{case[1]:>4}  {''.join(cells)}  {spikes:<14}  "


# ---------------------------------------------------------------------------------------------------------- profile

#: Bytes that an event moves to or from arrays as long as the weights. Training: the weight is read and written (16),
#: its target and its number are read (4 each); inference does not write it. The traces of a few hundred neurons and
#: the queue stay in the first cache and are not counted.
BYTES = {"train": 24, "infer": 16}


def bandwidth(numbers: int) -> float:
    """Return bytes per second, read and written, of a copy of so many float64."""
    source, target = np.ones(numbers), np.zeros(numbers)
    rates = []
    for _ in range(7):
        repeats = max(1, int(2e7 / numbers))
        before = time.process_time()
        for _ in range(repeats):
            np.copyto(target, source)
        rates.append(repeats * (source.nbytes + target.nbytes) / (time.process_time() - before))
    return statistics.median(rates)


def print_profile(found: Measured, sizes: list[int], inputs: dict[str, float]) -> None:
    """Print what synaptic events cost: the difference that the input spikes make."""
    middle = {key: statistics.median(values) for key, values in found.spent.items()}
    large = bandwidth(2**25)
    print("\nProfile. Events: input spikes x N. Their cost: the time less that of the same program without input.\n")
    print(
        f"{'':<12}{'N':>4}  {'':<6}{'ms':>6}  {'no input':>8}  {'events':>8}  {'share':>6}  {'ns/event':>8}  "
        f"{'GB/s':>6}  of a copy, GB/s: {'as the weights':>15}  {'256 MiB':>8}"
    )
    for protocol in PROTOCOLS:
        for units in sizes:
            events = inputs[protocol.name] * units
            near = bandwidth(INPUTS * units)
            for verb, moved in BYTES.items():
                whole, silent = (middle[protocol.name, units, name] for name in (verb, f"{verb}, no input"))
                seconds = (whole - silent) * 1e-3 / events
                rate = moved / seconds
                print(
                    f"{protocol.name:<12}{units:>4}  {verb:<6}{whole:>6.2f}  {silent:>8.2f}  {events:>8.0f}  "
                    f"{(whole - silent) / whole:>6.0%}  {seconds * 1e9:>8.2f}  {rate / GIGA:>6.1f}  "
                    f"{'':<17}{near / GIGA:>7.1f} ({rate / near:>4.0%})  {large / GIGA:>8.1f}"
                )
            without = middle[protocol.name, units, "train"] - middle[protocol.name, units, "infer"]
            silent = middle[protocol.name, units, "train, no input"] - middle[protocol.name, units, "infer, no input"]
            print(f"{'':<18}plasticity: {without:.2f} ms of a training presentation, {silent:.2f} ms without input")
    print(f"\nBytes of an event: {BYTES['train']} in training, {BYTES['infer']} in inference.")


def draw_keys(n: int) -> np.ndarray:
    """Return the keys of the draws of n presentations."""
    return np.array([draw_key(0, "diehl-cook", "train", k) for k in range(n)])


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
    cases = {
        (protocol.name, units): Case(protocol, units, images, keys)
        for protocol in PROTOCOLS
        for units in arguments.units
    }
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


if __name__ == "__main__":
    main()
