"""SAILnet (Zylberberg, Murphy & DeWeese 2011): sparse coding by spiking neurons with local plasticity, in Brian2.

The patch X is shown for 50 steps, and every presentation starts from u = 0 with silent neighbours. With spikes a_i of
the previous step::

    tau du_i/dt = sum_k Q_ik X_k - sum_m W_im a_m - u_i      Euler steps of tau / 10
    spike where u_i >= theta_i:  u_i <- 0, n_i <- n_i + 1

After each presentation, with the spike counts n and the target rate p::

    Q_ik <- Q_ik + beta n_i (X_k - n_i Q_ik)                 Oja's rule: a unit learns what the others leave over
    W_im <- max(0, W_im + alpha (n_i n_m - p^2)),  W_ii = 0  Foeldiak's rule: neighbours lose their correlation
    theta_i <- theta_i + gamma (n_i - p)                     every unit keeps its rate

This is the form of the authors' program, in which a spike inhibits one step later and times dt / tau. With ``batch``
patches between two updates the changes above are summed: ``batch: 100`` at the default rates is the average with alpha
1, beta 0.01 and gamma 0.1 of that program. Learning rates are those of one patch either way. In the last part of a
training, from the share ``slow_from`` on, they are multiplied by ``slow_factor``; every neuron counts the patches.

Zylberberg, J., Murphy, J. T. & DeWeese, M. R. (2011). A sparse coding model with synaptically local plasticity and
spiking neurons can account for the diverse shapes of V1 simple cell receptive fields. PLoS Comput. Biol. 7:e1002250.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import xarray as xr
from pydantic import model_validator

from biorep import rng
from biorep.config import setting
from biorep.engines.presentation import LEARN, Circuit
from biorep.engines.programs import Arrays
from biorep.networks.brian.spiking import SpikingNetwork
from biorep.schema import describe


class SAILnet(SpikingNetwork):
    """Sparse and independent local network of Zylberberg, Murphy & DeWeese (2011)."""

    accepts: ClassVar[tuple[float, float] | None] = None  # signed: whitened patches
    noisy: ClassVar[bool] = False
    versions: ClassVar[Mapping[str, int]] = {"sailnet": 1}
    reference: ClassVar[str] = "Zylberberg, Murphy & DeWeese (2011), PLoS Comput. Biol. 7:e1002250"
    remedies: ClassVar[Mapping[str, str]] = {
        "silence": "Show more patches, so that the thresholds settle, or lower 'theta_start'.",
        "runaway": "Lower 'dt' or 'target_rate'.",
    }
    swept: ClassVar[frozenset[str]] = frozenset(
        ("target_rate", "alpha", "beta", "gamma", "theta_start", "slow_from", "slow_factor")
    )

    kind: Literal["sailnet"] = "sailnet"
    units: int = setting(256, ge=2, description="neurons")
    target_rate: float = setting(0.05, gt=0, description="p: spikes of a neuron per patch")
    alpha: float = setting(0.01, ge=0, description="learning rate of the lateral weights, per patch")
    beta: float = setting(1e-4, ge=0, description="learning rate of the input weights, per patch")
    gamma: float = setting(1e-3, ge=0, description="learning rate of the thresholds, per patch")
    batch: int = setting(1, ge=1, description="patches between two updates; a last batch that is not full is left out")
    slow_from: float = setting(1.0, gt=0, le=1, description="share of the training after which it slows; 1: never")
    slow_factor: float = setting(0.1, ge=0, le=1, description="what the learning rates are multiplied by then")
    theta_start: float = setting(2.0, gt=0, description="threshold at the start")
    tau: float = setting(10.0, gt=0, description="time constant of the membrane, ms")
    dt: float = setting(1.0, gt=0, description="time step in ms")
    stimulus_duration: float = setting(50.0, gt=0, description="how long a patch is shown, ms")
    rest_duration: float = setting(0.0, ge=0, le=0, description="no rest: every patch finds the network reset")
    max_tries: int = setting(1, ge=1, le=1, description="a patch is shown once")

    @model_validator(mode="after")
    def _stable(self) -> SAILnet:
        if not self.dt < self.tau:
            raise ValueError(f"dt = {self.dt} ms must be shorter than tau = {self.tau} ms")
        return self

    # ------------------------------------------------------------------------------------------------ Brian2

    def build(self, circuit: Circuit, learn: bool) -> None:
        """Add the network's objects; see `BrianNetwork.build`."""
        source = circuit.pixel_input()
        cells = self._cells(circuit, learn)
        feedforward = self._feedforward(circuit, source, cells, learn)
        lateral = self._lateral(circuit, cells, learn)
        circuit.tally(cells, "n")
        circuit.keep("cells.u", "cells.inhibition", rest=0)
        circuit.keep("cells.threshold", "feedforward.Q", "lateral.W", learnt=True)
        circuit.renew("cells.drive")
        if learn:
            self._teach(circuit, cells, feedforward, lateral)

    def _cells(self, circuit: Circuit, learn: bool) -> Any:
        import brian2 as b2

        model = """du/dt = (drive - inhibition - u)/tau : 1
                   drive : 1
                   inhibition : 1
                   threshold : 1
                   n : 1
                   """
        if learn:
            parameters = ("p", "alpha", "beta", "gamma", "slow_after", "slow_factor")
            model += "".join(f"{name} : 1 ({circuit.per_copy})\n" for name in parameters)
            # Synapses cannot read linked variables of their neurons, so `live` is a copy of what the presenter says.
            model += "shown : 1 (linked)\nlive : 1\nseen : 1\ndue : 1\npace : 1\n" + self._sum_of_changes("threshold")
        cells = b2.NeuronGroup(
            self.units * circuit.layout.copies,
            model,
            threshold="u >= threshold",
            reset="u = 0; n += 1",
            method="euler",
            name="cells",
            namespace={"tau": self.tau * b2.ms},
        )
        if learn:
            circuit.link(cells, "shown", circuit.presenter, "live")
        # The step has read the inhibition by the spikes before; those of this step come after it.
        cells.run_regularly("inhibition = 0", when="groups", order=1, name="release")
        circuit.add(cells)
        return cells

    def _feedforward(self, circuit: Circuit, source: Any, cells: Any, learn: bool) -> Any:
        import brian2 as b2

        model = "Q : 1\ndrive_post = Q*X_pre : 1 (summed)\n" + (self._sum_of_changes("Q") if learn else "")
        synapses = b2.Synapses(source, cells, model, name="feedforward")
        circuit.connect_all(synapses)
        # The patch does not change during a slot: sum once, at its onset, not in every step.
        synapses.summed_updaters["drive_post"]._clock = circuit.slot
        circuit.add(synapses)
        return synapses

    def _lateral(self, circuit: Circuit, cells: Any, learn: bool) -> Any:
        import brian2 as b2

        model = "W : 1\n" + (self._sum_of_changes("W") if learn else "")
        synapses = b2.Synapses(cells, cells, model, on_pre="inhibition_post += W", name="lateral")
        circuit.connect_others(synapses)
        circuit.add(synapses)
        return synapses

    def _teach(self, circuit: Circuit, cells: Any, feedforward: Any, lateral: Any) -> None:
        """Learn at the start of a slot from the one that has ended: its patch, its counts and whether it was live."""
        count = f"""live = shown
                    seen = seen + live
                    due = live*int(seen % {self.batch} == 0)
                    pace = due*(1 - (1 - slow_factor)*int(seen > slow_after))"""
        circuit.at_onset(cells, count, LEARN - 1, name="pace_of_learning")
        for group, variable, rate, gradient in (
            (feedforward, "Q", "beta_post", "(n_post*(X_pre - n_post*Q))"),
            (lateral, "W", "alpha_post", "(n_pre*n_post - p_post**2)"),
            (cells, "threshold", "gamma", "(n - p)"),
        ):
            of_cell = "" if group is cells else "_post"
            circuit.at_onset(group, self._rule(variable, rate, gradient, of_cell), LEARN, name=f"learn_{variable}")
            if self.batch > 1:
                circuit.keep(f"{group.name}.change_{variable}", learnt=True)
        circuit.keep("cells.seen", learnt=True)
        circuit.renew("cells.live", "cells.due", "cells.pace")

    def _sum_of_changes(self, variable: str) -> str:
        """Return the equation of what a variable is going to change by at the end of a batch."""
        return "" if self.batch == 1 else f"change_{variable} : 1\n"

    def _rule(self, variable: str, rate: str, gradient: str, of_cell: str) -> str:
        """Return the code that changes a variable after each patch, or after a batch."""
        total = f"change_{variable}"
        step = f"{rate}*pace{of_cell}*{gradient if self.batch == 1 else total}"
        code = f"{variable} = " + (f"clip(W + {step}, 0, inf)" if variable == "W" else f"{variable} + {step}")
        if self.batch > 1:
            code = f"{total} = {total} + live{of_cell}*{gradient}\n{code}\n{total} = {total}*(1 - due{of_cell})"
        return code

    # ------------------------------------------------------------------------------------------------ values

    def parameters(self, learn: bool) -> dict[str, float]:
        """Return the values of the parameters."""
        if not learn:
            return {}
        return {
            "cells.p": self.target_rate,
            "cells.alpha": self.alpha,
            "cells.beta": self.beta,
            "cells.gamma": self.gamma,
            "cells.slow_factor": self.slow_factor,
        }

    def schedule_over(self, presentations: int) -> dict[str, float]:
        """Return after how many patches the learning slows down."""
        return {"cells.slow_after": self.slow_from * presentations}

    def initial(self, inputs: int, seed: int) -> Arrays:
        """Return the variables before learning: input weights of norm 1, no lateral ones."""
        weights = rng.stream(seed, self.draws, "weights").standard_normal((self.units, inputs))
        weights /= np.linalg.norm(weights, axis=1, keepdims=True)
        return {
            "feedforward.Q": weights.T.ravel(),
            "lateral.W": np.zeros(self.units * (self.units - 1)),
            "cells.threshold": np.full(self.units, self.theta_start),
        }

    @property
    def _others(self) -> np.ndarray:
        """Pairs of different neurons, (unit, unit): the order of the lateral synapses."""
        return ~np.eye(self.units, dtype=bool)

    def layers(self, state: xr.Dataset) -> tuple[str, ...]:
        """Return the name of the one layer."""
        return ("cells",)

    def flush(self, arrays: Arrays, inputs: int) -> Arrays:
        """Learn from the last presentation, if no slot has followed it; equal to the engine's step but for rounding."""
        if not arrays["presenter.live"][0]:
            return arrays
        n, seen = arrays["cells.n"], arrays["cells.seen"] + 1
        due = float(seen[0] % self.batch == 0)
        pace = due * (self.slow_factor if self.slow_from < 1 else 1.0)  # the last patch is never before the slow part
        Q = arrays["feedforward.Q"].reshape(inputs, self.units)
        gradients = {
            "feedforward.Q": (self.beta, (n * (arrays["input.X"][:, None] - n * Q)).ravel()),
            "lateral.W": (self.alpha, (np.outer(n, n) - self.target_rate**2)[self._others]),
            "cells.threshold": (self.gamma, n - self.target_rate),
        }
        result = {**arrays, "cells.seen": seen, "presenter.live": np.zeros(1)}
        for name, (rate, change) in gradients.items():
            total = name.replace(".", ".change_")
            if total in arrays:
                change = arrays[total] + change
                result[total] = change * (1 - due)
            result[name] = arrays[name] + rate * pace * change
        result["lateral.W"] = np.maximum(result["lateral.W"], 0)
        return result

    def learnt(self, arrays: Arrays, inputs: int) -> xr.Dataset:
        """Return what has been learnt, as a state."""
        lateral = np.zeros((self.units, self.units))
        lateral[self._others] = arrays["lateral.W"]
        state = xr.Dataset(
            {
                "weights": (("neuroid", "input"), arrays["feedforward.Q"].reshape(inputs, self.units).T),
                "lateral": (("neuroid", "presynaptic"), lateral.T),
                "threshold": ("neuroid", arrays["cells.threshold"]),
            }
        )
        names = {"weights": "input weights Q", "lateral": "inhibitory weights W", "threshold": "threshold theta"}
        return describe(state, {name: (long_name, "1") for name, long_name in names.items()})

    def report(self, state: xr.Dataset, arrays: Arrays) -> dict[str, float]:
        """Return the rate in the last quarter of the training, to be compared with the target, and the inhibition."""
        others = state["lateral"].values[self._others]
        report = {"target_rate": self.target_rate, "mean_lateral": others.mean(), "largest_lateral": others.max()}
        spikes = state["mean_spikes"].values
        if len(spikes):
            report["rate"] = spikes[-max(1, len(spikes) // 4) :].mean() / self.units
        return {name: float(value) for name, value in report.items()}

    def frozen(self, state: xr.Dataset) -> Arrays:
        """Return the learnt variables of a state."""
        return {
            "feedforward.Q": state["weights"].values.T.ravel(),
            "lateral.W": state["lateral"].values.T[self._others],
            "cells.threshold": state["threshold"].values,
        }
