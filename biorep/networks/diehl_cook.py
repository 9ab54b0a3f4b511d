"""Diehl & Cook (2015): unsupervised learning of digits by STDP and lateral inhibition, in Brian2.

Excitatory neuron (`synapse: conductance`), with theta an adaptive part of the threshold::

    tau dv/dt = (v_rest - v) + g_e (0 mV - v) + g_i (-100 mV - v)
    dg_e/dt = -g_e / (1 ms),  dg_i/dt = -g_i / (2 ms)
    spike where v > -72 mV + theta:  v <- -65 mV, theta <- theta + 0.05 mV, at rest for 5 ms

Plasticity of the input weights, with traces x of the presynaptic and y1, y2 of the postsynaptic spikes (20, 20 and
40 ms)::

    pair:     pre: w <- w - a y1     post: w <- w + b x
    triplet:  pre: w <- w - a y1     post: w <- w + b x y2
    target:                          post: w <- w + b (x - x_target) (w_max - w)^mu

and the input weights of each neuron are scaled to a fixed sum before each image. The membrane takes linearly implicit
Euler steps, which are stable at any conductance.

Diehl, P. U. & Cook, M. (2015). Unsupervised learning of digit recognition using spike-timing-dependent plasticity.
Front. Comput. Neurosci. 9:99. `models/diehl_cook_2015_mnist.yaml` has the settings of the authors' program.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import xarray as xr
from pydantic import model_validator

from biorep import rng
from biorep.config import setting
from biorep.engines.presentation import Circuit
from biorep.engines.programs import Arrays
from biorep.networks import lateral_inhibition, one_spike
from biorep.networks.spiking import SpikingNetwork
from biorep.schema import describe

REST, EXCITATION, INHIBITION = "(-65*mV)", "(0*mV)", "(-100*mV)"


class DiehlCook(SpikingNetwork):
    """Spiking winner-takes-all network of Diehl & Cook (2015)."""

    reference: ClassVar[str] = "Diehl & Cook (2015), Front. Comput. Neurosci. 9:99"
    remedies: ClassVar[Mapping[str, str]] = {
        "silence": "Raise 'peak' or 'most_tries', or lower 'theta_plus'.",
        "runaway": "Lower 'step', or raise 'inhibition_strength'.",
    }

    kind: Literal["diehl-cook"] = "diehl-cook"
    units: int = setting(400, ge=1, description="excitatory neurons")
    inhibition: Literal["pool", "direct", "layer"] = setting(
        "pool",
        description="layer: an inhibitory neuron per excitatory one (original); direct: all to all but self; pool: the "
        "same through one neuron",
    )
    rule: Literal["pair", "triplet", "target"] = setting("pair", description="plasticity of the input weights")
    synapse: Literal["conductance", "current"] = setting(
        "conductance", description="current: a spike moves the membrane by the weight in mV"
    )
    step: float = setting(0.5, gt=0, description="time step in ms")
    stimulus: float = setting(350.0, gt=0, description="how long an image is shown, ms")
    rest: float = setting(150.0, ge=0, description="rest after each image, ms")
    peak: float = setting(63.75, gt=0, description="rate of an input neuron for a white pixel, Hz")
    least: float = setting(5.0, ge=0, description="an image answered by fewer spikes is shown again, brighter")
    most_tries: int = setting(8, ge=1, description="how often an image is shown at most")
    gain_step: float = setting(0.5, ge=0, description="increase of the input rates per try, as a share")
    norm: float = setting(78.4, gt=0, description="sum of the input weights of a neuron")
    w_max: float = setting(1.0, gt=0, description="largest weight")
    depression: float = setting(1e-4, ge=0, description="a: learning rate at a presynaptic spike")
    potentiation: float = setting(1e-2, ge=0, description="b: learning rate at a postsynaptic spike")
    x_target: float = setting(0.4, ge=0, description="rule target: trace that leaves a weight alone")
    mu: float = setting(0.2, ge=0, description="rule target: exponent of the soft bound")
    theta_plus: float = setting(0.05, ge=0, description="rise of the threshold per spike, mV")
    theta_decay: float = setting(1e7, gt=0, description="time constant of the threshold's decay, ms")
    theta_start: float = setting(20.0, ge=0, description="adaptive threshold at the start, mV")
    inhibition_strength: float = setting(17.0, ge=0, description="conductance of a lateral spike (current: mV)")
    one_spike: bool = setting(
        False, neutral=False, description="of the neurons that cross in one time step only one spikes (CPU only)"
    )
    reset_between: bool = setting(False, description="whether training starts every image from rest")
    carry_over: bool = setting(
        False,
        stage="encode",
        description="whether a frozen network keeps its membranes between images, as published: the responses then "
        "depend on the order of the images",
    )
    delay: float = setting(0.0, ge=0, description="input delays are uniform between 0 and this, ms (CPU only)")

    swept: ClassVar[frozenset[str]] = frozenset(
        {
            *("peak", "least", "gain_step", "norm", "depression", "potentiation", "theta_plus", "theta_decay"),
            *("theta_start", "inhibition_strength"),
        }
    )

    @model_validator(mode="after")
    def _consistent(self) -> DiehlCook:
        if self.delay > self.rest:
            raise ValueError(f"delay = {self.delay} ms must not be longer than rest = {self.rest} ms")
        return self

    # ------------------------------------------------------------------------------------------------ Brian2

    def build(self, circuit: Circuit, learn: bool) -> None:
        """Add the network's objects; see `SpikingNetwork.build`."""
        source = circuit.poisson_input(trace=learn)
        excitatory = self._excitatory(circuit, learn)
        lateral_inhibition.connect(self, circuit, excitatory, self._event)
        self._connect(circuit, source, excitatory, learn)
        circuit.tally(excitatory)
        circuit.answer(excitatory, self._event)
        if self.reset_between if learn else not self.carry_over:
            self._forget(circuit, excitatory)

    def _forget(self, circuit: Circuit, excitatory: Any) -> None:
        """Let every image find the network at rest."""
        inhibition = "gself" if self.inhibition == "pool" else "gi"
        code = f"v = {REST}; pause = 0; {inhibition} = 0" + ("; ge = 0" if self._conducts else "")
        circuit.at_onset(excitatory, code.replace("; ", "\n"))
        for group in circuit.objects:
            if group.name == "pool":
                circuit.at_onset(group, "g = 0")
            elif group.name == "inhibitory":
                circuit.at_onset(group, "v = -60*mV\npause = 0\nge = 0")

    def _excitatory(self, circuit: Circuit, learn: bool) -> Any:
        import brian2 as b2

        per_copy = circuit.per_copy
        model = f"""v : volt
                    pause : 1
                    theta : volt
                    count : 1
                    awake : 1
                    live : 1 (linked)
                    inhibition_strength : 1 ({per_copy})
                    """
        rest = REST if self._conducts else "(-60*mV)"
        reset = f"v = {rest}; pause = {round(5 / self.step)}"
        sent = "count += 1"
        if self.synapse == "conductance":
            model += "dge/dt = -ge/(1*ms) : 1\n"
        if self.inhibition == "pool":
            model += "gpool : 1 (linked)\n" + ("dgself/dt = -gself/(2*ms) : 1\n" if self._conducts else "gself : 1\n")
            model += "gi = gpool - gself : 1\n"
            sent += "; gself += inhibition_strength"
        else:
            model += "dgi/dt = -gi/(2*ms) : 1\n" if self._conducts else "gi : 1\n"
        if learn:
            model += f"""theta_plus : volt ({per_copy})
                         theta_keep : 1 ({per_copy})
                         norm : 1 ({per_copy})
                         depression : 1 ({per_copy})
                         potentiation : 1 ({per_copy})
                         dy1/dt = -y1/(20*ms) : 1
                         wsum : 1
                         scale : 1
                         """
            reset += "; theta += theta_plus"
            sent += "; y1 = 1"
            if self.rule == "triplet":
                model += "dy2/dt = -y2/(40*ms) : 1\n"
                sent += "; y2 = 1"
        threshold = "v > theta - 72*mV" if self._conducts else "v > theta - 52*mV"
        group = b2.NeuronGroup(
            self.units * circuit.layout.copies,
            model + (one_spike.MODEL if self.one_spike else ""),
            threshold=f"{threshold} and pause <= 0",
            reset=one_spike.BID + reset if self.one_spike else f"{reset}; {sent}",
            events=dict(one_spike.EVENTS) if self.one_spike else None,
            method="exact",
            name="excitatory",
        )
        if self.one_spike:
            group.run_on_event("fire", sent, when="resets")
            one_spike.judge(circuit, group, self.units)
        group.live = b2.linked_var(circuit.presenter, "live", index=circuit.copy_of(self.units))
        # It reads the conductances before their own step of the same time step.
        group.run_regularly(
            self._membrane() + (one_spike.EXCESS if self.one_spike else ""), when="groups", order=-1, name="membrane"
        )
        # When a copy has seen all of its images, it stays at rest while the others go on.
        wake = "awake = live\npause = pause + 1e9*(1 - live)" + (
            "\ntheta = theta*(1 - live*(1 - theta_keep))" if learn else ""
        )
        circuit.at_onset(group, wake, name="wake")
        circuit.add(group)
        circuit.keep("excitatory.v", "excitatory.pause", "excitatory.theta")
        if self.synapse == "conductance":
            circuit.keep("excitatory.ge")
        circuit.keep("excitatory.gself" if self.inhibition == "pool" else "excitatory.gi")
        if learn:
            circuit.keep("excitatory.y1", *(["excitatory.y2"] if self.rule == "triplet" else []))
        return group

    @property
    def _event(self) -> str:
        """The event by which an excitatory neuron reaches others."""
        return "fire" if self.one_spike else "spike"

    @property
    def _conducts(self) -> bool:
        return self.synapse == "conductance"

    def _membrane(self) -> str:
        """Return one step of the membrane, linearly implicit in v."""
        share = self.step / 100  # of the membrane time constant, 100 ms
        if self._conducts:
            moved = f"(v + {share}*({REST} + ge*{EXCITATION} + gi*{INHIBITION}))/(1 + {share}*(1 + ge + gi))"
            return f"pause = clip(pause - 1, 0, inf)\nv = v + int(pause <= 0)*({moved} - v)"
        code = f"""pause = clip(pause - 1, 0, inf)
                   v = v + int(pause <= 0)*(({REST} - v)*{float(-np.expm1(-share))!r} - gi*mV)"""
        return code + ("\ngself = 0" if self.inhibition == "pool" else "\ngi = 0")

    def _connect(self, circuit: Circuit, source: Any, excitatory: Any, learn: bool) -> None:
        import brian2 as b2

        arrive = "ge_post += w" if self._conducts else "v_post += w*mV*int(pause_post <= 0)"
        on_post, model = None, "w : 1"
        if learn:
            model += "\nwsum_post = w : 1 (summed)"
            bounded = f"w = clip(w {{}}, 0, {self.w_max!r})"
            if self.rule != "target":
                arrive += "; " + bounded.format("- depression_post*y1_post")
            on_post = bounded.format(
                {
                    "pair": "+ potentiation_post*x_pre",
                    "triplet": "+ potentiation_post*x_pre*y2_post",
                    "target": f"+ potentiation_post*(x_pre - {self.x_target})*({self.w_max} - w)**{self.mu}",
                }[self.rule]
            )
        feedforward = b2.Synapses(
            source,
            excitatory,
            model,
            on_pre=arrive,
            on_post=on_post,
            on_event={"pre": "spike", "post": self._event},
            name="feedforward",
        )
        inputs, units = circuit.layout.inputs, self.units
        if circuit.layout.copies == 1:
            feedforward.connect()
        else:
            feedforward.connect(j=f"k for k in range((i//{inputs})*{units}, (i//{inputs} + 1)*{units})")
        circuit.keep("feedforward.w")
        if self.delay:
            feedforward.pre.delay = "0*ms"  # one per synapse; the values come with the other initial values
            circuit.keep("feedforward_pre.delay")
        circuit.add(feedforward)
        if learn:
            # The updater of a summed variable runs in every step unless it is moved to the clock of the slots.
            feedforward.summed_updaters["wsum_post"]._clock = circuit.slot
            excitatory.run_regularly(
                "scale = 1 + awake*(norm/clip(wsum, 1e-9, inf) - 1)",
                clock=circuit.slot,
                when="after_groups",
                name="scaling",
            )
            feedforward.run_regularly(
                "w = w*scale_post", clock=circuit.slot, when="before_thresholds", name="normalise"
            )

    # ------------------------------------------------------------------------------------------------ values

    def parameters(self, learn: bool) -> dict[str, float]:
        """Return the values of the parameters, SI units."""
        values = {
            "input.peak": self.peak,
            "presenter.least": self.least,
            "presenter.gain_step": self.gain_step,
            "excitatory.inhibition_strength": self.inhibition_strength,
        }
        if learn:
            values |= {
                "input.tau_x": 0.02,
                "excitatory.theta_plus": self.theta_plus * 1e-3,
                "excitatory.theta_keep": float(np.exp(-(self.stimulus + self.rest) / self.theta_decay)),
                "excitatory.norm": self.norm,
                "excitatory.depression": self.depression,
                "excitatory.potentiation": self.potentiation,
            }
        return values

    def time_constants(self) -> dict[str, float]:
        """Return the time constants in ms; those of the traces are longer."""
        if not self._conducts:
            return {"membrane": 100.0}
        return {"excitatory conductance": 1.0, "inhibitory conductance": 2.0}

    def initial(self, inputs: int, seed: int) -> Arrays:
        """Return the variables before learning, SI units."""
        draws = rng.stream(seed, self.kind, "weights").random((inputs, self.units))
        values = {
            **self.at_rest(inputs),
            "feedforward.w": (0.3 * (draws + 0.01)).ravel(),
            "excitatory.theta": np.full(self.units, self.theta_start * 1e-3),
        }
        if self.delay:
            delays = rng.stream(seed, self.kind, "delays").random(inputs * self.units)
            values["feedforward_pre.delay"] = delays * self.delay * 1e-3
        return values

    def at_rest(self, inputs: int) -> Arrays:
        """Return the fast variables at rest; what is not named is 0."""
        rest = {"excitatory.v": np.full(self.units, -65e-3)}
        if self.inhibition == "layer":
            rest["inhibitory.v"] = np.full(self.units, -60e-3)
        return rest

    def learnt(self, arrays: Arrays, inputs: int) -> xr.Dataset:
        """Return what has been learnt, as a state."""
        weights = arrays["feedforward.w"].reshape(inputs, self.units).T
        weights = weights * (self.norm / np.maximum(weights.sum(1, keepdims=True), 1e-9))
        state = xr.Dataset(
            {
                "weights": (("neuroid", "input"), weights),
                "theta": ("neuroid", arrays["excitatory.theta"] * 1e3),
            }
        )
        if self.delay:
            delays = arrays["feedforward_pre.delay"].reshape(inputs, self.units).T * 1e3
            state["delay"] = (("neuroid", "input"), delays)
        return describe(
            state,
            {
                "weights": ("input weights, scaled to their sum", "1"),
                "theta": ("adaptive part of the threshold", "mV"),
                "delay": ("delay of the input spikes", "ms"),
            },
        )

    def frozen(self, state: xr.Dataset) -> Arrays:
        """Return the learnt variables of a state, SI units."""
        values = {
            "feedforward.w": state["weights"].values.T.ravel(),
            "excitatory.theta": state["theta"].values * 1e-3,
        }
        if self.delay:
            values["feedforward_pre.delay"] = state["delay"].values.T.ravel() * 1e-3
        return values
