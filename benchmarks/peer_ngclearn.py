"""One case of `benchmarks/spiking.py` for ngc-learn; runs in ngc-learn's own virtual environment.

The spiking winner-takes-all network that ngc-learn's museum builds after Diehl & Cook: Poisson input cells, trace STDP,
an inhibitory cell per excitatory one, at most one spike per step, adaptive thresholds, weights scaled to a fixed sum
after each presentation. Prints one line of JSON: versions, parameters, CPU and wall seconds per presentation.

    /path/to/python benchmarks/peer_ngclearn.py --images images.npy --units 100
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from importlib.metadata import version

# One thread; to be set before JAX is imported.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import jax
import numpy as np
from jax import numpy as jnp
from ngclearn import Context, JointProcess, MethodProcess
from ngclearn.components import LIFCell, PoissonCell, StaticSynapse, TraceSTDPSynapse, VarTrace
from ngclearn.utils.distribution_generator import DistributionGenerator
from ngclearn.utils.model_utils import normalize_matrix
from ngcsimlib.global_state import stateManager
from ngcsimlib.operations import Summation

PEAK, NORM, STEP = 63.75, 78.4, 1.0

Present = Callable[[jax.Array, bool], jax.Array]


def network(inputs: int, units: int, steps: int) -> tuple[Present, TraceSTDPSynapse]:
    """Return a function that presents one image and returns its spikes, (step, 1, unit), and the plastic synapses."""
    keys = iter(jax.random.split(jax.random.PRNGKey(0), 8))
    membrane = {"tau_m": 100.5, "resist_m": 100.5, "refract_time": 5.0}
    with Context("network"):
        source = PoissonCell("source", n_units=inputs, target_freq=PEAK, key=next(keys))
        plastic = TraceSTDPSynapse(
            "plastic",
            shape=(inputs, units),
            A_plus=1e-2,
            A_minus=1e-4,
            weight_init=DistributionGenerator.uniform(0.0, 0.3),
            key=next(keys),
        )
        excitatory = LIFCell(
            "excitatory",
            n_units=units,
            thr=-52.0,
            v_rest=-65.0,
            v_reset=-60.0,
            tau_theta=1e7,
            theta_plus=0.05,
            one_spike=True,
            key=next(keys),
            **membrane,
        )
        inhibitory = LIFCell(
            "inhibitory",
            n_units=units,
            thr=-40.0,
            v_rest=-60.0,
            v_reset=-45.0,
            tau_theta=0.0,
            key=next(keys),
            **membrane,
        )
        lateral = StaticSynapse(
            "lateral",
            shape=(units, units),
            weight_init=DistributionGenerator.constant(-120.0, hollow=True),
            key=next(keys),
        )
        drive = StaticSynapse(
            "drive", shape=(units, units), weight_init=DistributionGenerator.constant(22.5, eye=True), key=next(keys)
        )
        before = VarTrace("before", n_units=inputs, tau_tr=20.0, a_delta=0.0, key=next(keys))
        after = VarTrace("after", n_units=units, tau_tr=20.0, a_delta=0.0, key=next(keys))

        source.outputs >> plastic.inputs
        inhibitory.s >> lateral.inputs
        Summation(plastic.outputs, lateral.outputs) >> excitatory.j
        excitatory.s >> drive.inputs
        drive.outputs >> inhibitory.j
        source.outputs >> before.inputs
        excitatory.s >> after.inputs
        source.outputs >> plastic.preSpike
        before.trace >> plastic.preTrace
        excitatory.s >> plastic.postSpike
        after.trace >> plastic.postTrace

        advance, reset = MethodProcess("advance"), MethodProcess("reset")
        for part in (plastic, lateral, drive, source, excitatory, inhibitory, before, after):
            advance = advance >> part.advance_state
            reset = reset >> part.reset
        learning = JointProcess("learning") >> advance >> (MethodProcess("plasticity") >> plastic.evolve)
        advance.watch(excitatory.s)

    def present(image: jax.Array, learn: bool) -> jax.Array:
        process = learning if learn else advance
        reset.run()
        source.inputs.set(image)
        rows = jnp.array(process.pack_rows(steps, t=lambda i: i, dt=STEP))
        stateManager.state, watched = process.scan(rows)
        if learn:
            plastic.weights.set(normalize_matrix(plastic.weights.get(), NORM, order=1, axis=0))
        return watched[0]

    return present, plastic


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
    images = [jnp.asarray(image[None], jnp.float32) for image in np.load(arguments.images)]
    present, plastic = network(images[0].size, arguments.units, arguments.steps)

    begin = time.perf_counter()
    for learn in (True, False):
        jax.block_until_ready(present(images[0], learn))
    compiled = time.perf_counter() - begin
    for k in range(arguments.trained):
        present(images[k % len(images)], True)
    jax.block_until_ready(plastic.weights.get())

    cpu: dict[str, list[float]] = {"train": [], "infer": []}
    wall: dict[str, list[float]] = {"train": [], "infer": []}
    spikes: dict[str, list[float]] = {"train": [], "infer": []}
    for verb in cpu:
        for k in range(arguments.presentations):  # a chunk to warm up
            jax.block_until_ready(present(images[k % len(images)], verb == "train"))
        for chunk in range(arguments.chunks):
            first = arguments.trained + chunk * arguments.presentations
            shown = [images[(first + k) % len(images)] for k in range(arguments.presentations)]
            start, start_wall = time.process_time(), time.perf_counter()
            answers = [present(image, verb == "train") for image in shown]
            jax.block_until_ready((answers[-1], plastic.weights.get()))
            cpu[verb].append((time.process_time() - start) / len(shown))
            wall[verb].append((time.perf_counter() - start_wall) / len(shown))
            spikes[verb] += [float(answer.sum()) for answer in answers]
    report = {
        "peer": "ngc-learn",
        "versions": {name: version(name) for name in ("ngclearn", "ngcsimlib", "jax", "numpy")},
        "parameters": {**vars(arguments), "images": len(images), "peak_hz": PEAK, "step_ms": STEP},
        "cpu_s": cpu,
        "wall_s": wall,
        "encoding_cpu_s": None,  # a part of every step
        "compile_s": compiled,
        "spikes": {verb: float(np.mean(values)) for verb, values in spikes.items()},
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
