"""Every published model runs, shrunk to seconds, and says what it reproduces."""

from __future__ import annotations

import pytest

import biorep
from biorep import resources
from biorep.lab import batch
from biorep.lab.report.page import write_report
from biorep.source import read_yaml

MODELS = resources.models()


def test_models_are_found():
    assert {"quickstart", "krotov_hopfield_2019_mnist", "holzhausen_2024_cifar10"} <= set(MODELS)


#: A minute or more, and nothing in it that the other spiking recipes do not have.
LONG = ("study_diehl_cook", "study_time_step")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in LONG else []) for n in MODELS])
def test_model_runs_shrunk_and_writes_its_report(name, shrunk):
    assert batch.read(name, shrunk=True).name == f"{name}-shrunk"
    plan, record = shrunk(name, f"{name}-report")
    tree = biorep.open(record.folder)
    if "readout" in tree.children:
        assert 0 <= float(tree["readout"]["test_accuracy"].mean()) <= 1
    page = write_report(record.folder).read_text()
    assert page.count("data:image/svg+xml;base64,") == len(list((record.folder / "figures").glob("*.svg"))) >= 1
    assert "http" not in page.replace("http://www.w3.org", "").replace("https://www.w3.org", "")
    for planned in plan.runs:
        assert planned.name in page


@pytest.mark.parametrize("name", MODELS)
def test_model_states_source_expectation_and_time(name):
    document = read_yaml(MODELS[name]).data
    assert document["about"]
    assert document["expected"]
    assert document["time"]
    if name != "quickstart":
        assert document["reference"]


@pytest.mark.parametrize("name", MODELS)
def test_model_is_valid_in_full_size(name):
    assert batch.read(name).runs


def test_published_settings_of_the_papers():
    """The numbers that the papers state, checked where they are run from."""
    network = batch.read("krotov_hopfield_2019_mnist").runs[0].recipe.network
    assert (network.units, network.p, network.k, network.delta) == (2000, 3, 7, 0.4)
    assert (network.learning_rate, network.epochs, network.batch_size) == (0.04, 1000, 100)
    runs = {run.name: run.recipe for run in batch.read("holzhausen_2024_cifar10").runs}
    kh, bp, l2 = (runs[f"{case}-seed0"].network for case in ("kh", "bp", "l2"))
    assert (kh.p, kh.k, kh.delta, kh.learning_rate, kh.batch_size, kh.input_norm) == (3, 2, 0.4, 0.02, 1000, 3)
    assert [bp_rate(bp, epoch) for epoch in (30, 31, 90, 91, 120, 121, 160, 161)] == [
        1e-3, 5e-4, 5e-4, 2e-4, 2e-4, 1e-4, 1e-4, 1e-5,
    ]  # fmt: skip
    assert l2.penalties[0].strength == 5e-4
    assert bp.penalties == ()
    assert l2.model_copy(update={"penalties": ()}) == bp
    jreg, specreg = (runs[f"{case}-seed0"].network for case in ("jreg", "specreg"))
    assert (jreg.penalties[0].n_proj, jreg.penalties[0].strength) == (3, 1e-3)
    assert (specreg.penalties[0].tau, specreg.penalties[0].strength, specreg.fade) == (0, 1, (90, 30))
    assert specreg.model_copy(update={"penalties": (), "fade": None, "milestones": bp.milestones}) == bp
    assert runs["kh-seed0"].measures["readout"].epochs == 1000
    assert runs["bp-seed0"].measures["robustness"].attacks[1].steps == 20


def bp_rate(network, epoch):
    from biorep.nn.schedule import Schedule

    return Schedule(network.epochs, network.batch_size, network.learning_rate, network.milestones).rate_at(epoch)
