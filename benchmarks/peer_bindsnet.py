"""One case of `benchmarks/spiking.py` for BindsNET; runs in BindsNET's own virtual environment.

Its `DiehlAndCook2015`, batch size 1, one thread. Timed: stacking the encoded spikes, the run, reading the spike count,
the reset. Encoding is timed apart. Prints one line of JSON: versions, parameters, CPU and wall seconds per
presentation.

    /path/to/python benchmarks/peer_bindsnet.py --images images.npy --units 100
"""

from __future__ import annotations

import argparse
import json
import math
import time
from importlib.metadata import version

import numpy as np
import torch
from bindsnet.encoding import poisson
from bindsnet.models import DiehlAndCook2015
from bindsnet.network.monitors import Monitor

PEAK, NORM, STEP = 63.75, 78.4, 1.0


class Case:
    """A network of BindsNET and what is shown to it.

    Parameters
    ----------
    images : (image, pixel) array
        In [0, 1].
    units, steps : int
        Excitatory neurons; steps of 1 ms per presentation.
    """

    def __init__(self, images: np.ndarray, units: int, steps: int):
        side = math.isqrt(images.shape[1])
        self.images = torch.as_tensor(images, dtype=torch.float32).view(-1, 1, side, side)
        self.steps, self.shape = steps, (1, side, side)
        self.network = DiehlAndCook2015(
            n_inpt=images.shape[1],
            n_neurons=units,
            exc=22.5,
            inh=120.0,
            dt=STEP,
            norm=NORM,
            nu=(1e-4, 1e-2),
            theta_plus=0.05,
            inpt_shape=self.shape,
            batch_size=1,
        )
        self.monitor = Monitor(self.network.layers["Ae"], ["s"], time=steps)
        self.network.add_monitor(self.monitor, name="spikes")

    def encode(self, index: int) -> torch.Tensor:
        """Return Poisson spikes of an image, counted round."""
        return poisson(self.images[index % len(self.images)] * PEAK, time=self.steps, dt=STEP)

    def present(self, encoded: torch.Tensor) -> float:
        """Show an encoded image and return the number of excitatory spikes."""
        batch = torch.stack([encoded], 1).view(self.steps, 1, *self.shape)
        self.network.run({"X": batch}, time=self.steps)
        spikes = float(self.monitor.get("s").sum())
        self.network.reset_state_variables()
        return spikes


def main() -> None:
    """Measure one case and print its line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="array (image, pixel) in [0, 1], .npy")
    parser.add_argument("--units", type=int, default=100)
    parser.add_argument("--steps", type=int, default=250, help="steps of 1 ms per presentation")
    parser.add_argument("--trained", type=int, default=250, help="training presentations before the clock starts")
    parser.add_argument("--presentations", type=int, default=20, help="per timed chunk")
    parser.add_argument("--chunks", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images = np.load(arguments.images)
    case = Case(images, arguments.units, arguments.steps)

    case.network.train(True)
    for k in range(arguments.trained):
        case.present(case.encode(k))

    cpu: dict[str, list[float]] = {"train": [], "infer": []}
    wall: dict[str, list[float]] = {"train": [], "infer": []}
    spikes: dict[str, list[float]] = {"train": [], "infer": []}
    encoding, input_spikes = [], []
    for verb in cpu:
        case.network.train(verb == "train")
        for k in range(arguments.presentations):  # a chunk to warm up
            case.present(case.encode(k))
        for chunk in range(arguments.chunks):
            first = arguments.trained + chunk * arguments.presentations
            start = time.process_time()
            encoded = [case.encode(first + k) for k in range(arguments.presentations)]
            encoding.append((time.process_time() - start) / len(encoded))
            input_spikes += [float(one.sum()) for one in encoded]
            start, start_wall = time.process_time(), time.perf_counter()
            answers = [case.present(one) for one in encoded]
            cpu[verb].append((time.process_time() - start) / len(encoded))
            wall[verb].append((time.perf_counter() - start_wall) / len(encoded))
            spikes[verb] += answers
    report = {
        "peer": "BindsNET",
        "versions": {name: version(name) for name in ("bindsnet", "torch", "numpy")},
        "parameters": {**vars(arguments), "images": len(images), "peak_hz": PEAK, "step_ms": STEP},
        "cpu_s": cpu,
        "wall_s": wall,
        "encoding_cpu_s": float(np.median(encoding)),
        "input_spikes": float(np.mean(input_spikes)),
        "spikes": {verb: float(np.mean(values)) for verb, values in spikes.items()},
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
