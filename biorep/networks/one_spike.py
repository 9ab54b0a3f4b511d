"""At most one spike per time step and copy: of the neurons that cross their threshold, one sends its spike.

BindsNET draws it at random among them; here it is the most depolarised one, which needs no draw. All that cross are
reset and adapt. The choice takes a time step: the event ``fire`` of the winner comes one step after its threshold
crossing. It is sequential by nature, so it runs on the CPU engines alone.
"""

from __future__ import annotations

from typing import Any

from biorep.engines.presentation import Circuit

MODEL = """
    crossed : 1
    excess : volt
    bid : volt
    best : volt (linked)
    """
#: The event by which the winner reaches its synapses, its traces and its counter.
EVENTS = {"fire": "crossed > 0 and bid >= best"}
#: Goes before the group's own reset, which changes v and theta.
BID = "bid = excess; crossed = 1; "
#: Goes behind the step of the membrane: synapses may move v between the threshold and the reset.
EXCESS = "\nexcess = v - theta"
#: Below any membrane.
LOWEST = "(-1000*volt)"


def judge(circuit: Circuit, group: Any, units: int) -> None:
    """Add the neuron that knows the highest bid of each copy.

    Parameters
    ----------
    circuit : Circuit
    group : NeuronGroup
        With `MODEL` among its equations, `EVENTS` as events and `BID` before its reset.
    units : int
        Neurons per copy.
    """
    import brian2 as b2

    # It warns that the order of the bids might matter; the largest of them does not depend on it.
    b2.BrianLogger.suppress_hierarchy("brian2.codegen.generators.base")
    highest = b2.NeuronGroup(circuit.layout.copies, "best : volt", name="judge")
    bids = b2.Synapses(group, highest, on_pre="best_post = clip(best_post, excess_pre, 1000*volt)", name="bids")
    bids.connect(j=f"i // {units}")
    group.set_event_schedule("fire", when="thresholds")  # a custom event would come after them
    group.best = b2.linked_var(highest, "best", index=circuit.copy_of(units))
    # Judged in the step after the crossing, then forgotten before the next bids arrive.
    highest.run_regularly(f"best = {LOWEST}", when="after_thresholds", name="judge_clear")
    group.run_regularly("crossed = 0", when="after_thresholds", name="crossed_clear")
    circuit.add(highest, bids)
    circuit.keep(f"{group.name}.crossed", f"{group.name}.bid", "judge.best")
