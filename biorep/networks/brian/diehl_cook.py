"""Diehl & Cook (2015): unsupervised learning of digits by STDP and lateral inhibition, in Brian2.

Excitatory neuron, with theta an adaptive part of the threshold::

    tau dv/dt = (v_rest - v) + g_e (0 mV - v) + g_i (-100 mV - v)
    dg_e/dt = -g_e / (1 ms),  dg_i/dt = -g_i / (2 ms)
    spike where v > -72 mV + theta:  v <- -65 mV, theta <- theta + 0.05 mV, at rest for 5 ms

Plasticity and homeostasis: `diehl_cook_base.py`; a sibling whose input moves the membrane: `diehl_cook_current.py`.

Diehl, P. U. & Cook, M. (2015). Unsupervised learning of digit recognition using spike-timing-dependent plasticity.
Front. Comput. Neurosci. 9:99. `models/diehl_cook_2015_mnist.yaml` has the settings of the authors' program.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from biorep.networks.brian.diehl_cook_base import Cell, DiehlCookBase
from biorep.networks.brian.lateral_inhibition import CONDUCTANCE

#: The membrane takes linearly implicit Euler steps, which are stable at any conductance; explicit ones of 1 ms are not.
CONDUCTANCE_CELL = Cell(
    equations="""
        v : volt
        pause : 1
        dge/dt = -ge/(1*ms) : 1
        """,
    membrane="""
        pause = clip(pause - 1, 0, inf)
        v = v + int(pause <= 0)*((v + {a}*((-65*mV) + ge*(0*mV) + gi*(-100*mV)))/(1 + {a}*(1 + ge + gi)) - v)
        """,
    threshold="v > theta - 72*mV",
    reset="v = -65*mV",
    arrive="ge_post += w",
    inhibition=CONDUCTANCE,
    rest={"v": "-65*mV", "pause": 0, "ge": 0},
)


class DiehlCook(DiehlCookBase):
    """Spiking winner-takes-all network of Diehl & Cook (2015)."""

    reference: ClassVar[str] = "Diehl & Cook (2015), Front. Comput. Neurosci. 9:99"
    versions: ClassVar[Mapping[str, int]] = {"diehl-cook": 1}

    kind: Literal["diehl-cook"] = "diehl-cook"

    @property
    def cell(self) -> Cell:
        """The excitatory neuron."""
        return CONDUCTANCE_CELL

    def time_constants(self) -> dict[str, float]:
        """Return the time constants in ms; those of the traces are longer."""
        return {"excitatory conductance": 1.0, "inhibitory conductance": 2.0}
