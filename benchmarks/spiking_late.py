"""Speed late in a training: numbers that decay towards 0 cost the processors of some makers more and more.

`spiking.py` prints it. The same training runs with flush-to-zero, as biorep sets it, and without; presentations 1 to
250 and 2000 to 2250 are timed. The weights must be equal.
"""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
from spiking_cases import ENGINE, INPUTS, PROTOCOLS, TIMED, cpu_seconds, diehl_cook, draw_keys

from biorep.engines import subnormals
from biorep.engines.chunks import Showing
from biorep.networks.brian import simulation

#: Chunks of `TIMED` presentations that are trained; the first and the last are timed.
CHUNKS = 9


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
    showing, sizes = Showing(images, order, draw_keys(len(order))), simulation.CHUNKS
    simulation.CHUNKS = (TIMED,)  # a long training would take larger ones
    try:
        feed = simulation.feeder([network], [showing], INPUTS, learn=True, context=ENGINE)
    finally:
        simulation.CHUNKS = sizes
    assert feed.layout.slots == TIMED
    progress = feed.start(network.initial(INPUTS, 0))
    spent = []
    for _ in range(CHUNKS):
        before = cpu_seconds()
        progress, _ = feed.chunk(progress)
        spent.append(1e3 * (cpu_seconds() - before) / TIMED)
    feed.program.close()
    return spent, network.learnt(progress.state, INPUTS)["weights"].values


def print_late(sizes: list[int], images: np.ndarray) -> None:
    """Print the time of a presentation early and late, with the mode and without it."""
    print(f"\nTraining early and late, {PROTOCOLS[0].name}, CPU ms per presentation, {processor()}\n")
    print(f"{'N':>6}  {'mode':<16}{'1 to 250':>10}{'2000 to 2250':>14}{'late / early':>14}")
    code = subnormals.CODE
    for units in sizes:
        late, weights = {}, {}
        for mode, text in (("flush-to-zero", code), ("subnormals kept", "")):
            subnormals.CODE = text
            try:
                spent, weights[mode] = milliseconds(units, images)
            finally:
                subnormals.CODE = code
            late[mode] = spent[-1]
            print(f"{units:>6}  {mode:<16}{spent[0]:>10.2f}{spent[-1]:>14.2f}{spent[-1] / spent[0]:>14.2f}")
        same = np.abs(weights["flush-to-zero"] - weights["subnormals kept"]).max()
        ratio = late["subnormals kept"] / late["flush-to-zero"]
        print(f"{'':>6}  without the mode {ratio:.2f} times the time, largest difference of a weight {same:.1e}")
