"""Speed late in a training: numbers that decay towards 0 cost the processors of some makers more and more.

`spiking.py` prints it. The same training runs with flush-to-zero, as biorep sets it, and without; the first and the
last of `CHUNKS` thousands of presentations are timed. The weights must be equal.
"""

from __future__ import annotations

import platform
import statistics
from pathlib import Path

import numpy as np
from spiking_cases import ENGINE, INPUTS, PEERS, PROTOCOLS, TIMED, cpu_seconds, diehl_cook, draw_keys

from biorep.engines import subnormals
from biorep.engines.chunks import Showing
from biorep.networks.brian import simulation

#: Chunks of `TIMED` presentations that are trained; the first and the last are timed.
CHUNKS = 4


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        found = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines if ":" in line}
        family = f"family {found.get('cpu family', '?')}, model {found.get('model', '?')}"
        return f"{found['vendor_id']} {found['model name']} ({family})"
    except (OSError, KeyError):
        return f"{platform.machine()} {platform.processor()}"


def milliseconds(units: int, images: np.ndarray) -> tuple[list[float], np.ndarray]:
    """Return CPU ms per presentation of each chunk, and the weights at the end."""
    network = diehl_cook(units, **PROTOCOLS[0].settings)
    order = np.arange(CHUNKS * TIMED) % len(images)
    showing = Showing(images, order, draw_keys(len(order)))
    feed = simulation.feeder([network], [showing], INPUTS, learn=True, context=ENGINE)
    assert feed.layout.slots == TIMED
    progress = feed.start(network.initial(INPUTS, 0))
    spent = []
    for _ in range(CHUNKS):
        before = cpu_seconds()
        progress, _ = feed.chunk(progress)
        spent.append(1e3 * (cpu_seconds() - before) / TIMED)
    feed.program.close()
    return spent, network.learnt(progress.state, INPUTS)["weights"].values


def print_late(sizes: list[int], images: np.ndarray, peers: dict[tuple[str, int], list[float]]) -> None:
    """Print the time of a presentation early and late, with the mode and without it, and how that is to the peers.

    Parameters
    ----------
    sizes : list of int
        Numbers of units.
    images : (image, input) array
    peers : dict of (str, int) to list of float
        Name and number of units -> CPU ms per training presentation; what is no peer is passed over.
    """
    print(f"\nTraining early and late, {PROTOCOLS[0].name}, CPU ms per presentation, {processor()}\n")
    print(f"{'N':>6}  {'mode':<16}{f'1 to {TIMED}':>10}{f'to {CHUNKS * TIMED}':>14}{'late / early':>14}")
    code = subnormals.CODE
    for units in sizes:
        early, late, weights = {}, {}, {}
        for mode, text in (("flush-to-zero", code), ("subnormals kept", "")):
            subnormals.CODE = text
            try:
                spent, weights[mode] = milliseconds(units, images)
            finally:
                subnormals.CODE = code
            early[mode], late[mode] = spent[0], spent[-1]
            print(f"{units:>6}  {mode:<16}{spent[0]:>10.2f}{spent[-1]:>14.2f}{spent[-1] / spent[0]:>14.2f}")
        same = np.abs(weights["flush-to-zero"] - weights["subnormals kept"]).max()
        ratio = late["subnormals kept"] / late["flush-to-zero"]
        print(f"{'':>6}  without the mode {ratio:.2f} times the time, largest difference of a weight {same:.1e}")
        for peer, (_, _, wish) in PEERS.items():
            if times := peers.get((peer, units)):
                ratios = [statistics.median(times) / spent["flush-to-zero"] for spent in (early, late)]
                wanted = wish.get(units, "-")
                print(f"{'':>6}  {peer}: {ratios[0]:.1f} times ours early, {ratios[1]:.1f} late (>= {wanted})")
