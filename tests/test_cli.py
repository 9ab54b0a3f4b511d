"""The command line as a user meets it: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def biorep(*arguments, cwd, expect=0, **environment):
    """Run the command line and return its output and its errors."""
    answer = subprocess.run(
        [sys.executable, "-m", "biorep.cli", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        timeout=600,
    )
    assert answer.returncode == expect, answer.stderr + answer.stdout
    return answer.stdout, answer.stderr


def test_help_lists_the_verbs(tmp_path):
    out, _ = biorep("--help", cwd=tmp_path)
    for verb in ("run", "sweep", "status", "collect", "report", "clean", "models", "data", "doctor"):
        assert verb in out


PAIR = """
name: pair
recipe: {dataset: {name: digits, limit: 60}, spectrum: {first: 1, last: 5}, robustness: null}
cases: {pixels: {network: {kind: pixels}}, random: {network: {kind: random-features, units: 9}}}
"""


def test_run_prints_a_table_and_repeats_cheaply(tmp_path):
    (tmp_path / "pair.yaml").write_text(PAIR)
    out, _ = biorep("run", "pair.yaml", "--out", "store", cwd=tmp_path)
    assert "test accuracy" in out
    assert "One seed: no interval, no claim." in out
    assert (tmp_path / "store/pair/report.html").is_file()
    out, err = biorep("run", "pair.yaml", "--out", "store", cwd=tmp_path)
    assert out.count("done before") == 8  # 4 stages of each network
    assert err == ""
    out, _ = biorep("report", "store/pair", cwd=tmp_path)
    assert out.strip() == "store/pair/report.html"


@pytest.mark.slow
def test_the_small_demo_runs_on_compiled_engines_and_repeats_cheaply(tmp_path):
    for times in range(2):
        out, err = biorep("run", "quickstart", "--shrunk", "--out", "store", cwd=tmp_path)
        # 5 stages of each network; spikes: counts of two more splits, and a surrogate
        assert out.count("done before") == 33 * times
    assert err == ""


def test_a_sweep_prints_the_table_and_status_collect_and_clean_know_it(tmp_path):
    arguments = ("krotov_hopfield_2019_mnist", "--shrunk", "--out", "store", "--workers", "1")
    out, _ = biorep("sweep", *arguments, cwd=tmp_path)
    assert "test accuracy" in out
    folder = "store/krotov_hopfield_2019_mnist-shrunk"
    out, _ = biorep("status", folder, cwd=tmp_path)
    assert " 0 going on, 0 failed, 0 left" in out
    assert f'results: biorep.open("{folder}")' in out
    out, _ = biorep("collect", folder, cwd=tmp_path)
    assert out == "nothing has changed\n"
    out, _ = biorep("clean", "store", cwd=tmp_path)
    assert out == "there is nothing to remove\n"


def test_set_takes_several_overrides(tmp_path):
    out, _ = biorep("run", "quickstart", "--set", "grid.seed=[4]", "name=other", "--dry-run", cwd=tmp_path)
    assert out.splitlines()[0] == "other: 6 runs: 0 done, 0 failed, 6 to do"
    assert "kh-seed4" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--set", "grid.seed=[4]", "quickstart", "--set", "name=other", "--dry-run"),
        ("run", "quickstart", "--dry-run", "--set", "grid.seed=[4]", "--set", "name=other"),
    ],
)
def test_set_may_stand_anywhere_and_be_repeated(tmp_path, arguments):
    out, _ = biorep(*arguments, cwd=tmp_path)
    assert out.splitlines()[0] == "other: 6 runs: 0 done, 0 failed, 6 to do"
    assert "kh-seed4" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "quikstart"), "did you mean 'quickstart'?"),
        (("run", "quickstart", "--set", "cases.kh.network.unitz=3"), "did you mean 'units'?"),
        (("run", "quickstart", "--set", "nonsense"), "expected key=value"),
        (("run", "quickstart", "--device", "gpu"), "Allowed: 'auto', 'cpu', 'cuda', 'cuda:<index>'."),
        (("report", "nowhere"), "is not the folder of a plan"),
    ],
)
def test_mistakes_of_the_user_come_without_a_traceback(tmp_path, arguments, message):
    out, err = biorep(*arguments, cwd=tmp_path, expect=2)
    assert message in err
    assert "Traceback" not in err + out
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    _, err = biorep("run", "quickstart", "--shrunk", "--out", "file/store", cwd=tmp_path, expect=2)
    assert "cannot write file/store/quickstart-shrunk/lease.json" in err
    assert "Choose a folder that you may write to, with --out FOLDER." in err
    assert "Traceback" not in err


def test_damaged_data_are_explained(tmp_path):
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"):
        (folder / name).write_bytes(b"\x1f\x8b\x08\x00truncated")
    arguments = ("run", "krotov_hopfield_2019_mnist", "--set", "grid.seed=[0]", "network.epochs=1", "--out", "store")
    _, err = biorep(*arguments, cwd=tmp_path, expect=2, BIOREP_DATA=str(tmp_path / "data"))
    assert "is damaged or is another file" in err
    assert "expected 440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609" in err
    assert "Traceback" not in err
    assert not list((tmp_path / "store").rglob("manifest.json")) if (tmp_path / "store").exists() else True


def test_models_data_and_doctor(tmp_path):
    out, _ = biorep("models", cwd=tmp_path)
    assert "holzhausen_2024_cifar10" in out
    out, _ = biorep("data", cwd=tmp_path)
    assert "ships with scikit-learn" in out
    out, _ = biorep("doctor", cwd=tmp_path)
    assert "What runs where" in out
    assert "torch" in out


def test_models_and_data_are_found_from_an_installed_wheel(tmp_path):
    """Build a wheel, unpack it, and run from there, away from the checkout."""
    import zipfile
    from pathlib import Path

    root = Path(__file__).resolve().parents[1]
    probe = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
    built = subprocess.run(
        [sys.executable, "-c", probe, str(tmp_path)], cwd=root, capture_output=True, text=True, check=True
    )
    wheel = tmp_path / built.stdout.split()[-1]
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert "biorep/_models/quickstart.yaml" in names
    assert "biorep/_data/registry.toml" in names
    assert "biorep/lab/report/page.html.j2" in names
    assert not [name for name in names if name.startswith(("tests/", ".venv"))]
    code = "import biorep, biorep.resources as r; print(biorep.__file__); print(r.folder('models'), len(r.models()))"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
    )
    assert answer.stdout.splitlines()[0].startswith(str(tmp_path / "site"))
    assert "_models" in answer.stdout
