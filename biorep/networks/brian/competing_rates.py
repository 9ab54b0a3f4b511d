"""Krotov & Hopfield (2019) as they wrote it down first: rates that inhibit each other, integrated in Brian2.

Equations 8 and 9 of the paper, for unit i with input current I_i and rate r_i = max(h_i, 0)::

    tau dh_i/dt = I_i - w_inh (R - r_i) - h_i,     R = sum_j r_j,     I_i = sum_k sign(W_ik) |W_ik|^(p-1) v_k

    dW_ik = eps g(h_i) (norm^p v_k - I_i W_ik),    g = 1 for h >= h*,  -delta for 0 < h < h*,  0 for h <= 0

Every image v finds h = 0 and is shown for a time; then the weights change once. R comes from one pool neuron,
so that N units need N lateral synapses; when the weights change, it still is the R of the last step. The threshold h*
is a share of R by default, because a fixed one depends on the scale of the currents, which shrink while the weights
converge. The learning rate falls linearly, from presentation to presentation, or stays constant.

The fast rank rule (`krotov_hopfield.py`) replaces all this by ranks. Its winner is the same, its plasticity is not:
it turns one unit away from the image, this network all units between 0 and h*: with w_inh < 1 the number m of active
units less those above h*, with w_inh > 1 none. `compare_with_rank_rule` counts them; `closed_form.py` has m.

Krotov, D. & Hopfield, J. J. (2019). Unsupervised learning by competing hidden units. PNAS 116, 7723-7731.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import xarray as xr

from biorep import rng
from biorep.config import setting
from biorep.context import RunContext
from biorep.contracts import Quantity
from biorep.engines.presentation import LEARN, Circuit
from biorep.engines.programs import Arrays
from biorep.errors import choose
from biorep.networks.base import check_state, flat_images, report_of, representation, set_report
from biorep.networks.brian.closed_form import bounds_report, distance_report, steady_state
from biorep.networks.brian.spiking import SpikingNetwork
from biorep.networks.local.convergence import convergence
from biorep.schema import check_dataset, describe
from biorep.words import checked

#: Images whose currents are computed at once; bounds the memory, changes nothing else.
BATCH = 1000


class CompetingRates(SpikingNetwork):
    """Rate units with lateral inhibition that learn by the rule of Krotov & Hopfield (2019)."""

    accepts: ClassVar[tuple[float, float] | None] = None
    noisy: ClassVar[bool] = False
    versions: ClassVar[Mapping[str, int]] = {"competing-rates": 2}
    reference: ClassVar[str] = "Krotov & Hopfield (2019), PNAS 116, 7723-7731, arXiv:1806.10181"
    swept: ClassVar[frozenset[str]] = frozenset(
        (
            "w_inh",
            "tau",
            "h_star",
            "h_star_mode",
            "delta",
            "learning_rate",
            "schedule",
            "radius",
            "init_mean",
            "init_sd",
        )
    )

    kind: Literal["competing-rates"] = "competing-rates"
    units: int = setting(100, ge=2, description="number of hidden units")
    p: float = setting(2.0, ge=1, description="Lebesgue exponent of the inner product")
    w_inh: float = setting(0.6, ge=0, description="lateral inhibition; below 1 several units stay active")
    h_star: float = setting(0.3, gt=0, description="h*: units above learn, active ones below turn away")
    h_star_mode: Literal["share", "absolute"] = setting("share", description="share: h* is times the pooled activity R")
    delta: float = setting(0.1, ge=0, description="strength of the opposite learning")
    radius: float = setting(1.0, gt=0, description="norm that the weights of a unit converge to")
    learning_rate: float = setting(0.05, gt=0, description="eps: learning rate of the first presentation")
    schedule: Literal["linear", "constant"] = setting("linear", description="linear: the rate falls to 0 at the end")
    tau: float = setting(10.0, gt=0, description="time constant of the rates, ms")
    dt: float = setting(0.25, gt=0, description="time step in ms")
    stimulus_duration: float = setting(120.0, gt=0, description="how long an image is shown, ms")
    rest_duration: float = setting(0.0, ge=0, le=0, description="no rest: every image finds the rates at 0")
    max_tries: int = setting(1, ge=1, le=1, description="an image is shown once")
    input_norm: float | None = setting(2.0, gt=0, description="divide each image by its Lp norm with this p; null: no")
    init_mean: float = setting(0.0, description="mean of the initial weights, which are normal")
    init_sd: float = setting(1.0, ge=0, description="standard deviation of the initial weights")

    # ------------------------------------------------------------------------------------------------ Brian2

    def build(self, circuit: Circuit, learn: bool) -> None:
        """Add the network's objects; see `BrianNetwork.build`."""
        source = circuit.pixel_input()
        hidden = self._hidden(circuit, learn)
        feedforward = self._feedforward(circuit, source, hidden)
        self._inhibit(circuit, hidden)
        circuit.tally(hidden, "r")
        # What the last image has left is learnt from at the next onset, before it is put to rest.
        circuit.keep("hidden.h", "hidden.I", "pool.R", rest=0)
        circuit.keep("feedforward.W", learnt=True)
        if learn:
            self._teach(circuit, hidden, feedforward)

    def _hidden(self, circuit: Circuit, learn: bool) -> Any:
        import brian2 as b2

        model = f"""dh/dt = (I - w_inh*(R - r) - h)/tau : 1
                    r : 1
                    I : 1
                    R : 1 (linked)
                    w_inh : 1 ({circuit.per_copy})
                    tau : second ({circuit.per_copy})
                    """
        if learn:
            parameters = ("h_star_share", "h_star_fixed", "delta", "fall", "norm_p")
            model += "".join(f"{name} : 1 ({circuit.per_copy})\n" for name in parameters)
            model += "shown : 1 (linked)\neps : 1\ng : 1\n"
        hidden = b2.NeuronGroup(self.units * circuit.layout.copies, model, method="euler", name="hidden")
        if learn:
            circuit.link(hidden, "shown", circuit.presenter, "live")
        hidden.run_regularly("r = clip(h, 0, inf)", when="end", name="rectify")
        circuit.add(hidden)
        return hidden

    def _feedforward(self, circuit: Circuit, source: Any, hidden: Any) -> Any:
        import brian2 as b2

        # The usual exponents need no power of each weight.
        bracket = {2.0: "W", 3.0: "W*abs(W)"}.get(self.p, f"sign(W)*abs(W)**{self.p - 1!r}")
        model = f"W : 1\nI_post = {bracket}*X_pre : 1 (summed)"
        synapses = b2.Synapses(source, hidden, model, name="feedforward")
        circuit.connect_all(synapses)
        # The image does not change during a slot: sum once, at its onset, not in every step.
        synapses.summed_updaters["I_post"]._clock = circuit.slot
        circuit.add(synapses)
        return synapses

    def _inhibit(self, circuit: Circuit, hidden: Any) -> None:
        import brian2 as b2

        pool = b2.NeuronGroup(circuit.layout.copies, "R : 1", name="pool")
        to_pool = b2.Synapses(hidden, pool, "R_post = r_pre : 1 (summed)", name="to_pool")
        circuit.connect_one(to_pool)
        circuit.link(hidden, "R", pool)
        circuit.add(pool, to_pool)

    def _teach(self, circuit: Circuit, hidden: Any, feedforward: Any) -> None:
        """Learn at the start of a slot from the one that has ended; `flush` does the same."""
        # Synapses cannot read linked variables of their neurons, so the neurons hold eps g.
        gate = """h_star = h_star_share*R + h_star_fixed
                  g = eps*shown*int(h > 0)*(int(h >= h_star) - delta*int(h < h_star))
                  eps = eps - fall*shown"""
        circuit.at_onset(hidden, gate, LEARN - 1, name="gate")
        circuit.at_onset(feedforward, "W = W + g_post*(norm_p_post*X_pre - I_post*W)", LEARN, name="learn")
        circuit.keep("hidden.eps", learnt=True)
        circuit.renew("hidden.g")

    # ------------------------------------------------------------------------------------------------ values

    def prepare_images(self, images: np.ndarray) -> np.ndarray:
        """Return the images divided by their Lp norms; black images stay black."""
        if self.input_norm is None:
            return images
        norms = np.linalg.norm(images.astype(np.float64), ord=self.input_norm, axis=1, keepdims=True)
        return (images / np.maximum(norms, 1e-12)).astype(np.float32)

    def parameters(self, learn: bool) -> dict[str, float]:
        """Return the values of the parameters, SI units."""
        values = {"hidden.w_inh": self.w_inh, "hidden.tau": self.tau * 1e-3}
        if learn:
            share, fixed = self._h_star
            values |= {
                "hidden.h_star_share": share,
                "hidden.h_star_fixed": fixed,
                "hidden.delta": self.delta,
                "hidden.norm_p": self.radius**self.p,
            }
        return values

    def schedule_over(self, presentations: int) -> dict[str, float]:
        """Return by how much the learning rate falls from one presentation to the next."""
        return {"hidden.fall": self.learning_rate / max(presentations, 1) if self.schedule == "linear" else 0.0}

    @property
    def _h_star(self) -> tuple[float, float]:
        """The threshold h*, as a share of the pooled activity and as a fixed value: one of them is 0."""
        return (self.h_star, 0.0) if self.h_star_mode == "share" else (0.0, self.h_star)

    def initial(self, inputs: int, seed: int) -> Arrays:
        """Return the variables before learning: normal weights, the same draws for each mean and deviation."""
        draws = rng.stream(seed, self.draws, "weights").standard_normal((self.units, inputs))
        return {
            "feedforward.W": (self.init_mean + self.init_sd * draws).T.ravel(),
            "hidden.eps": np.full(self.units, self.learning_rate),
        }

    def gate(self, h: np.ndarray, pooled: np.ndarray) -> np.ndarray:
        """Return g, equation 9: which units learn, and with which sign.

        Parameters
        ----------
        h : (..., neuroid) array
        pooled : (..., 1) array
            Pooled activity R.
        """
        share, fixed = self._h_star
        h_star = share * pooled + fixed
        return (h > 0) * ((h >= h_star) * 1.0 - self.delta * (h < h_star))

    def flush(self, arrays: Arrays, inputs: int) -> Arrays:
        """Learn from the last presentation, if no slot has followed it."""
        if not arrays.get("presenter.live", np.zeros(1))[0]:
            return arrays
        weights, X = arrays["feedforward.W"].reshape(inputs, self.units), arrays["input.X"][:, None]
        g = arrays["hidden.eps"] * self.gate(arrays["hidden.h"], arrays["pool.R"])
        weights = weights + g * (self.radius**self.p * X - arrays["hidden.I"] * weights)
        return {**arrays, "feedforward.W": weights.ravel(), "presenter.live": np.zeros(1)}

    def learnt(self, arrays: Arrays, inputs: int) -> xr.Dataset:
        """Return what has been learnt, as a state."""
        weights = arrays["feedforward.W"].reshape(inputs, self.units).T
        state = xr.Dataset({"weights": (("neuroid", "input"), weights)})
        return describe(state, {"weights": ("weights from the normalised pixels", "1")})

    def frozen(self, state: xr.Dataset) -> Arrays:
        """Return the learnt variables of a state."""
        return {"feedforward.W": state["weights"].values.T.ravel()}

    # ---------------------------------------------------------------------------------- responses and reports

    def currents(self, state: xr.Dataset, images: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the input currents I, (presentation, neuroid), of prepared images, batch by batch."""
        import torch

        from biorep.networks.local.kh_update import bracket

        matrix = bracket(torch.as_tensor(state["weights"].values, dtype=torch.float64), self.p).numpy()
        for first in range(0, len(images), BATCH):
            yield images[first : first + BATCH] @ matrix.T

    @checked
    def encode(
        self,
        state: xr.Dataset,
        dataset: xr.Dataset,
        *,
        layer: str = "last",
        quantity: Quantity = "response",
        seed: int = 0,
        repeats: int | None = None,
        first_repeat: int = 0,
        copies: int = 1,
        context: RunContext | None = None,
    ) -> xr.Dataset:
        """Return the rates at the end of each presentation, or the input currents without any simulation.

        Parameters
        ----------
        state, dataset, layer, copies, context
            As in `SpikingNetwork.encode`.
        seed, first_repeat : int
            Not used: the responses are deterministic.
        repeats : int, optional
            Only None or 1: repeats of a deterministic response would be copies.
        quantity : {"response", "preactivation"}
            The rates r, or the currents I that drive them, as in the fast rank form.

        Returns
        -------
        xr.Dataset
            ``response(presentation, neuroid)``; the report of the rates says how many units are active, and how far
            they are from the steady state.
        """
        images = self.prepare_images(flat_images(dataset))
        if quantity == "preactivation" and repeats in (None, 1):
            check_dataset(dataset, value_range=self.accepts)
            check_state(self, state, dataset)
            (name,) = self.layers(state)
            choose(layer, ("last", name), f"layer of '{self.word}'")
            currents = np.concatenate(list(self.currents(state, images))).astype(np.float32)
            currents = currents[None] if repeats else currents
            return representation(currents, dataset, quantity=quantity, kind=self.word, layer=name)
        result = super().encode(state, dataset, layer=layer, seed=seed, repeats=repeats, copies=copies, context=context)
        result = result.drop_vars("tries")
        result["response"].attrs.update(long_name="rate at the end of the presentation", units="1")
        rates = result["response"].values.reshape(-1, self.units)
        set_report(result, *distance_report(rates, self.currents(state, images), self.w_inh))
        return result

    def layers(self, state: xr.Dataset) -> tuple[str, ...]:
        """Return the name of the one layer."""
        return ("hidden",)

    def judged(self, state: xr.Dataset, images: np.ndarray) -> xr.Dataset:
        """Return a state with the convergence of its units and the bounds of the simulation in its report."""
        wins, peak, active = np.zeros(self.units, int), np.full(self.units, -np.inf), 0
        for currents in self.currents(state, images):
            wins += np.bincount(currents.argmax(1), minlength=self.units)
            peak = np.maximum(peak, currents.max(0))
            active = max(active, int((steady_state(currents, self.w_inh) > 0).sum(1).max()))
        remedy = "Try a larger init_mean or a smaller delta."
        per_unit, report, warnings = convergence(state["weights"].values, wins, peak, self.p, self.radius, remedy)
        bounds, more = self.bounds(active)
        history = {"images": report_of(state)["images"]}
        set_report(state, history | report | bounds, [*warnings, *more])
        state = state.drop_vars("shown_again").rename(mean_spikes="mean_pooled_rate")
        describe(state, {"mean_pooled_rate": ("pooled activity R at the end of a presentation", "1")})
        return state.assign(per_unit)

    def bounds(self, active: int | None = None) -> tuple[dict[str, Any], list[str]]:
        """Return what Euler's method and the time shown mean for these settings, and warnings in words.

        Parameters
        ----------
        active : int, optional
            Largest number of units that are active at once; None: all.
        """
        return bounds_report(self.dt, self.stimulus_duration, self.tau, self.w_inh, self.units, active)
