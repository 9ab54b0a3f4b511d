"""The README's Python runs as it stands there, only smaller."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from biorep.lab import batch

README = Path(__file__).resolve().parents[1] / "README.md"
SWEEPS = README.parent / "docs" / "sweeps.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)


def test_the_first_example(capsys):
    code = BLOCKS[0]
    for whole, small in {"units=500": "units=60", "epochs=300": "epochs=30", "images=200": "images=20"}.items():
        assert whole in code
        code = code.replace(whole, small)
    scope: dict[str, object] = {}
    exec(code, scope)
    out = capsys.readouterr().out
    assert float(re.search(r"accuracy (\S+)", out).group(1)) > 0.8
    assert float(re.search(r"exponent (\S+)", out).group(1)) > 0
    assert list(scope["result"]["linf"]["attack"].values) == ["fgsm", "pgd"]


def test_opening_results(tmp_path, monkeypatch, shrunk):
    _, record = shrunk("quickstart", "quickstart")
    monkeypatch.chdir(tmp_path)
    Path("runs").symlink_to(record.root)
    scope: dict[str, object] = {}
    exec("import biorep\n" + BLOCKS[1], scope)
    assert set(scope["tree"].children) == {"index", "readout", "spectrum", "surrogate", "robustness", "history"}


@pytest.mark.slow
def test_the_spiking_example_and_the_interchange(capsys, tmp_path, monkeypatch):
    import importlib.util

    import biorep

    monkeypatch.chdir(tmp_path)
    images = {split: biorep.datasets.load("digits", split) for split in ("train", "test")}
    scope = {"biorep": biorep, "images": images}
    exec(BLOCKS[2], scope)
    assert float(re.search(r"accuracy (\S+)", capsys.readouterr().out).group(1)) > 0.85
    needed = {"to_rsatoolbox": "rsatoolbox", "to_pynapple": "pynapple"}
    exec(BLOCKS[3], scope)
    assert {"penalty_jacobian", "penalty_isometric"} <= set(scope["trained"].variables)
    for line in BLOCKS[4].splitlines():
        library = next((name for word, name in needed.items() if word in line), None)
        if library is None or importlib.util.find_spec(library):
            exec(line, scope)
    assert (tmp_path / "answers.nc").is_file()


def test_the_plan_of_the_page_about_sweeps_is_valid(tmp_path):
    text = SWEEPS.read_text(encoding="utf-8")
    (plan,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    (tmp_path / "delta.yaml").write_text(plan)
    assert len(batch.read(tmp_path / "delta.yaml").runs) == 40
    for name, runs in re.findall(r"`biorep sweep (study\w+)` .*?(\d+) runs", text):
        assert len(batch.read(name).runs) == int(runs)


@pytest.mark.parametrize(
    "command", re.findall(r"^    (?:\.venv/bin/)?biorep (?:run|sweep) (.*?)(?:\s+#.*)?$", README.read_text(), re.M)
)
def test_commands_name_models_and_keys_that_exist(command):
    words = re.sub(r"--shrunk|--workers \d+|--name \w+", "", command).split()
    overrides = words[words.index("--set") + 1 :] if "--set" in words else []
    assert batch.read(words[0], overrides).runs


def test_the_recipe_of_several_measures_runs_with_the_measure_of_contributing(tmp_path):
    """The example of CONTRIBUTING.md is the `my_measure.py` of the README."""
    (recipe,) = re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    (measure,) = re.findall(r"```python\n(.*?)```", (README.parent / "CONTRIBUTING.md").read_text(), re.S)
    head = (
        "from typing import Literal\nimport xarray as xr\nfrom biorep.config import setting\n"
        "from biorep.contracts import Code, Column, Measure\n\n\ndef sparseness(code):\n"
        "    share = (code['response'] == 0).mean()\n"
        "    return xr.Dataset({'silent': share.assign_attrs(long_name='silent share', units='1')})\n\n\n"
    )
    (tmp_path / "my_measure.py").write_text(head + measure)
    (tmp_path / "r.yaml").write_text(recipe)
    small = ["network.epochs=1", "network.evaluate=0", "dataset.limit=60", "robustness.images=5"]
    small += ["robustness.attacks=[fgsm]", "spectrum/layers.first=1", "spectrum/layers.last=8"]
    record = batch.execute(batch.read(tmp_path / "r.yaml", small), tmp_path / "out", say=lambda line: None)
    assert "mine.silent" in record.runs[0].numbers
    assert [column["heading"] for column in record.columns][-1] == "silent share"
