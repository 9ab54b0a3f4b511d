"""The direction of imports, file by file, and what a bare import may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import biorep

ROOT = Path(biorep.__file__).parent
GROUND = (
    "errors", "source", "explain", "config", "rng", "resources", "usercode", "table", "tables", "schema", "progress",
    "context", "contracts", "atomic", "checkpoint", "words",
)  # fmt: skip
#: Rooms of the science, left to right: each may import only from those before it, and from the ground.
SCIENCE = [
    ("plot",),
    ("datasets",),
    ("engines", "spectra", "geometry", "tuning", "robustness"),
    ("nn",),
    ("penalties",),
    ("networks",),
    ("bridge",),
    ("interop",),
]
#: The laboratory stands on the ground alone; it reaches the science through tables of dotted names.
LABORATORY = [("lab",), ("doctor",), ("cli",)]
HEAVY = ("torch", "brian2", "xarray", "scipy", "sklearn", "matplotlib")


def _module(path: Path) -> str:
    parts = ("biorep", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(path): path for path in ROOT.rglob("*.py")}


def _imports(path: Path):
    """Yield every biorep module that a file imports, also inside functions and for type checking."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "biorep":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("biorep."))


def _rooms() -> dict[str, set[str]]:
    """Return which rooms each room may import."""
    allowed: dict[str, set[str]] = {name: set(GROUND) for name in GROUND}
    before = set(GROUND)
    for names in SCIENCE:
        for name in names:
            allowed[name] = before | {name}
        before |= set(names)
    allowed["lab"] = {*GROUND, "lab"}
    allowed["doctor"] = before | {"lab", "doctor"}
    allowed["cli"] = before | {"lab", "doctor"}
    return allowed


def test_every_file_imports_only_from_its_left():
    allowed, wrong, edges = _rooms(), [], 0
    for module, path in MODULES.items():
        if module == "biorep":
            continue
        own = module.split(".")[1]
        assert own in allowed, f"{own} has no place in the direction of imports"
        for other in _imports(path):
            edges += 1
            if other != "biorep" and other.split(".")[1] not in allowed[own]:
                wrong.append(f"{module} imports {other}")
    assert edges > 50
    assert wrong == []


def test_no_two_files_import_each_other():
    """No circle of files, those for type checking included; a package's own face is no member of one."""
    graph = {
        module: {other for other in _imports(path) if other != module and MODULES[other].name != "__init__.py"}
        for module, path in MODULES.items()
        if path.name != "__init__.py"
    }
    while leaves := {module for module, others in graph.items() if not others & set(graph)}:
        graph = {module: others for module, others in graph.items() if module not in leaves}
    assert sorted(graph) == []


def test_the_laboratory_names_no_science_and_loads_none():
    names = {name for names in SCIENCE for name in names} - {"plot"}
    for module, path in MODULES.items():
        if module.startswith("biorep.lab"):
            assert not {other.split(".")[1] for other in _imports(path) if other != "biorep"} & names, module
    loaded = _loaded("import biorep.lab.batch, biorep.lab.report.page", whole=True)
    assert not {name.split(".")[1] for name in loaded if name.startswith("biorep.")} & names
    assert not {name.split(".")[0] for name in loaded} & {"torch", "brian2", "sklearn"}


def test_analyses_never_import_brian2():
    for name in ("spectra", "tuning", "geometry", "robustness", "bridge", "datasets", "lab", "plot"):
        for path in (ROOT / name).rglob("*.py"):
            assert "brian2" not in {
                n.name.split(".")[0]
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.Import)
                for n in node.names
            }


def _loaded(code: str, *, whole: bool = False) -> set[str]:
    probe = f"import sys\n{code}\nprint(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return {name if whole else name.split(".")[0] for name in answer.stdout.split()}


def test_a_bare_import_and_the_command_line_load_nothing_heavy():
    help_ = "import biorep.cli\ntry:\n    sys.argv = ['biorep', '--help']; biorep.cli.main()\nexcept SystemExit: pass"
    for code in ("import biorep; dir(biorep)", help_):
        assert not _loaded(code) & set(HEAVY)


def test_opening_results_loads_no_torch():
    assert "torch" not in _loaded("import biorep; biorep.open")


def test_public_names_exist():
    for name in biorep.__all__:
        assert getattr(biorep, name) is not None
