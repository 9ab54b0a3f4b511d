"""The compiled engine: equal to the simple ones, cached, repaired, with errors that can be acted on."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from circuits import chance, relay, relayed, showing
from scipy import stats

import biorep
from biorep.context import RunContext
from biorep.engines import Blueprint, cache, prepare, standalone
from biorep.engines.chunks import Feeder
from biorep.engines.layout import Layout, Timing
from biorep.errors import ConfigError, NumericalError, StoreError

SMALL = {
    "units": 6,
    "peak_rate": 300.0,
    "norm": 6.0,
    "stimulus_duration": 30.0,
    "rest_duration": 10.0,
    "min_spikes": 2,
    "max_tries": 3,
}
#: 101 seconds of slots whose length is no short binary number.
LAYOUT = Layout(Timing(1.0, 96.0, 5.0), 3, 3, 2, 1000, 2)


@pytest.fixture(scope="module")
def images():
    generator = np.random.default_rng(0)
    values = generator.random((14, 4, 4)) * 0.5
    return biorep.datasets.from_arrays(values, np.arange(14) % 2, class_names=["a", "b"])


#: Every setting that changes what is compiled; the first, of all the fast suite can have, has delays and two layers.
COMPILED = {
    "delay, layer, triplet": ("diehl-cook", {"inhibition": "layer", "rule": "triplet", "delay": 5.0}),
    "pool": ("diehl-cook", {}),
    "direct, target, reset": ("diehl-cook", {"inhibition": "direct", "rule": "target", "reset_between": True}),
    "carry over": ("diehl-cook", {"carry_over": True}),
    "one spike": ("diehl-cook-current", {"norm": 60.0, "inhibition_strength": 2.0}),
    "current, delay": ("diehl-cook-current", {"norm": 60.0, "one_spike": False, "delay": 5.0, "inhibition": "layer"}),
}


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=[pytest.mark.slow] if k else []) for k, c in enumerate(COMPILED)]
)
def test_compiled_and_simple_engines_agree(images, case):
    """Equal counts, state within 1e-10 relative over 14 images of 40 steps and up to 3 tries."""
    kind, settings = COMPILED[case]
    network = biorep.network(kind, **{**SMALL, **settings})
    results = {}
    for engine in ("runtime-numpy", "cpp_standalone"):
        context = RunContext(engine=engine)
        state = network.fit(images, seed=0, context=context)
        results[engine] = state, network.encode_layers(state, images, seed=1, context=context)
    (simple, slow), (compiled, fast) = results.values()
    assert tuple(slow) == tuple(fast) == network.layers(simple)
    for layer, answers in slow.items():
        np.testing.assert_array_equal(answers["response"], fast[layer]["response"])
        np.testing.assert_array_equal(answers["tries"], fast[layer]["tries"])
        assert answers["response"].values.sum() > 10
    for name in ("weights", "theta", *(["delay"] if network.delay else [])):
        np.testing.assert_allclose(compiled[name].values, simple[name].values, rtol=1e-10)


def test_second_build_comes_from_the_cache_and_a_damaged_binary_is_built_again(monkeypatch):
    first = prepare(Blueprint(LAYOUT, relay), "cpp_standalone")
    first.close()
    made = []
    monkeypatch.setattr(
        standalone, "_make", lambda *arguments, real=standalone._make: made.append(1) or real(*arguments)
    )
    again = prepare(Blueprint(LAYOUT, relay), "cpp_standalone")
    assert again.was_cached
    assert made == []
    assert not os.path.exists(first.project)
    again.binary.write_bytes(b"not a program")
    repaired = prepare(Blueprint(LAYOUT, relay), "cpp_standalone")
    assert not repaired.was_cached
    assert made == [1]
    assert "compiled simulations" in cache.describe()


def test_copies_on_the_compiled_engine_equal_the_simple_one():
    images = np.random.default_rng(1).random((6, 3)) * 0.3
    parts = [showing(images, order=order) for order in ([4, 0, 2], [5, 1, 3])]
    options = {"showings": parts, "min_spikes": 3, "max_tries": 2, "timing": LAYOUT.timing, "peak_rate": 50.0}
    slow = relayed(images, slots=4, **options)
    fast = relayed(images, engine="cpp_standalone", slots=LAYOUT.slots, **options)
    for a, b in zip(slow[0] + slow[1], fast[0] + fast[1], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_inputs_that_wait_spike_in_the_same_steps_and_in_the_same_order():
    """Compiled code keeps a list of the inputs that are due; the simple engine asks each of them in each step."""
    images = np.random.default_rng(2).random((12, 40)) * (np.random.default_rng(3).random((12, 40)) < 0.5)
    layout = Layout(Timing(1.0, 30.0, 10.0), 40, 40, 2, 5, 3)

    def watched(circuit):
        import brian2 as b2

        relay(circuit)
        circuit.add(b2.SpikeMonitor(next(obj for obj in circuit.objects if obj.name == "input"), name="sent"))

    sent = []
    for engine in ("runtime-numpy", "cpp_standalone"):
        program = prepare(Blueprint(layout, watched), engine)
        values = {"presenter.min_spikes": 300, "presenter.gain_step": 0.5, "input.peak_rate": 300.0}
        values = {name: np.full(program.size(name), value) for name, value in values.items()}
        showings = [showing(images, order=range(12)), showing(images, order=range(11, -1, -1))]
        feeder = Feeder(program, showings, values, watched=("sent.t", "sent.i"))
        progress = feeder.start({})
        while not feeder.finished(progress):
            progress, _ = feeder.chunk(progress)
            sent.append((np.round(feeder.seen["sent.t"] * 1e3).astype(int), feeder.seen["sent.i"]))
        program.close()
    halves = sent[: len(sent) // 2], sent[len(sent) // 2 :]
    for (steps, inputs), (other_steps, other_inputs) in zip(*halves, strict=True):
        np.testing.assert_array_equal(steps, other_steps)
        np.testing.assert_array_equal(inputs, other_inputs)
    assert sum(len(steps) for steps, _ in halves[0]) > 1000
    assert len(halves[0]) > 3


def test_a_slot_has_as_many_steps_after_minutes_as_at_the_start():
    """An input that spikes in each step counts the steps: two clocks must not drift apart, see `_align_clocks`."""
    images = np.ones((LAYOUT.slots, 3))
    options = {"slots": LAYOUT.slots, "timing": LAYOUT.timing, "max_tries": LAYOUT.max_tries, "peak_rate": 1000.0}
    counts, _, _ = relayed(images, engine="cpp_standalone", showings=[showing(images)] * LAYOUT.copies, **options)
    assert (np.array(counts) == LAYOUT.timing.steps_on).all()


@pytest.mark.slow
def test_engines_agree_statistically_where_brians_own_random_numbers_stay():
    """Counts of 4000 x 50 draws with p = 0.2, three tests at 1e-4 each: at most 3 false alarms in 10 000 seeds."""
    images = np.zeros((8, 500))
    counts = []
    for seed, engine in enumerate(("runtime-numpy", "cpp_standalone")):
        (found,), _, _ = relayed(images, engine=engine, slots=8, timing=Timing(1.0, 40.0, 10.0), build=chance(seed))
        counts.append(found.ravel())
    expected, bins = stats.binom(50, 0.2), np.arange(5, 16)
    tables = [np.array([(c <= 5).sum(), *((c == b).sum() for b in bins[1:-1]), (c >= 15).sum()]) for c in counts]
    shares = np.array([expected.cdf(5), *expected.pmf(bins[1:-1]), expected.sf(14)])
    for table in tables:
        assert stats.chisquare(table, shares * table.sum()).pvalue > 1e-4
    assert stats.chi2_contingency(np.stack(tables)).pvalue > 1e-4
    assert (counts[0] != counts[1]).any()


def test_progress_comes_from_inside_the_simulation():
    program = prepare(Blueprint(LAYOUT, relay), "cpp_standalone")
    shares = []
    program.run({"presenter.row": np.full(2, -1)}, [], shares.append)
    assert shares[0] == 0
    assert shares[-1] == 1
    with pytest.raises(KeyError, match="has no variable"):
        program.run({"relay.absent": np.zeros(1)}, [])
    with pytest.raises(NumericalError, match="file size .* does not match"):
        program.run({"relay.count": np.zeros(5)}, [])
    program.close()


def test_missing_compiler_says_what_to_install(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"no C\+\+ compiler.*Install g\+\+"):
        prepare(Blueprint(LAYOUT, relay), "cpp_standalone")


@pytest.mark.parametrize("size", [2**16, 2**19], ids=["sources", "objects"])
def test_a_full_disk_while_building_is_named_and_leaves_nothing_in_the_cache(small_disk, monkeypatch, size):
    import brian2  # noqa: F401  # its log goes to the folder for temporary files of the time of its import

    monkeypatch.setattr(standalone.tempfile, "tempdir", str(small_disk(size)))
    layout = Layout(Timing(1.0, 20.0, 5.0), 3, 3, 1, 5, 2)  # that no other test has compiled
    before = set(cache.programs_folder().glob("*/main"))
    with pytest.raises(StoreError, match=r"could not write its files in .*disk0.* MiB free.*set TMPDIR"):
        prepare(Blueprint(layout, relay), "cpp_standalone")
    assert set(cache.programs_folder().glob("*/main")) == before


def test_a_broken_equation_keeps_the_message_of_brian():
    def build(circuit):
        import brian2 as b2

        relay(circuit)
        circuit.add(b2.NeuronGroup(1, "dv/dt = 1 : volt", name="wrong"))

    with pytest.raises(ConfigError, match=r"Brian2 does not accept the network: .*'wrong.*because: .*units"):
        prepare(Blueprint(LAYOUT, build), "runtime-numpy").run({}, [])


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs /proc")
def test_a_killed_parent_leaves_no_simulation_behind(tmp_path):
    """The binary writes its progress each second; without a reader the write ends it."""
    script = textwrap.dedent("""
        import sys, numpy as np
        sys.path.insert(0, sys.argv[1])
        from circuits import relay
        from biorep.engines import Blueprint, prepare
        from biorep.engines.layout import Layout, Timing
        program = prepare(Blueprint(Layout(Timing(0.001, 20000.0, 0.0), 3, 3, 1, 100, 1), relay), "cpp_standalone")
        print(program.project, flush=True)
        program.run({"presenter.row": np.full(1, -1)}, [], lambda share: print(share, flush=True))
    """)
    here = os.path.dirname(__file__)
    process = subprocess.Popen([sys.executable, "-c", script, here], stdout=subprocess.PIPE, text=True)
    project = process.stdout.readline().strip()
    assert process.stdout.readline().startswith("0")
    assert _simulations(project)
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 20
    while _simulations(project) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not _simulations(project)


def _simulations(project):
    """Return the processes whose command line names the project."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                if project.encode() in file.read():
                    found.append(name)
        except OSError:
            pass
    return found
