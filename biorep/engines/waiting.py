"""Groups whose neurons wait: in compiled C++ code, neurons that are not due and dark pixels cost nothing.

Brian2 asks each neuron of a group in each step whether it spikes. A neuron that knows the step of its next spike,
`due`, need not be asked before: the code of the threshold (`templates/threshold.cpp`) keeps, for each step of the slot,
a list of the neurons that are due then. The spikes are the same, in the same order. The other engines ask all neurons.
"""

from __future__ import annotations

from typing import Any

from biorep.engines.layout import Timing


def code_class(timing: Timing) -> Any:
    """Return the class of the code of a group that waits, for its argument `codeobj_class`; None: Brian2's own.

    The group has a variable `due`, the step of the slot in which a neuron spikes next; its reset sets it to a later
    one, and the onset of a slot sets it for all neurons. Its threshold must be false before the step that is due, and
    behind the stimulus period.
    """
    from brian2.devices.cpp_standalone.codeobject import CPPStandaloneCodeObject
    from brian2.devices.cpp_standalone.device import CPPStandaloneDevice
    from brian2.devices.device import get_device

    if type(get_device()) is not CPPStandaloneDevice:  # brian2cuda's is a subclass of it
        return None
    sizes = {"waiting_steps": timing.steps, "waiting_until": timing.steps_on}
    templater = CPPStandaloneCodeObject.templater.derive("biorep.engines", env_globals=sizes)
    return type("WaitingCodeObject", (CPPStandaloneCodeObject,), {"templater": templater})
