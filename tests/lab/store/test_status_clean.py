"""How a plan stands, in words, and what a store does not need."""

from __future__ import annotations

import os

import pytest
from test_collect import spectrum

from biorep import cli
from biorep.errors import StoreError
from biorep.lab.store import RunRecord, Stages, failures, status, write_plan, write_run
from biorep.lab.store.clean import remove, waste
from biorep.lab.store.lease import lease


@pytest.fixture
def folder(tmp_path):
    """A plan of four runs: two finished by different versions, one failed, one left."""
    planned = {f"s{seed}": {"seed": seed} for seed in range(4)}
    write_plan(tmp_path / "p", ["seed"], planned, {})
    for seed in (0, 1):
        Stages(tmp_path).save("spectrum", f"key{seed}", spectrum(2, seed), config={}, seconds=0.1)
        write_run(
            tmp_path / "p",
            RunRecord(f"s{seed}", {}, {"seed": seed}, {"spectrum": f"spectrum/key{seed}"}, {}, [], 30.0, f"v{seed}"),
        )
    failures.write_failure(tmp_path / "p", "s2", error="ValueError", message="too\n small", attempts=1)
    return tmp_path / "p"


def test_status_says_what_is_done_failed_and_left_and_what_to_do(folder):
    text = "\n".join(status(folder))
    assert "p: 4 runs: 2 done, 0 going on, 1 failed, 1 left" in text
    assert "mean duration of a run: 30 s; left: 30 s of one worker" in text
    assert "s2: ValueError after 1 attempts: too small" in text
    assert "--retry-failed" in text
    assert "repeat the command that started it" in text
    assert "different versions of biorep (1 from v0, 1 from v1)" in text


def test_status_shows_what_goes_on(folder):
    with lease(folder) as driver:
        failures.begin_attempt(folder, "s3", driver)
        failures.log_path(folder, "s3").write_text("begun\n  training: 40 %\n")
        text = "\n".join(status(folder))
    assert "1 going on" in text
    assert f"worked on by process {os.getpid()}" in text
    assert "s3: since" in text
    assert "training: 40 %" in text


def test_deaths_count_under_one_driver_only(tmp_path):
    assert failures.begin_attempt(tmp_path, "a", "one") == 1
    assert failures.begin_attempt(tmp_path, "a", "one") == 2
    assert failures.begin_attempt(tmp_path, "a", "two") == 1
    failures.end_attempt(tmp_path, "a")
    assert failures.begin_attempt(tmp_path, "a", "two") == 1


def test_clean_finds_what_no_run_uses_and_asks(folder, monkeypatch, capsys):
    root = folder.parent
    Stages(root).save("spectrum", "old", spectrum(2, 0), config={}, seconds=0.1)
    begun = root / "stages" / "state" / "begun"
    (begun / "checkpoint").mkdir(parents=True)
    (begun / "stage.json").write_text('{"kind": "state", "key": "begun"}')
    (root / "stages" / "state" / "somebody's").mkdir()  # says nothing of itself: not ours
    with pytest.raises(StoreError, match="has 2 unfinished runs"):
        waste(root)
    found = {item.path.name: item.reason for item in waste(root, unfinished=True)}
    assert found == {"old": "a stage that no finished run uses", "begun": "not finished"}
    monkeypatch.setattr("builtins.input", lambda question: "n")
    cli.clean(root, unfinished=True)
    assert "nothing was removed" in capsys.readouterr().out
    assert Stages(root).done("spectrum", "old")
    monkeypatch.setattr("builtins.input", lambda question: "y")
    cli.clean(root, unfinished=True)
    assert not Stages(root).done("spectrum", "old")
    assert Stages(root).done("spectrum", "key0")
    cli.clean(root, unfinished=True)
    assert "nothing to remove" in capsys.readouterr().out


def test_clean_keeps_all_responses_that_runs_name(tmp_path):
    stages = Stages(tmp_path)
    stages.save("state", "s", spectrum(2, 0), config={}, seconds=0)
    for key in ("test", "train", "gone"):
        stages.save("representation", key, spectrum(2, 0), config={}, seconds=0)
    write_plan(tmp_path / "p", [], {"a": {}}, {})
    named = {f"representation/{key}": f"representation/{key}" for key in ("test", "train")}
    write_run(tmp_path / "p", RunRecord("a", {}, {}, {"state": "state/s", **named}))
    found = waste(tmp_path)
    assert [item.path.name for item in found] == ["gone"]
    remove(found)
    assert not stages.folder("representation", "gone").exists()


def test_clean_refuses_folders_that_are_no_store_and_plans_in_work(folder, tmp_path_factory):
    with pytest.raises(StoreError, match="is not the root of a store"):
        waste(tmp_path_factory.mktemp("empty"))
    with lease(folder), pytest.raises(StoreError, match="is worked on by process"):
        waste(folder.parent, unfinished=True)
