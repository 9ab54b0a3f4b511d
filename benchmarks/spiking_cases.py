"""What `spiking.py` and `spiking_start.py` measure: protocols, images, networks, and one case of ours."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import numpy as np
import xarray as xr

import biorep
from biorep.context import RunContext
from biorep.engines import standalone, waiting
from biorep.engines.chunks import Feeder, Progress, Showing
from biorep.engines.counter import draw_key
from biorep.engines.presentation import Circuit
from biorep.errors import DataError
from biorep.networks.brian.simulation import feeder
from biorep.networks.brian.spiking import SpikingNetwork

INPUTS, EPOCH = 784, 60_000
#: Presentations before the clock starts, and in one timed chunk of ours: as many as in a chunk of a long training.
TRAINED, TIMED = 1000, 1000
#: Presentations in one timed chunk of a peer, and chunks per process.
PEER_TIMED, PEER_CHUNKS = 20, 3
#: Peer -> option, program, and how many times as fast as it we want to train, by number of units.
PEERS = {
    "ngc-learn": ("ngclearn", "peer_ngclearn.py", {100: 15, 400: 20}),
    "BindsNET": ("bindsnet", "peer_bindsnet.py", {100: 60, 400: 45}),
}
ENGINE = RunContext(engine="cpp_standalone")
MEGA, GIGA = 1e6, 1e9

#: Ends the name of a protocol that runs as `every_input_asked`.
ASKED = ", each asked"
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
        {"dt": 1.0, "stimulus_duration": 250.0, "rest_duration": 0.0, "reset_between": True},
        {"train": {100: 0.78, 400: 2.15}, "infer": {100: 0.30, 400: 1.14}},
    ),
    Protocol(
        "1000 steps",
        {"dt": 0.5, "stimulus_duration": 350.0, "rest_duration": 150.0},
        {"train": {100: 1.8, 400: 4.3}, "infer": {100: 0.80, 400: 2.8}},
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
    network = biorep.network("diehl-cook", units=units, **{"max_tries": 1, "min_spikes": 0.0} | settings)
    assert isinstance(network, SpikingNetwork)
    return network


@contextlib.contextmanager
def every_input_asked() -> Iterator[None]:
    """Compile what Brian2 makes of it: each input is asked in each step, and the clock is read for each object."""
    with (
        mock.patch.object(waiting, "code_class", lambda timing: None),
        mock.patch.object(standalone, "_report_once_a_step", lambda project: None),
    ):
        yield


def cpu_seconds() -> float:
    """Return the CPU time of this process and of all that it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


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
        training = feeder([network], [Showing(images, shown, keys)], INPUTS, learn=True, context=ENGINE)
        timed = Showing(images, shown[TRAINED:], keys[TRAINED:])
        inference = feeder([network], [timed], INPUTS, learn=False, context=ENGINE)
        assert training.layout.slots == inference.layout.slots == TIMED == TRAINED
        trained, _ = training.chunk(training.start(network.initial(INPUTS, 0)))
        state = network.learnt(trained.state, INPUTS)
        frozen = inference.start(network.frozen(state))
        #: Feeder and progress from which the same chunk is simulated again and again.
        self.work: dict[str, tuple[Feeder, Progress]] = {
            "train": (training, trained),
            "infer": (inference, frozen),
            "train, no input": (_without_input(training), trained),
            "infer, no input": (_without_input(inference), frozen),
        }
        self.spikes = {verb: float(self.answers(verb).sum(1).mean()) for verb in ("train", "infer")}

    def answers(self, verb: str) -> np.ndarray:
        """Return the counts of the timed presentations, (presentation, neuron)."""
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
    return replace(feed, parameters={**feed.parameters, "input.peak_rate": np.zeros(())})


def input_spikes(protocol: Protocol, images: np.ndarray, keys: np.ndarray) -> float:
    """Return the input spikes per presentation in a timed chunk: counted; they do not depend on the network."""
    network = diehl_cook(1, **protocol.settings)

    def watch(circuit: Circuit) -> None:
        import brian2 as b2

        source = next(group for group in circuit.objects if group.name == "input")
        circuit.add(b2.SpikeMonitor(source, record=False, name="counted"))

    showing = Showing(images, np.arange(TRAINED, len(images)), keys[TRAINED:])
    feed = feeder([network], [showing], INPUTS, learn=False, context=ENGINE, watch=watch)
    feed.watched = ("counted.count",)
    feed.chunk(feed.start({"feedforward.w": np.zeros(INPUTS)}))
    feed.program.close()
    return float(feed.seen["counted.count"].sum()) / TIMED


def draw_keys(n: int) -> np.ndarray:
    """Return the keys of the draws of n presentations."""
    return np.array([draw_key(0, "diehl-cook", "train", k) for k in range(n)])


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
