"""A spiking network of your own: one file, one class. `models/own_network.yaml` runs it.

Leaky neurons race for each image: the first to spike silences the others and moves its weights towards the input
spikes of the last moments. Three things make it a network of biorep:

* `build` adds ordinary Brian2 objects to the circuit. `circuit.poisson_input()` turns images into spikes,
  `circuit.tally` says whose spikes are the response (call it again for a second population), and `circuit.keep` names
  what lasts from one image to the next: fast variables with their value at rest, which every image then finds, and
  learnt ones;
* `parameters` and `initial` give the values of variables by name, in SI units, so that nothing is compiled again
  when they change;
* `learnt` and `frozen` say which of the variables are the state.

Constants: an equation finds the names that the code around it knows, ``tau = 50*ms`` for one, as in a script.

Several layers: `circuit.tally` for each of them; the first is the network's answer, and has `units` neurons per copy.

Order of values: that in which Brian2 numbers neurons and synapses; `connect_all` goes from source to source, and
through all targets of each.

Chance: training, encoding and recording are simulations of their own, so Brian2's draws (``connect(p=...)``,
``rand()``, ``xi``) are refused. What all seeds share is drawn in `build`, for one the connections of a copy,

    pre, post = np.nonzero(rng.stream(0, "connections").random((self.units, 10)) < 0.3)
    circuit.connect_pairs(synapses, pre, post)

what each seed has of its own in `initial`, and kept with ``learnt=True``. Noise comes with the spikes of the input.

Time: ``t`` starts with each chunk of images and is refused. ``(timestep(t, dt) % STEPS)*dt`` is the time since the
onset of the image, where STEPS is `circuit.layout.timing.steps`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from biorep import rng
from biorep.config import setting
from biorep.engines.presentation import Circuit
from biorep.engines.programs import Arrays
from biorep.networks.brian.spiking import SpikingNetwork


class LeakyWinners(SpikingNetwork):
    """Leaky integrate-and-fire neurons with full lateral inhibition and a prototype rule."""

    kind: str = "own_network.py:LeakyWinners"
    units: int = setting(50, ge=2, description="neurons")
    dt: float = setting(1.0, gt=0, description="time step, ms")
    stimulus_duration: float = setting(100.0, gt=0, description="how long an image is shown, ms")
    rest_duration: float = setting(0.0, ge=0, description="rest after each image, ms")
    max_tries: int = setting(1, ge=1, description="how often an image is shown at most")
    peak_rate: float = setting(100.0, gt=0, description="rate of an input neuron for a white pixel, Hz")
    learning_rate: float = setting(0.02, gt=0, le=1, description="share of the way to the input that a winner moves")
    rise: float = setting(0.05, ge=0, description="rise of the threshold per spike, as a share")
    fall: float = setting(0.002, ge=0, lt=1, description="fall of the threshold per image, as a share")

    def build(self, circuit: Circuit, learn: bool) -> None:
        """Add the network to a circuit; see `BrianNetwork.build`."""
        import brian2 as b2

        source = circuit.poisson_input(trace=learn)
        cells = b2.NeuronGroup(
            self.units * circuit.layout.copies,
            """dv/dt = -v/(50*ms) : 1
               theta : 1
               rise : 1 (constant)
               fall : 1 (constant)
               rate : 1 (constant)
               count : 1""",
            threshold="v > theta",
            reset="v = 0; count += 1" + ("; theta *= 1 + rise" if learn else ""),
            method="exact",
            name="cells",
        )
        lateral = b2.Synapses(cells, cells, on_pre="v_post = 0", name="lateral")
        circuit.connect_others(lateral)
        model, on_post = "w : 1", "w += rate_post*(x_pre - w)" if learn else None
        forward = b2.Synapses(source, cells, model, on_pre="v_post += w", on_post=on_post, name="forward")
        circuit.connect_all(forward)
        circuit.add(cells, lateral, forward)
        circuit.tally(cells)
        circuit.keep("cells.v", rest=0)
        circuit.keep("cells.theta", "forward.w", learnt=True)
        if learn:
            circuit.at_onset(cells, "theta *= 1 - fall")

    def parameters(self, learn: bool) -> dict[str, float]:
        """Return the values of the parameters."""
        values = {"input.peak_rate": self.peak_rate, "cells.rate": self.learning_rate}
        return values | {"cells.rise": self.rise, "cells.fall": self.fall, "input.tau_x": 0.02} if learn else values

    def initial(self, inputs: int, seed: int) -> Arrays:
        """Return the variables before learning: weak random weights."""
        draws: Any = rng.stream(seed, "own-network", "weights").random(inputs * self.units)
        return {"forward.w": 0.2 + 0.1 * draws, "cells.theta": np.full(self.units, 3.0)}

    def learnt(self, arrays: Arrays, inputs: int) -> xr.Dataset:
        """Return weights and thresholds as a state."""
        weights = arrays["forward.w"].reshape(inputs, self.units).T
        state = xr.Dataset({"weights": (("neuroid", "input"), weights), "theta": ("neuroid", arrays["cells.theta"])})
        state["weights"].attrs.update(long_name="input weights", units="1")
        state["theta"].attrs.update(long_name="threshold", units="1")
        return state

    def frozen(self, state: xr.Dataset) -> Arrays:
        """Return the variables of a state."""
        return {"forward.w": state["weights"].values.T.ravel(), "cells.theta": state["theta"].values}
