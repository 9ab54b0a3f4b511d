"""What the two networks after Diehl & Cook share: plasticity, homeostasis, lateral inhibition and their settings.

Plasticity of the input weights, with traces x of the presynaptic and y1, y2 of the postsynaptic spikes (20, 20 and
40 ms)::

    pair:     pre: w <- w - a y1     post: w <- w + b x
    triplet:  pre: w <- w - a y1     post: w <- w + b x y2
    target:                          post: w <- w + b (x - x_target) (w_max - w)^mu

and the input weights of each neuron are scaled to a fixed sum before each image. With delays, the trace x of a synapse
starts when the spike arrives: plasticity, like conductance, knows nothing of a spike that is on its way.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import xarray as xr
from pydantic import model_validator

from biorep import rng
from biorep.config import setting
from biorep.engines.presentation import Circuit
from biorep.engines.programs import Arrays
from biorep.networks.brian import lateral_inhibition
from biorep.networks.brian.lateral_inhibition import Inhibition
from biorep.networks.brian.spiking import SpikingNetwork
from biorep.schema import describe


@dataclass(frozen=True)
class Cell:
    """An excitatory neuron and its input synapse, in Brian2's words.

    Parameters
    ----------
    equations : str
        With ``v`` and ``pause``, the steps for which it still rests after a spike.
    membrane : str
        What a time step does to ``v``, run before the equations' own step. ``{a}`` stands for dt over the membrane's
        time constant of 100 ms, ``{decay}`` for 1 - exp(-a), ``{own}`` for the variable that takes the inhibition.
    threshold : str
        Of ``v``; ``theta`` is the adaptive part.
    reset : str
        What a spike does to ``v``.
    arrive : str
        What an input spike does.
    inhibition : str
        Form of the inhibition, see `lateral_inhibition.received`.
    rest : mapping of str to str or float
        The fast variables of the equations at rest.
    """

    equations: str
    membrane: str
    threshold: str
    reset: str
    arrive: str
    inhibition: str
    rest: Mapping[str, str | float]


#: Of every excitatory neuron, and of one that learns beside that. `pause` of a copy that has seen all of its images
#: never ends: it stays at rest while the others go on.
SHARED = """
    theta : volt
    count : 1
    awake : 1
    live : 1 (linked)
    inhibition_strength : 1 ({per_copy})
    """
LEARNING = """
    theta_plus : volt ({per_copy})
    theta_keep : 1 ({per_copy})
    norm : 1 ({per_copy})
    depression : 1 ({per_copy})
    potentiation : 1 ({per_copy})
    wsum : 1
    scale : 1
    """
WAKE = """
    awake = live
    pause = pause + 1e9*(1 - live)
    """
#: The adaptive threshold decays once per slot.
THETA = "theta = theta*(1 - live*(1 - theta_keep))\n"


@dataclass(frozen=True)
class Rule:
    """A rule of plasticity: traces of the neuron, which a spike sets to 1, and the change of w at either spike."""

    traces: Mapping[str, str]
    on_pre: str
    on_post: str


#: Time constant of the trace x of input spikes, ms. Where each synapse has a delay, it has a trace of its own, which
#: takes no step each time: it stands as `trace` at the step `since` of the slot. In the step of an arrival the rule
#: still reads what was `before`, as it does without delays.
TAU_X = 20.0
NOW = "now = timestep(t, dt) % {steps}"
ARRIVAL = NOW + "; before = trace*exp((since - now)*{a}); trace = 1; since = now"
SEEN = NOW + "; x = int(since < now)*trace*exp((since - now)*{a}) + int(since >= now)*before; "
NEXT_SLOT = "trace = trace*exp((since - {steps})*{a})\nbefore = trace\nsince = 0"
#: Scaling to the sum may lift a weight above w_max: there the soft bound of `target` is 0, not the root of a negative.
Y1, Y2 = "dy1/dt = -y1/(20*ms) : 1\n", "dy2/dt = -y2/(40*ms) : 1\n"
RULES = {
    "pair": Rule({"y1": Y1}, "- depression_post*y1_post", "+ potentiation_post*{x}"),
    "triplet": Rule({"y1": Y1, "y2": Y2}, "- depression_post*y1_post", "+ potentiation_post*{x}*y2_post"),
    "target": Rule({}, "", "+ potentiation_post*({x} - {x_target})*clip({w_max} - w, 0, inf)**{mu}"),
}


class DiehlCookBase(SpikingNetwork):
    """Spiking winner-takes-all network: input spikes, plastic synapses, lateral inhibition, adaptive thresholds."""

    remedies: ClassVar[Mapping[str, str]] = {
        "silence": "Raise 'peak_rate' or 'max_tries', or lower 'theta_plus'.",
        "runaway": "Lower 'dt', or raise 'inhibition_strength'.",
    }
    versions: ClassVar[Mapping[str, int]] = {"diehl-cook plasticity": 1, "lateral inhibition": 1}
    swept: ClassVar[frozenset[str]] = frozenset(
        {
            *("peak_rate", "min_spikes", "gain_step", "norm", "depression", "potentiation", "theta_plus"),
            *("theta_decay", "theta_start", "inhibition_strength"),
        }
    )

    units: int = setting(400, ge=1, description="excitatory neurons")
    inhibition: Inhibition = setting(
        "pool",
        description="layer: an inhibitory neuron per excitatory one (original); direct: all to all but self; pool: the "
        "same through one neuron",
    )
    rule: Literal["pair", "triplet", "target"] = setting("pair", description="plasticity of the input weights")
    dt: float = setting(0.5, gt=0, unit="ms", description="time step in ms")
    stimulus_duration: float = setting(350.0, gt=0, unit="ms", description="how long an image is shown, ms")
    rest_duration: float = setting(150.0, ge=0, unit="ms", description="rest after each image, ms")
    peak_rate: float = setting(63.75, gt=0, unit="Hz", description="rate of an input neuron for a white pixel, Hz")
    min_spikes: float = setting(5.0, ge=0, description="an image answered by fewer spikes is shown again, brighter")
    max_tries: int = setting(8, ge=1, description="how often an image is shown at most")
    gain_step: float = setting(0.5, ge=0, description="increase of the input rates per try, as a share")
    norm: float = setting(78.4, gt=0, description="sum of the input weights of a neuron")
    w_max: float = setting(1.0, gt=0, description="largest weight")
    depression: float = setting(1e-4, ge=0, description="a: learning rate at a presynaptic spike")
    potentiation: float = setting(1e-2, ge=0, description="b: learning rate at a postsynaptic spike")
    x_target: float = setting(0.4, ge=0, description="rule target: trace that leaves a weight alone")
    mu: float = setting(0.2, ge=0, description="rule target: exponent of the soft bound")
    theta_plus: float = setting(0.05, ge=0, unit="mV", description="rise of the threshold per spike, mV")
    theta_decay: float = setting(1e7, gt=0, unit="ms", description="time constant of the threshold's decay, ms")
    theta_start: float = setting(20.0, ge=0, unit="mV", description="adaptive threshold at the start, mV")
    inhibition_strength: float = setting(17.0, ge=0, description="conductance of a lateral spike (current-based: mV)")
    reset_between: bool = setting(False, description="whether training starts every image from rest")
    carry_over: bool = setting(
        False,
        stage="encode",
        description="whether a frozen network keeps its membranes between images, as published: the responses then "
        "depend on the order of the images",
    )
    delay: float = setting(
        0.0, ge=0, unit="ms", description="input delays are uniform between 0 and this, ms (CPU only)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.delay > self.rest_duration:
            raise ValueError(f"delay = {self.delay} ms must not be longer than rest_duration = {self.rest_duration} ms")
        return self

    # ------------------------------------------------------------------------------------------------ Brian2

    @property
    @abstractmethod
    def cell(self) -> Cell:
        """The excitatory neuron."""

    @property
    def event(self) -> str:
        """The event by which an excitatory neuron reaches others."""
        return "spike"

    def resets(self, learn: bool) -> bool:
        """Return whether every image finds the network at rest."""
        return self.reset_between if learn else not self.carry_over

    def build(self, circuit: Circuit, learn: bool) -> None:
        """Add the network's objects; see `BrianNetwork.build`."""
        source = circuit.poisson_input(trace=learn and not self.delay)
        excitatory = self._excitatory(circuit, learn)
        circuit.tally(excitatory, event=self.event)
        lateral_inhibition.connect(
            circuit,
            excitatory,
            self.inhibition,
            form=self.cell.inhibition,
            event=self.event,
            dt=self.dt,
            record=not learn,
        )
        self._feedforward(circuit, source, excitatory, learn)
        circuit.answer(excitatory, self.event)

    def layers(self, state: xr.Dataset) -> tuple[str, ...]:
        """Return the names of the recorded layers."""
        return ("excitatory", "inhibitory") if self.inhibition == "layer" else ("excitatory",)

    def _excitatory(self, circuit: Circuit, learn: bool) -> Any:

        cell, traces = self.cell, RULES[self.rule].traces if learn else {}
        inhibition, own, sends = lateral_inhibition.received(self.inhibition, cell.inhibition)
        model = cell.equations + SHARED + inhibition + "\n" + (LEARNING if learn else "") + "".join(traces.values())
        reset = f"{cell.reset}; pause = {round(5 / self.dt)}" + ("; theta += theta_plus" if learn else "")
        sent = "; ".join(["count += 1", *([sends] if sends else []), *(f"{trace} = 1" for trace in traces)])
        group = self._neurons(circuit, model.format(per_copy=circuit.per_copy), reset, sent)
        circuit.link(group, "live", circuit.presenter)
        share = self.dt / 100
        membrane = cell.membrane.format(a=share, decay=repr(float(-np.expm1(-share))), own=own)
        # It reads the conductances before their own step of the same time step.
        group.run_regularly(membrane, when="groups", order=-1, name="membrane")
        circuit.at_onset(group, WAKE + (THETA if learn else ""), name="wake")
        circuit.add(group)
        for name, rest in {**cell.rest, own: 0, **dict.fromkeys(traces, 0)}.items():
            circuit.keep(f"excitatory.{name}", rest=rest)
        circuit.keep("excitatory.theta", learnt=True)
        circuit.renew("excitatory.awake")
        return group

    def _neurons(self, circuit: Circuit, model: str, reset: str, sent: str) -> Any:
        """Return the excitatory neurons: a crossing of the threshold runs `reset`, a spike that is sent runs `sent`."""
        import brian2 as b2

        return b2.NeuronGroup(
            self.units * circuit.layout.copies,
            model,
            threshold=f"{self.cell.threshold} and pause <= 0",
            reset=f"{reset}; {sent}",
            method="exact",
            name="excitatory",
        )

    def _feedforward(self, circuit: Circuit, source: Any, excitatory: Any, learn: bool) -> None:
        import brian2 as b2

        rule, arrive, on_post, model = RULES[self.rule], self.cell.arrive, None, "w : 1"
        if learn:
            model += "\nwsum_post = w : 1 (summed)"
            arrive += f"; {self._bounded(rule.on_pre)}" if rule.on_pre else ""
            on_post = self._bounded(rule.on_post)
        if learn and self.delay:
            texts = {"steps": self.timing().steps, "a": self.dt / TAU_X}
            model += "\ntrace : 1\nbefore : 1\nsince : 1"
            arrive += f"; {ARRIVAL.format(**texts)}"
            on_post = SEEN.format(**texts) + str(on_post)
        feedforward = b2.Synapses(
            source,
            excitatory,
            model,
            on_pre=arrive,
            on_post=on_post,
            on_event={"pre": "spike", "post": self.event},
            name="feedforward",
        )
        circuit.connect_all(feedforward)
        circuit.add(feedforward)
        circuit.keep("feedforward.w", learnt=True)
        if self.delay:
            circuit.delay(feedforward)
        if learn and self.delay:
            circuit.keep("feedforward.trace", "feedforward.before", "feedforward.since", rest=0)
            circuit.at_onset(feedforward, NEXT_SLOT.format(**texts))
        if learn:
            self._normalise(circuit, excitatory, feedforward)

    def _bounded(self, change: str) -> str:
        """Return the code of a change of the weights, which stay between 0 and w_max."""
        trace = "x" if self.delay else "x_pre"
        change = change.format(x=trace, x_target=self.x_target, w_max=self.w_max, mu=self.mu)
        return f"w = clip(w {change}, 0, {self.w_max!r})"

    def _normalise(self, circuit: Circuit, excitatory: Any, feedforward: Any) -> None:
        """Scale the weights of each neuron to their sum at the start of a slot, in the order sum, scale, apply."""
        # The updater of a summed variable runs in every step unless it is moved to the clock of the slots.
        feedforward.summed_updaters["wsum_post"]._clock = circuit.slot
        excitatory.run_regularly(
            "scale = 1 + awake*(norm/clip(wsum, 1e-9, inf) - 1)",
            clock=circuit.slot,
            when="after_groups",
            name="scaling",
        )
        feedforward.run_regularly("w = w*scale_post", clock=circuit.slot, when="before_thresholds", name="normalise")
        circuit.renew("excitatory.wsum", "excitatory.scale")

    # ------------------------------------------------------------------------------------------------ values

    def parameters(self, learn: bool) -> dict[str, float]:
        """Return the values of the parameters, SI units."""
        values = {
            "input.peak_rate": self.peak_rate,
            "presenter.min_spikes": self.min_spikes,
            "presenter.gain_step": self.gain_step,
            "excitatory.inhibition_strength": self.inhibition_strength,
        }
        if learn and not self.delay:
            values["input.tau_x"] = TAU_X * 1e-3
        if learn:
            values |= {
                "excitatory.theta_plus": self.theta_plus * 1e-3,
                "excitatory.theta_keep": float(np.exp(-self.timing().duration / self.theta_decay)),
                "excitatory.norm": self.norm,
                "excitatory.depression": self.depression,
                "excitatory.potentiation": self.potentiation,
            }
        return values

    def initial(self, inputs: int, seed: int) -> Arrays:
        """Return the variables before learning, SI units."""
        draws = rng.stream(seed, self.draws, "weights").random((inputs, self.units))
        values = {
            "feedforward.w": (0.3 * (draws + 0.01)).ravel(),
            "excitatory.theta": np.full(self.units, self.theta_start * 1e-3),
        }
        if self.delay:
            delays = rng.stream(seed, self.draws, "delays").random(inputs * self.units)
            values["feedforward.delay"] = delays * self.delay * 1e-3
        return values

    def learnt(self, arrays: Arrays, inputs: int) -> xr.Dataset:
        """Return what has been learnt, as a state."""
        weights = arrays["feedforward.w"].reshape(inputs, self.units).T
        weights = weights * (self.norm / np.maximum(weights.sum(1, keepdims=True), 1e-9))
        state = xr.Dataset(
            {"weights": (("neuroid", "input"), weights), "theta": ("neuroid", arrays["excitatory.theta"] * 1e3)}
        )
        if self.delay:
            delays = arrays["feedforward.delay"].reshape(inputs, self.units).T * 1e3
            state["delay"] = (("neuroid", "input"), delays)
        return describe(
            state,
            {
                "weights": ("input weights, scaled to their sum", "1"),
                "theta": ("adaptive part of the threshold", "mV"),
                "delay": ("delay of the input spikes", "ms"),
            },
        )

    def report(self, state: xr.Dataset, arrays: Arrays) -> dict[str, float]:
        """Return the share of the weights that are at their bound, before they are scaled to their sum."""
        return {"share_weights_saturated": float((arrays["feedforward.w"] > 0.99 * self.w_max).mean())}

    def frozen(self, state: xr.Dataset) -> Arrays:
        """Return the learnt variables of a state, SI units."""
        values = {"feedforward.w": state["weights"].values.T.ravel(), "excitatory.theta": state["theta"].values * 1e-3}
        if self.delay:
            values["feedforward.delay"] = state["delay"].values.T.ravel() * 1e-3
        return values
