"""At most one spike per time step and copy: of the neurons that cross their threshold, one sends its spike.

BindsNET draws it at random among them; here it is the most depolarised one, and of equal ones the first in an order
that is drawn for each showing. All that cross are reset and adapt. The choice takes a time step: the event ``fire`` of
the winner comes one step after its threshold crossing. It is sequential by nature, so it runs on the CPU engines alone.
"""

from __future__ import annotations

from typing import Any

from biorep.engines.counter import function
from biorep.engines.presentation import Circuit

MODEL = """
    crossed : 1
    excess : volt
    tie : volt
    bid : volt
    best : volt (linked)
    showing : integer (linked)
    key_low : integer (linked)
    key_high : integer (linked)
    """
#: The event by which the winner reaches its synapses, its traces and its counter.
EVENTS = {"fire": "crossed > 0 and bid >= best"}
#: Goes before the group's own reset, which changes v and theta.
BID = "bid = excess; crossed = 1; "
#: Runs after the step of the membrane: synapses may move v between the threshold and the reset.
EXCESS = "excess = v - theta + tie"
#: Below any membrane.
LOWEST = "-1000*volt"
#: A draw below this many mV decides between equal neurons; the smallest difference that counts.
TIE = 1e-9


def namespace() -> dict[str, Any]:
    """Return what the group's equations need beside variables."""
    return {"uniform": function()}


def judge(circuit: Circuit, group: Any) -> None:
    """Add the neuron that knows the highest bid of each copy.

    Parameters
    ----------
    circuit : Circuit
    group : NeuronGroup
        With `MODEL` among its equations, `EVENTS` as events, `BID` before its reset, and `namespace`.
    """
    import brian2 as b2

    # It warns that the order of the bids might matter; the largest of them does not depend on it.
    b2.BrianLogger.suppress_hierarchy("brian2.codegen.generators.base")
    copies, inputs = circuit.layout.copies, circuit.layout.inputs
    units = len(group) // copies
    highest = b2.NeuronGroup(copies, "best : volt", name="judge")
    bids = b2.Synapses(group, highest, on_pre="best_post = clip(best_post, excess_pre, 1000*volt)", name="bids")
    circuit.connect_one(bids)
    group.set_event_schedule("fire", when="thresholds")  # a custom event would come after them
    circuit.link(group, "best", highest)
    circuit.link(group, "showing", circuit.presenter, "tries")
    for name in ("key_low", "key_high"):
        circuit.link(group, name, circuit.presenter)
    # Indices behind those of the inputs: draws that no input spike uses.
    draw = f"uniform({inputs} + i % {units}, showing, key_low, key_high)"
    circuit.at_onset(group, f"tie = {TIE!r}*mV*{draw}", name="ties")
    group.run_regularly(EXCESS, when="groups", order=0, name="excess")
    # Judged in the step after the crossing, then forgotten before the next bids arrive.
    highest.run_regularly(f"best = {LOWEST}", when="after_thresholds", name="judge_clear")
    group.run_regularly("crossed = 0", when="after_thresholds", name="crossed_clear")
    circuit.add(highest, bids)
    circuit.keep(f"{group.name}.crossed", rest=0)
    circuit.keep(f"{group.name}.bid", rest="0*volt")
    circuit.keep("judge.best", rest=LOWEST)
    circuit.renew(f"{group.name}.tie", f"{group.name}.excess")
    circuit.need_cpu("one spike per time step")
