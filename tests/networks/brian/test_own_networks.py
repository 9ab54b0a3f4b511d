"""Networks of a user's own: what differs from simulation to simulation and every mistake is said in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import biorep
from biorep import datasets
from biorep.context import RunContext
from biorep.errors import ConfigError
from biorep.networks.brian.recording import record

NUMPY = RunContext(engine="runtime-numpy")
EXAMPLE = (Path(__file__).parents[3] / "models" / "own_network.py").read_text()
TALLY, CLASS, MEMBRANE = "circuit.tally(cells)", "class LeakyWinners", "dv/dt = -v/(50*ms) : 1"
CONNECT = "circuit.connect_all(forward)"


@pytest.fixture(scope="module")
def images():
    """Six images of nine pixels."""
    return datasets.from_arrays(np.random.default_rng(0).random((6, 3, 3)), np.arange(6) % 2)


@pytest.fixture
def own(tmp_path):
    """Return a function that gives the worked example with some of its text replaced."""

    def network(*changes, **settings):
        text = EXAMPLE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "mine.py").write_text(text)
        kind = f"{tmp_path / 'mine.py'}:LeakyWinners"
        return biorep.network(kind, **{"units": 4, "stimulus_duration": 20.0, "peak_rate": 400.0} | settings)

    return network


def line_of(change, text=EXAMPLE):
    """Return the line of the example on which a replaced text begins."""
    return text[: text.index(change)].count("\n") + 1


# ------------------------------------------------------------------------- what differs from simulation to simulation

DRAWS = r"Draw what is fixed with numpy.*biorep\.rng\.stream\(seed, 'weights'\)"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ([(TALLY, f"cells.v = 'rand()'; {TALLY}")], r"cells\.v = 'rand\(\)' draws Brian2's own.*" + DRAWS),
        ([(TALLY, f"cells.theta['rand() < 0.5'] = 1; {TALLY}")], r"cells\.theta = 1 draws Brian2's own"),
        ([(TALLY, f"forward.delay = 'rand()*ms'; {TALLY}")], r"forward_pre\.delay = .* draws Brian2's own"),
        ([(TALLY, f"cells.v = np.random.random(4); {TALLY}")], r"'cells\.v' is another one each time.*" + DRAWS),
        ([(TALLY, f"forward.delay = np.random.random(36)*b2.ms; {TALLY}")], r"'forward\.delay' is another one"),
        (
            [(CONNECT, "forward.connect(i=np.arange(4), j=np.random.permutation(4))")],
            r"the connections of 'forward' is another one",
        ),
        ([(MEMBRANE, "dv/dt = (z - v)/(50*ms) : 1"), ("source =", "z = np.random.random(); source =")], "'z', a const"),
        ([('"v_post += w"', 'f"v_post += w*{np.random.random()}"')], "the code of 'forward' is another one"),
        ([(CONNECT, "forward.connect(j='k for k in sample(N_post, p=0.5)')")], r"connect\(\) of 'forward' draws"),
        ([("v_post += w", "v_post += w*f()"), ("source =", "f = b2.BinomialFunction(1, 0.5); source =")], "draws B"),
        ([(MEMBRANE, "dv/dt = (stim(t) - v)/(50*ms) : 1"), ("source =", "stim = b2.TimedArray([1], b2.ms); source =")],
         r"'cells' reads the time .*Write \(timestep\(t, dt\) % 20\)\*dt for the time since the onset"),
        ([('"v > theta"', '"v > theta and t > 3*ms"')], r"mine\.py:\d+: .*'cells' reads the time"),
        ([("v = 0; count", "v = 0*t_in_timesteps; count")], "'cells' reads the time"),
        ([(TALLY, f"cells.run_regularly('v += 1*int(t < 5*ms)'); {TALLY}")], "'cells' reads the time"),
        ([(TALLY, f"cells.run_regularly('v += 1', dt=7*b2.ms); {TALLY}")], "ticks every 7 ms. A slot of 20 ms"),
        ([(TALLY, f"cells.run_at('v += 1', times=[5]*b2.ms); {TALLY}")], "run_at, whose times start with each chunk"),
        ([(TALLY, f"circuit.add(b2.NetworkOperation(print)); {TALLY}")], "runs Python in each step"),
        ([(TALLY, f"circuit.add(b2.PoissonInput(cells, 'v', 1, 9*b2.Hz, 1)); {TALLY}")], "clock of the PoissonInput"),
        ([(MEMBRANE, MEMBRANE + "\\nb = rand() : 1 (constant over dt)")], r"'cells' draws Brian2's own.*\(b = rand"),
        ([(TALLY, f"b2.defaultclock.dt = 0.1*b2.ms; {TALLY}")], "has changed defaultclock.dt"),
    ],
)  # fmt: skip
def test_what_each_simulation_would_have_otherwise_is_refused(own, images, changes, match):
    with pytest.raises(ConfigError, match=match):
        own(*changes).fit(images, seed=0, context=NUMPY)


def test_the_ways_that_messages_name_work_as_they_are_printed(own, images):
    """Fixed draws in `build` and in `initial`, a table over the time of the slot, and refractoriness."""
    pairs = "np.nonzero(rng.stream(0, 'connections').random((9, 4)) < 0.7)"
    network = own(
        (CONNECT, f"circuit.connect_pairs(forward, *{pairs})"),
        ("random(inputs * self.units)", f"random(len({pairs}[0]))"),
        ("weights = arrays", "return xr.Dataset({k.replace('.', '_'): (k, v) for k, v in arrays.items()}); arrays"),
        ('state["weights"].values.T.ravel()', 'state["forward_w"].values'),
        ('state["theta"]', 'state["cells_theta"]'),
        (MEMBRANE, "dv/dt = (stim((timestep(t, dt) % 20)*dt) - v)/(50*ms) : 1 (unless refractory)"),
        ('method="exact"', 'method="euler", refractory=3*b2.ms'),
        ("source =", "stim = b2.TimedArray([0, 2, 0], dt=5*b2.ms); source ="),
        (TALLY, f"cells.run_regularly('v += 0.1*int(timestep(t, dt) % 20 == 5)'); {TALLY}"),
    )  # fmt: skip
    state = network.fit(images, seed=0, context=NUMPY)
    one = network.encode(state, images, context=NUMPY)["response"]
    two = network.encode(state, images.isel(presentation=[3, 0, 5, 1, 2, 4]), copies=2, context=NUMPY)["response"]
    np.testing.assert_array_equal(one[[3, 0, 5, 1, 2, 4]], two)
    assert one.sum() > 6


@pytest.mark.parametrize(
    "changes",
    [
        [("v_post += w\"", "v_post += w\", delay=6*b2.ms")],
        [("v_post += w\"", "v_post += w*dice(w)\", namespace={'dice': dice}"), (CLASS, "DICE" + CLASS)],
        [("w : 1\"", "w : 1\\ndy/dt = (2 - y)/(9*ms) : 1 (event-driven)\""), ("v_post += w", "v_post += w*y; y = 0"),
         ('"cells.v", rest=0)', '"cells.v", rest=0); circuit.keep("forward.y", rest=0.5)')],
    ],
    ids=["spikes under way", "a function of the user's that draws", "a variable that ages while it is at rest"],
)  # fmt: skip
def test_an_answer_that_depends_on_the_image_before_is_refused(own, images, changes):
    dice = "import brian2 as b2\n@b2.implementation('numpy', discard_units=True)\n@b2.check_units(x=1, result=1)\n"
    dice += "def dice(x):\n    return np.random.random(len(np.atleast_1d(x)))\n\n"
    network = own(*((old, new.replace("DICE", dice)) for old, new in changes))
    state = network.fit(images, seed=0, context=NUMPY)
    match = "of 5 images were answered otherwise when they were shown again.*def resets"
    with pytest.raises(ConfigError, match=match):
        network.encode(state, images, context=NUMPY)


CARRIES = ("    def parameters", "    def resets(self, learn):\n        return learn\n\n    def parameters")


def test_a_network_may_say_that_it_carries_over_unless_brian_counts_its_pauses(own, images):
    network = own(CARRIES)
    state = network.fit(images, seed=0, context=NUMPY)
    one = network.encode(state, images, context=NUMPY)["response"].values
    back = network.encode(state, images.isel(presentation=slice(None, None, -1)), context=NUMPY)["response"].values
    assert (one[::-1] != back).any()
    tired = own(CARRIES, ('method="exact"', 'method="exact", refractory=3*b2.ms'))
    with pytest.raises(ConfigError, match="'cells' has `refractory`, which counts from the start of each chunk"):
        tired.encode(state, images, context=NUMPY)


def test_counts_do_not_depend_on_the_order_of_the_images(own, images):
    network = own()
    state = network.fit(images, seed=0, context=NUMPY)
    counts = network.encode(state, images, context=NUMPY)["response"].values

    @settings(max_examples=4, deadline=None, derandomize=True)
    @given(st.lists(st.integers(0, 5), min_size=1, max_size=8))
    def any_order(order):
        found = network.encode(state, images.isel(presentation=order), context=NUMPY)["response"].values
        np.testing.assert_array_equal(found, counts[order])

    any_order()
    assert counts.sum() > 6


# ---------------------------------------------------------------------------------------------- constants and mistakes


def test_constants_around_an_equation_are_found_as_they_were_when_it_was_made(own, images):
    """Of the module, of `build`, of a function that it calls; in equations, regular code, and values at rest."""
    plain = own(('cells.v", rest=0', 'cells.v", rest=0.25'), (TALLY, f"cells.run_regularly('v *= 0.9'); {TALLY}"))
    named = own(
        (CLASS, f"from brian2 import ms\n\ntau = 50*ms\n\n\n{CLASS}"),
        (MEMBRANE, "dv/dt = -v/tau : 1"),
        ("source =", "El, unit = 0.25, 1; source ="),
        ("v_post += w", "v_post += unit*w"),
        ('cells.v", rest=0', "cells.v\", rest='El'"),
        (TALLY, f"unit = 7; self.leak(cells); {TALLY}"),
        (
            "    def parameters",
            "    def leak(self, g):\n        k = 0.9\n        g.run_regularly('v *= k')\n\n    def parameters",
        ),
    )
    one, two = (network.fit(images, seed=0, context=NUMPY) for network in (plain, named))
    np.testing.assert_array_equal(one["weights"], two["weights"])
    assert (one["weights"] != own().fit(images, seed=0, context=NUMPY)["weights"]).any()


THETA, W = '"cells.theta": np.full(self.units, 3.0)', '"forward.w": 0.2 + 0.1 * draws'


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('threshold="v > theta",', "", r"mine\.py:\d+: ValueError: Unknown event 'spike'. Did you forget.*threshold"),
        ("v = 0; count += 1", "v = 0", r"mine\.py:\d+: .*nothing increases 'cells\.count'.*say count \+= 1"),
        ("count : 1\"", "\"", r"'cells' has no variable 'count'; declare 'count : 1'"),
        (', "cells.rate": self.learning_rate', "", r"mine\.py:\d+: .*nobody gives the parameter 'cells\.rate' a value"),
        (', "input.tau_x": 0.02', "", r"nobody gives the parameter 'input\.tau_x' a value"),
        ('"cells.rise"', '"cells.rice"', r"'cells\.rice', which is no variable.*did you mean 'cells\.rise'"),
        ('"input.tau_x": 0.02', '"input.tau_x": 0.02*volt', r"gives 'input\.tau_x' the value 20\. mV; its unit is s"),
        ('"input.tau_x": 0.02', '"input.tau_x": "20*ms"', r"the value '20\*ms'; write numbers in SI units"),
        ("return values |", "values |", r"mine\.py:\d+: LeakyWinners\.parameters: it returned NoneType; it must"),
        (W, '"forward.w": draws[1:]', r"initial gives 'forward\.w' the shape \(35,\); it must be one array of 36"),
        (THETA, '"cells.theta": np.full(4, np.nan)', r"initial gives 'cells\.theta' NaN"),
        (THETA, '"cells.rise": np.ones(4)', r"'cells\.rise', which would be gone after the first chunk"),
        (", " + THETA, "", r"circuit\.keep\('cells\.theta', learnt=True\), but initial does not return"),
        ("        return state\n", "", r"LeakyWinners\.learnt: it returned NoneType; it must return the state"),
        (TALLY, "oops", r"mine\.py:LINE: NameError: name 'oops' is not defined"),
        ("return {" + W, "return {}[0], {" + W, r"mine\.py:LINE: KeyError: 0"),
        ("circuit: Circuit, learn: bool", "circuit", r"mine\.py:\d+: LeakyWinners\.build: TypeError: .*takes 2"),
        ('name="cells"', 'name="input"', r"mine\.py:\d+: the name 'input' is taken"),
        ('name="lateral"', 'name="images"', r"mine\.py:\d+: the name 'images' is taken"),
        ('name="lateral"', 'name="forward"', r"mine\.py:\d+: two objects are called 'forward'"),
        ("(cells, lateral, forward)", "(cells, forward)", r"mine\.py:\d+: Synapses 'lateral' is not part of"),
        ("(cells, lateral, forward)", "(cells, [forward])", r"circuit\.add takes Brian2 objects"),
        ("count : 1\"", "count : 1\nN : 1\"", r"mine\.py:\d+: SyntaxError: 'N' has a special meaning"),
        ("50*ms)", "50*ms", r"mine\.py:\d+: SyntaxError: '\(' was never closed: -v/\(50\*ms"),
        ("v = 0; ", "v = 0*mV; ", r"'cells_spike_resetter', made at .*mine\.py:\d+; because: .* \(unit is V\)"),
        ('"v_post += w"', '"v_post += ww"', r"'forward_pre', made at .*mine\.py:\d+; because: .*\"ww\" could not be"),
        ("theta *= 1 - fall", "theta *= 1 - fall*mV", r"'cells_onset', made at .*mine\.py:LINE; because"),
        ("cells.v\", rest=0", "cells.v\", rest='0*mV'", r"rest='0\*mV'\): the unit of 'cells\.v' is 1"),
        ("cells.v\", rest=0", "cells.v\", rest='Ell'", r"rest='Ell'\): name 'Ell' is not defined"),
        ("v = 0; count", "v = 0; rate += 1; count", r"mine\.py:\d+: .*'cells\.rate' is flagged '\(constant\)'"),
        ('"v_post += w"', '"v_post += w; rate_post += 1"', r"'cells\.rate' is flagged '\(constant\)', and code"),
        ('"cells.v", rest', '"cells.vv", rest', r"declares 'cells\.vv', which is no variable.*did you mean 'cells\.v'"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_network_is_said_in_words_with_its_place(own, images, old, new, match):
    match = match.replace("LINE", str(line_of(old)))
    network = own((old, new.replace("0.02*volt", "0.02 * __import__('brian2').volt")))
    with pytest.raises(ConfigError, match=match):
        network.fit(images, seed=0, context=NUMPY)


def test_synapses_between_copies_are_refused(own, images):
    network = own(("circuit.connect_others(lateral)", "lateral.connect(condition='i != j')"))
    state = network.fit(images, seed=0, context=NUMPY)
    network.encode(state, images, context=NUMPY)
    with pytest.raises(ConfigError, match=r"mine\.py:\d+: .*'lateral' connects neurons of different copies"):
        network.encode(state, images, copies=2, context=NUMPY)


def test_a_frozen_network_gets_all_that_was_learnt(own, images):
    state = own().fit(images, seed=0, context=NUMPY)
    with pytest.raises(ConfigError, match=r"keep\('cells\.theta', learnt=True\), but frozen does not return"):
        own((', "cells.theta": state["theta"].values', "")).encode(state, images, context=NUMPY)


def test_methods_that_are_missing_are_named(own):
    with pytest.raises(ConfigError, match=r"mine\.py defines 'LeakyWinners' without its methods build, frozen"):
        own(("def frozen", "def froozen"), ("def build", "def buld"))


def test_a_network_file_is_found_beside_its_recipe_with_modules_and_says_its_mistakes(tmp_path, monkeypatch):
    """In a process of its own, from another folder: one line, no traceback, none of Brian2's warnings."""
    import subprocess
    import sys

    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "__init__.py").write_text("from .scale import strength\n")
    (tmp_path / "tools" / "scale.py").write_text("def strength():\n    return 1/0\n")
    text = "from tools import strength\n" + EXAMPLE.split('"""', 2)[2].replace("from __future__ import annotations", "")
    (tmp_path / "mine.py").write_text(text.replace(TALLY, f"strength(); {TALLY}"))
    recipe = (
        "network: {kind: 'mine.py:LeakyWinners', units: 4}\n  readout: null\n  spectrum: null\n  robustness: null\n"
    )
    (tmp_path / "r.yaml").write_text(f"name: r\nrecipe:\n  dataset: {{name: digits, limit: 20}}\n  {recipe}")
    command = [sys.executable, "-m", "biorep.cli", "run", str(tmp_path / "r.yaml"), "--engine", "runtime-numpy"]
    made = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, cwd="/", check=False
    )
    assert made.returncode == 2
    assert "scale.py:2: ZeroDivisionError: division by zero" in made.stderr
    assert "Traceback" not in made.stderr
    assert "WARNING" not in made.stderr


