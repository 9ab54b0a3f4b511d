"""Simulations treat subnormal numbers as 0, on every engine that can: the mode is asserted, not a time."""

from __future__ import annotations

import platform

import numpy as np
import pytest
from circuits import relay

from biorep.engines import Blueprint, prepare
from biorep.engines.layout import Layout, Timing
from biorep.engines.subnormals import flushed, is_flushed

LAYOUT = Layout(Timing(1.0, 20.0, 5.0), 3, 3, 1, 4, 2)

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64", "aarch64", "arm64"), reason="no such mode on this processor"
)


def probe(circuit):
    """Beside the relay, a neuron that multiplies (a subnormal result) and one that only reads a subnormal."""
    import brian2 as b2

    relay(circuit)
    group = b2.NeuronGroup(1, "tiny : 1\nresult : 1\ngiven : 1\nread : 1", name="probe")
    group.run_regularly("result = tiny*1e-10; read = given*1e5", when="groups")
    circuit.add(group)


@pytest.mark.parametrize("engine", ["runtime-numpy", "cpp_standalone"])
def test_subnormal_numbers_are_zero(engine):
    program = prepare(Blueprint(LAYOUT, probe), engine)
    start = {"presenter.row": np.full(1, -1), "probe.tiny": np.full(1, 1e-300), "probe.given": np.full(1, 1e-310)}
    found = program.run(start, ["probe.result", "probe.read", "probe.tiny"])
    program.close()
    assert (found["probe.result"], found["probe.read"], found["probe.tiny"]) == (0, 0, 1e-300)


def test_the_mode_of_the_caller_comes_back():
    assert not is_flushed()
    with flushed():
        assert is_flushed()
        with flushed():
            pass
        assert is_flushed()
    assert not is_flushed()
