"""GPU check: every Brian2 network on `cuda_standalone` against `cpp_standalone`: equal answers, and time.

    python benchmarks/gpu.py              # needs a CUDA device and `pip install "biorep[gpu]"`
    python benchmarks/gpu.py --compile    # generates and compiles alone; no device needed (BIOREP_CUDA_CAPABILITY=9.0)
    python benchmarks/gpu.py --only small # one group of cases: small, sizes, ensembles, batches

Each line: the case, whether spike counts are equal, the largest relative difference of the learnt arrays (accepted:
1e-10 where counts are equal), and milliseconds per presentation on both engines. Simulated input: 28 x 28 images as
bright as MNIST's, so that the numbers do not depend on data.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

import biorep
from biorep.context import RunContext
from biorep.engines import prepare
from biorep.engines.layout import Layout
from biorep.networks.brian.ensemble import Member, ensemble
from biorep.networks.brian.spiking import SpikingNetwork

TOLERANCE = 1e-10
SIZES = (100, 400, 1600, 6400)


@dataclass(frozen=True)
class Case:
    """One comparison: `work` runs it on an engine and returns counts and learnt arrays."""

    group: str
    name: str
    presentations: int
    work: Callable[[RunContext], tuple[np.ndarray, np.ndarray]]
    network: SpikingNetwork
    copies: int = 1


def images(n: int, side: int = 28) -> xr.Dataset:
    """Return images of a few bright pixels, a fifth of them, like digits."""
    generator = np.random.default_rng(0)
    values = generator.random((n, side, side)) * (generator.random((n, side, side)) < 0.2)
    return biorep.datasets.from_arrays(values, np.arange(n) % 2)


def diehl_cook(units: int, **settings: Any) -> SpikingNetwork:
    """Return the default spiking network."""
    network = biorep.network("diehl-cook", units=units, max_tries=1, **settings)
    assert isinstance(network, SpikingNetwork)
    return network


def cases() -> Iterator[Case]:
    """Yield all comparisons."""
    few = images(20)
    small = {
        "diehl-cook pool": diehl_cook(50),
        "diehl-cook layer, triplet": diehl_cook(50, inhibition="layer", rule="triplet"),
        "diehl-cook-current direct": biorep.network(
            "diehl-cook-current", units=50, inhibition="direct", one_spike=False
        ),
        "competing-rates": biorep.network("competing-rates", units=50),
        "sailnet": biorep.network("sailnet", units=50),
    }
    for name, network in small.items():
        assert isinstance(network, SpikingNetwork)
        yield Case("small", name, 20, _trained(network, few), network)
    some = images(10)
    for units in SIZES:
        yield Case("sizes", f"train N={units}", 10, _trained(diehl_cook(units), some), diehl_cook(units))
    for copies in (8, 32):
        member = diehl_cook(400)
        yield Case("ensembles", f"train {copies} networks of 400", 10, _together(member, some, copies), member, copies)
    for units, copies in ((400, 32), (1600, 32)):
        network = diehl_cook(units)
        many = images(10 * copies)
        yield Case(
            "batches",
            f"encode {copies} x N={units}",
            len(many["image"]),
            _encoded(network, many, copies),
            network,
            copies,
        )


def _trained(network: SpikingNetwork, data: xr.Dataset) -> Callable[[RunContext], tuple[np.ndarray, np.ndarray]]:
    def work(context: RunContext) -> tuple[np.ndarray, np.ndarray]:
        state = network.fit(data, seed=0, context=context)
        return state["mean_spikes"].values, state["weights"].values

    return work


def _together(
    network: SpikingNetwork, data: xr.Dataset, copies: int
) -> Callable[[RunContext], tuple[np.ndarray, np.ndarray]]:
    def work(context: RunContext) -> tuple[np.ndarray, np.ndarray]:
        states = ensemble([Member(network, seed) for seed in range(copies)], data, context=context)
        counts = np.concatenate([state["mean_spikes"].values for state in states])
        return counts, np.stack([state["weights"].values for state in states])

    return work


def _encoded(
    network: SpikingNetwork, data: xr.Dataset, copies: int
) -> Callable[[RunContext], tuple[np.ndarray, np.ndarray]]:
    inputs = int(np.prod(data["image"].shape[1:]))
    state = network.learnt(network.initial(inputs, 0), inputs)

    def work(context: RunContext) -> tuple[np.ndarray, np.ndarray]:
        response = network.encode(state, data, copies=copies, context=context)["response"].values
        return response, np.zeros(1)

    return work


def compare(case: Case, cuda: str) -> str:
    """Run a case on both engines and return its line."""
    found, spent = {}, {}
    for engine in ("cpp_standalone", cuda):
        context = RunContext(engine=engine)
        case.work(context)  # compiles
        start = time.perf_counter()
        found[engine] = case.work(context)
        spent[engine] = 1e3 * (time.perf_counter() - start) / case.presentations
    (counts, learnt), (cuda_counts, cuda_learnt) = found["cpp_standalone"], found[cuda]
    equal = bool(np.array_equal(counts, cuda_counts))
    difference = float(np.abs(learnt - cuda_learnt).max() / max(np.abs(learnt).max(), 1e-300))
    verdict = "equal" if equal and difference <= TOLERANCE else "DIFFERENT"
    times = f"{spent['cpp_standalone']:>9.2f}  {spent[cuda]:>9.2f}"
    return f"{case.group:<10} {case.name:<28} {verdict:<10} {difference:>9.1e}  {times}"


def compile_only(case: Case, cuda: str) -> str:
    """Generate and compile the training of a case for CUDA."""
    start = time.perf_counter()
    layout = Layout(case.network.timing(), 784, case.network.units, case.copies, 10, 1)
    program = prepare(case.network.blueprint(layout, case.group != "batches"), cuda)
    program.close()
    return f"{case.group:<10} {case.name:<28} compiled in {time.perf_counter() - start:.0f} s"


def main() -> None:
    """Run the cases and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compile", action="store_true", help="compile alone, no device needed")
    parser.add_argument("--only", choices=("small", "sizes", "ensembles", "batches"), help="one group of cases")
    parser.add_argument("--single", action="store_true", help="single precision")
    arguments = parser.parse_args()
    cuda = "cuda_standalone-single" if arguments.single else "cuda_standalone"
    if not arguments.compile:
        print(
            f"{'group':<10} {'case':<28} {'answers':<10} {'learnt':>9}  {'cpp ms':>9}  {'cuda ms':>9}  per presentation"
        )
    for case in cases():
        if arguments.only in (None, case.group):
            print((compile_only if arguments.compile else compare)(case, cuda), flush=True)


if __name__ == "__main__":
    main()