@pytest.mark.slow
def test_a_standalone_project_that_is_open_in_the_session_stays_as_it_is(own, images, tmp_path):
    """The lines that Brian2 writes for it are those that it writes without us; its time step is set once more."""
    import subprocess
    import sys
    import textwrap

    (tmp_path / "mine.py").write_text(EXAMPLE)
    script = textwrap.dedent("""
        import sys, numpy as np, brian2 as b2, biorep
        from biorep import datasets
        from biorep.context import RunContext
        from biorep.engines import standalone
        b2.set_device("cpp_standalone", build_on_run=False)
        b2.defaultclock.dt = 0.2*b2.ms
        cells = b2.NeuronGroup(3, "dv/dt = (2 - v)/(5*ms) : 1", threshold="v > 1", reset="v = 0", method="exact")
        cells.v = [0.1, 0.2, 0.3]
        seen = b2.SpikeMonitor(cells, name="seen")
        net = b2.Network(cells, seen)
        net.run(5*b2.ms)
        if sys.argv[2] == "with":
            standalone._make = lambda project, jobs: 1/0
            images = datasets.from_arrays(np.random.default_rng(0).random((2, 3, 3)), [0, 1])
            network = biorep.network(sys.argv[1] + "/mine.py:LeakyWinners", units=3, stimulus_duration=5.0)
            network.fit(images, seed=0, context=RunContext(engine="runtime-numpy"))
            try:
                network.fit(images, seed=0, context=RunContext(engine="cpp_standalone"))
            except ZeroDivisionError:
                pass
        net.run(5*b2.ms)
        b2.device.build(directory=sys.argv[1] + "/" + sys.argv[2], compile=False, run=False)
    """)
    for how in ("with", "without"):
        subprocess.run([sys.executable, "-c", script, str(tmp_path), how], check=True, cwd=tmp_path)
    with_us, without = (
        {p.relative_to(tmp_path / how): set(p.read_text().splitlines()) for p in (tmp_path / how).rglob("*.cpp")}
        for how in ("with", "without")
    )
    assert with_us == without
    assert len(without) > 5


