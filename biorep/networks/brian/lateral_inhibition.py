"""Lateral inhibition of the Diehl-Cook networks, three ways: pool, direct, layer.

``direct``: a spike of one excitatory neuron inhibits all others. ``pool``: the same through one neuron per copy, which
adds up all spikes; each neuron takes its own part off again, so that N connections do the work of N (N - 1).
``layer``: as in the original, each excitatory neuron drives an inhibitory one of its own, which inhibits all others.
"""

from __future__ import annotations

from typing import Any, Literal

from biorep.engines.presentation import Circuit
from biorep.words import checked

Inhibition = Literal["pool", "direct", "layer"]

#: The inhibition g that a neuron receives: as a conductance that decays, or as a pulse that the membrane's step clears.
CONDUCTANCE = "d{g}/dt = -{g}/(2*ms) : 1"
PULSE = "{g} : 1"

#: A neuron of the inhibitory layer: tau = 10 ms, excitation with 1 ms towards 0 mV; at rest for 2 ms after a spike.
INHIBITORY = """
    v : volt
    pause : 1
    dge/dt = -ge/(1*ms) : 1
    """
#: Its membrane, linearly implicit in v; a = dt / tau.
INHIBITORY_MEMBRANE = """
    pause = clip(pause - 1, 0, inf)
    v = v + int(pause <= 0)*((v + {a}*(-60*mV + ge*(0*mV)))/(1 + {a}*(1 + ge)) - v)
    """


@checked
def received(kind: Inhibition, form: str) -> tuple[str, str, str]:
    """Return what an excitatory neuron needs to be inhibited.

    Parameters
    ----------
    kind : {"pool", "direct", "layer"}
    form : str
        `CONDUCTANCE` or `PULSE`.

    Returns
    -------
    equations : str
        With ``gi``, the inhibition.
    own : str
        The variable that lasts: what others, or with a pool the neuron itself, have added.
    sent : str
        What a spike of the neuron does to itself.
    """
    if kind == "pool":
        return (
            f"gpool : 1 (linked)\n{form.format(g='gself')}\ngi = gpool - gself : 1",
            "gself",
            "gself += inhibition_strength",
        )
    return form.format(g="gi"), "gi", ""


@checked
def connect(
    circuit: Circuit, excitatory: Any, kind: Inhibition, *, form: str, event: str, dt: float, record: bool
) -> None:
    """Add the inhibition of a network to its circuit.

    Parameters
    ----------
    circuit : Circuit
    excitatory : NeuronGroup
        Of all copies, with `inhibition_strength` and the equations of `received`.
    kind : {"pool", "direct", "layer"}
    form : str
        `CONDUCTANCE` or `PULSE`.
    event : str
        The event by which an excitatory neuron reaches others.
    dt : float
        Time step, ms.
    record : bool
        Whether an inhibitory layer is recorded.
    """
    if kind == "pool":
        _pool(circuit, excitatory, form, event)
    elif kind == "direct":
        _direct(circuit, excitatory, event)
    else:
        _layer(circuit, excitatory, event, dt, record)


def _pool(circuit: Circuit, excitatory: Any, form: str, event: str) -> None:
    import brian2 as b2

    pool = b2.NeuronGroup(circuit.layout.copies, form.format(g="g"), method="exact", name="pool")
    to_pool = b2.Synapses(excitatory, pool, on_pre="g_post += inhibition_strength_pre", on_event=event, name="to_pool")
    circuit.connect_one(to_pool)
    circuit.link(excitatory, "gpool", pool, "g")
    if form == PULSE:
        # After the membrane's step, which has read it and comes with order -1.
        pool.run_regularly("g = 0", when="groups", order=0, name="pool_clear")
    circuit.add(pool, to_pool)
    circuit.keep("pool.g", rest=0)


def _direct(circuit: Circuit, excitatory: Any, event: str) -> None:
    import brian2 as b2

    lateral = b2.Synapses(
        excitatory, excitatory, on_pre="gi_post += inhibition_strength_post", on_event=event, name="lateral"
    )
    circuit.connect_others(lateral)
    circuit.add(lateral)


def _layer(circuit: Circuit, excitatory: Any, event: str, dt: float, record: bool) -> None:
    import brian2 as b2

    inhibitory = b2.NeuronGroup(
        len(excitatory),
        INHIBITORY + ("count : 1\n" if record else ""),
        threshold="v > -40*mV and pause <= 0",
        reset=f"v = -45*mV; pause = {round(2 / dt)}" + ("; count += 1" if record else ""),
        method="exact",
        name="inhibitory",
    )
    # It reads the conductance before that one's own step of the same time step.
    inhibitory.run_regularly(INHIBITORY_MEMBRANE.format(a=dt / 10), when="groups", order=-1, name="inhibitory_membrane")
    drive = b2.Synapses(excitatory, inhibitory, on_pre="ge_post += 10.4", on_event=event, name="drive")
    drive.connect(j="i")
    lateral = b2.Synapses(inhibitory, excitatory, on_pre="gi_post += inhibition_strength_post", name="lateral")
    circuit.connect_others(lateral)
    circuit.add(inhibitory, drive, lateral)
    circuit.keep("inhibitory.v", rest="-60*mV")
    circuit.keep("inhibitory.pause", "inhibitory.ge", rest=0)
    if record:
        circuit.tally(inhibitory)
