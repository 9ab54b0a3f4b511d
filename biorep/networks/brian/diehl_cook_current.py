"""The Diehl-Cook network as BindsNET (Hazan et al. 2018) builds it: another neuron, in Brian2.

An input spike moves the membrane by its weight, a lateral one by the inhibition, both in mV::

    tau dv/dt = v_rest - v,   tau = 100 ms
    spike where v > -52 mV + theta:  v <- -60 mV, theta <- theta + 0.05 mV, at rest for 5 ms

Every image starts from rest, in training too, and of the neurons that cross their threshold in one time step only one
sends its spike. Plasticity and homeostasis: `diehl_cook_base.py`.

Hazan, H. et al. (2018). BindsNET: a machine learning-oriented spiking neural networks library in Python. Front.
Neuroinform. 12:89. `models/hazan_2018_mnist.yaml` has the settings of its examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from biorep.config import setting
from biorep.engines.presentation import Circuit
from biorep.networks.brian import one_spike
from biorep.networks.brian.diehl_cook_base import Cell, DiehlCookBase
from biorep.networks.brian.lateral_inhibition import PULSE

CURRENT_CELL = Cell(
    equations="""
        v : volt
        pause : 1
        """,
    membrane="""
        pause = clip(pause - 1, 0, inf)
        v = v + int(pause <= 0)*(((-65*mV) - v)*{decay} - gi*mV)
        {own} = 0
        """,
    threshold="v > theta - 52*mV",
    reset="v = -60*mV",
    arrive="v_post += w*mV*int(pause_post <= 0)",
    inhibition=PULSE,
    rest={"v": "-65*mV", "pause": 0},
)


class DiehlCookCurrent(DiehlCookBase):
    """Current-based spiking winner-takes-all network after BindsNET (Hazan et al. 2018)."""

    reference: ClassVar[str] = "Hazan et al. (2018), Front. Neuroinform. 12:89"
    versions: ClassVar[Mapping[str, int]] = {"diehl-cook-current": 1}

    kind: Literal["diehl-cook-current"] = "diehl-cook-current"
    one_spike: bool = setting(True, description="of the neurons that cross in one step only one spikes (CPU only)")
    reset_between: bool = setting(True, description="whether training starts every image from rest")
    dt: float = setting(1.0, gt=0, unit="ms", description="time step in ms")
    stimulus_duration: float = setting(250.0, gt=0, unit="ms", description="how long an image is shown, ms")
    rest_duration: float = setting(0.0, ge=0, unit="ms", description="rest after each image, ms")
    peak_rate: float = setting(128.0, gt=0, unit="Hz", description="rate of an input neuron for a white pixel, Hz")
    min_spikes: float = setting(0.0, ge=0, description="an image answered by fewer spikes is shown again, brighter")
    max_tries: int = setting(1, ge=1, description="how often an image is shown at most")
    theta_start: float = setting(0.0, ge=0, unit="mV", description="adaptive threshold at the start, mV")
    inhibition_strength: float = setting(120.0, ge=0, unit="mV", description="what a lateral spike takes off, mV")

    @property
    def draws(self) -> str:
        """The word that random draws are named by: that of the network which this one was a setting of."""
        return "diehl-cook"

    @property
    def cell(self) -> Cell:
        """The excitatory neuron."""
        return CURRENT_CELL

    @property
    def event(self) -> str:
        """The event by which an excitatory neuron reaches others."""
        return "fire" if self.one_spike else "spike"

    def _neurons(self, circuit: Circuit, model: str, reset: str, sent: str) -> Any:
        import brian2 as b2

        if not self.one_spike:
            return super()._neurons(circuit, model, reset, sent)
        group = b2.NeuronGroup(
            self.units * circuit.layout.copies,
            model + one_spike.MODEL,
            threshold=f"{self.cell.threshold} and pause <= 0",
            reset=one_spike.BID + reset,
            events=dict(one_spike.EVENTS),
            method="exact",
            name="excitatory",
            namespace=one_spike.namespace(),
        )
        group.run_on_event("fire", sent, when="resets")
        one_spike.judge(circuit, group)
        return group

    def time_constants(self) -> dict[str, float]:
        """Return the time constants in ms; those of the traces are longer than a step."""
        return {"membrane": 100.0}
