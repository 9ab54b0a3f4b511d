"""Lateral inhibition of the Diehl-Cook network, three ways: pool, direct, layer.

``direct``: a spike of one excitatory neuron inhibits all others. ``pool``: the same through one neuron per copy, which
adds up all spikes; each neuron takes its own part off again, so that N connections do the work of N (N - 1).
``layer``: as in the original, each excitatory neuron drives an inhibitory one of its own, which inhibits all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from biorep.engines.presentation import Circuit

if TYPE_CHECKING:
    from biorep.networks.diehl_cook import DiehlCook


def connect(network: DiehlCook, circuit: Circuit, excitatory: Any, event: str) -> None:
    """Add the inhibition of a network to its circuit.

    Parameters
    ----------
    network : DiehlCook
    circuit : Circuit
    excitatory : NeuronGroup
        Of all copies, with `inhibition_strength`, and `gi`, or with `inhibition: pool` the linked `gpool`.
    event : str
        The event by which an excitatory neuron reaches others.
    """
    copies, units = circuit.layout.copies, network.units
    others = "k for k in range(N_pre) if k != i"
    if copies > 1:
        others = f"k for k in range((i//{units})*{units}, (i//{units} + 1)*{units}) if k != i"
    if network.inhibition == "pool":
        _pool(circuit, excitatory, event, units, conducts=network.synapse == "conductance")
    elif network.inhibition == "direct":
        _direct(circuit, excitatory, event, others)
    else:
        _layer(circuit, excitatory, event, others, share=network.step / 10)


def _pool(circuit: Circuit, excitatory: Any, event: str, units: int, *, conducts: bool) -> None:
    import brian2 as b2

    model = "dg/dt = -g/(2*ms) : 1" if conducts else "g : 1"
    pool = b2.NeuronGroup(circuit.layout.copies, model, method="exact", name="pool")
    to_pool = b2.Synapses(excitatory, pool, on_pre="g_post += inhibition_strength_pre", on_event=event, name="to_pool")
    to_pool.connect(j=f"i // {units}")
    excitatory.gpool = b2.linked_var(pool, "g", index=circuit.copy_of(units))
    if not conducts:
        pool.run_regularly("g = 0", when="groups", order=0, name="pool_clear")
    circuit.add(pool, to_pool)
    circuit.keep("pool.g")


def _direct(circuit: Circuit, excitatory: Any, event: str, others: str) -> None:
    import brian2 as b2

    lateral = b2.Synapses(
        excitatory, excitatory, on_pre="gi_post += inhibition_strength_post", on_event=event, name="lateral"
    )
    lateral.connect(j=others)
    circuit.add(lateral)


def _layer(circuit: Circuit, excitatory: Any, event: str, others: str, *, share: float) -> None:
    """Add the original layer; `share` is the time step in membrane time constants of its neurons, 10 ms."""
    import brian2 as b2

    inhibitory = b2.NeuronGroup(
        len(excitatory),
        "v : volt\npause : 1\ndge/dt = -ge/(1*ms) : 1",
        threshold="v > -40*mV and pause <= 0",
        reset=f"v = -45*mV; pause = {round(0.2 / share)}",
        method="exact",
        name="inhibitory",
    )
    inhibitory.run_regularly(
        f"""pause = clip(pause - 1, 0, inf)
            v = v + int(pause <= 0)*((v + {share}*(-60*mV + ge*(0*mV)))/(1 + {share}*(1 + ge)) - v)""",
        when="groups",
        order=-1,
        name="inhibitory_membrane",
    )
    drive = b2.Synapses(excitatory, inhibitory, on_pre="ge_post += 10.4", on_event=event, name="drive")
    drive.connect(j="i")
    lateral = b2.Synapses(inhibitory, excitatory, on_pre="gi_post += inhibition_strength_post", name="lateral")
    lateral.connect(j=others)
    circuit.add(inhibitory, drive, lateral)
    circuit.keep("inhibitory.v", "inhibitory.pause", "inhibitory.ge")
