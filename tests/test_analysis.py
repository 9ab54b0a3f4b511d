"""Every published figure is drawn from a small store, by its program, as a user starts it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ANALYSIS = Path(__file__).parent.parent / "analysis"
#: Program -> what has to be run first.
PROGRAMS = {
    "beshkov_2022/isometry.py": "beshkov_2022_mnist",
    "diehl_cook_2015/learning.py": "analysis/diehl_cook_2015/inhibition.yaml",
    "nassar_2020/spectra.py": "nassar_2020_mnist",
    "penalties/strengths.py": "study_penalties",
    "zylberberg_2011/receptive_fields.py": "zylberberg_2011_natural",
}


def test_every_program_and_every_plan_is_known_here():
    assert {str(path.relative_to(ANALYSIS)) for path in ANALYSIS.glob("*/*.py")} == set(PROGRAMS)
    plans = {f"analysis/{path.relative_to(ANALYSIS)}" for path in ANALYSIS.glob("*/*.yaml")}
    assert plans <= set(PROGRAMS.values())


@pytest.mark.parametrize("program", PROGRAMS)
def test_program_draws_its_figure(program, shrunk):
    name = PROGRAMS[program]
    _, record = shrunk(ANALYSIS.parent / name if "/" in name else name, Path(program).stem)
    before = set(record.folder.glob("figures/*"))
    command = [sys.executable, str(ANALYSIS / program), str(record.folder)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = {path for path in record.folder.glob("figures/*") if path.stat().st_size > 5000} - before
    assert figures
    for path in figures:
        assert str(path) in answer.stdout
