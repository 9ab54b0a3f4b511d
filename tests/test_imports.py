"""The direction of imports, and what a bare import may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import biorep

ROOT = Path(biorep.__file__).parent
#: Each may import only from those before it (the first tuple is the base, whose members may import each other).
LAYERS = [
    ("errors", "explain", "schema", "config", "rng", "atomic", "resources", "context", "checkpoint"),
    ("datasets",),
    ("engines",),
    ("networks",),
    ("representations",),
    ("bridge",),
    ("spectra", "tuning"),
    ("geometry",),
    ("robustness",),
    ("baselines",),
    ("store",),
    ("batch",),
    ("plot", "report", "interop", "doctor"),
    ("cli",),
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
HEAVY = ("torch", "brian2", "xarray", "scipy", "sklearn", "matplotlib")


def _imports(path: Path):
    """Yield every biorep module that a file imports, also inside functions and for type checking."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "biorep":
            if node.module == "biorep":
                yield from (alias.name for alias in node.names)
            else:
                yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("biorep."))


def test_every_module_imports_only_from_its_left():
    wrong, edges = [], 0
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).parts
        own = parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        assert own in RANK, f"{own} has no place in the direction of imports"
        for other in _imports(path):
            edges += 1
            if RANK[other] > RANK[own] or (RANK[other] == RANK[own] != 0 and other != own and own != "report"):
                wrong.append(f"{'/'.join(parts)} imports {other}")
    assert edges > 50
    assert wrong == []


def test_analyses_never_import_brian2():
    for name in ("spectra", "tuning", "robustness", "bridge", "datasets", "store", "plot"):
        for path in (ROOT / name).rglob("*.py"):
            assert "brian2" not in {
                n.name.split(".")[0]
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.Import)
                for n in node.names
            }


def _loaded(code: str) -> set[str]:
    probe = f"import sys\n{code}\nprint(*{{m.split('.')[0] for m in sys.modules}})"
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


def test_a_bare_import_and_the_command_line_load_nothing_heavy():
    help_ = "import biorep.cli\ntry:\n    sys.argv = ['biorep', '--help']; biorep.cli.main()\nexcept SystemExit: pass"
    for code in ("import biorep; dir(biorep)", help_):
        assert not _loaded(code) & set(HEAVY)


def test_opening_results_loads_no_torch():
    assert "torch" not in _loaded("import biorep; biorep.open")


def test_public_names_exist():
    for name in biorep.__all__:
        assert getattr(biorep, name) is not None