def test_the_layers_of_one_network_are_encoded_and_recorded_alike(own, images):
    """A second population beside the first: the recorded spikes of each sum to its counts."""
    second = (
        "others = b2.NeuronGroup(3*circuit.layout.copies, 'dv/dt = -v/(9*ms) : 1\\ncount : 1', threshold='v > 1',\n"
        "            reset='v = 0; count += 1', method='exact', name='others')\n"
        "        onward = b2.Synapses(cells, others, on_pre='v_post += 0.7', name='onward')\n"
        "        circuit.connect_all(onward)\n"
        "        circuit.add(others, onward)\n"
        f"        circuit.keep('others.v', rest=0); {TALLY}; circuit.tally(others)"
    )
    network = own((TALLY, second))
    state = network.fit(images, seed=0, context=NUMPY)
    layers = network.encode_layers(state, images, seed=2, copies=2, context=NUMPY)
    assert list(layers) == ["cells", "others"]
    for layer, answers in layers.items():
        found = record(network, state, images, layer=layer, variables=(), seed=2, context=NUMPY)
        seen = np.zeros(answers["response"].shape)
        np.add.at(seen, (found["spike_presentation"].values, found["spike_neuroid"].values), 1)
        np.testing.assert_array_equal(seen, answers["response"])
        assert seen.sum() > 6
