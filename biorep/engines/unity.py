"""Few translation units for the CUDA compiler, which is what its time goes to.

brian2cuda writes a file for each code object, 30 and more for a learning network, and each parses thrust and curand
anew: about nine seconds a file, whatever is in it. Here they are merged into a few. They cannot simply be put one
behind the other, because each repeats the same helper functions and macros: each becomes a namespace of its own. What
its header declares is called from elsewhere: functions get a forwarding function outside, kernels stay outside.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from biorep.errors import ConfigError

#: The files besides the code objects, in this order at the end of the first unit: rand.cu has a `using namespace`
#: that holds for everything behind it.
CORE = ("synapses_classes.cu", "network.cu", "objects.cu", "run.cu", "main.cu", "rand.cu")

#: Cost of a code object besides its length, in characters.
_OVERHEAD = 20_000


def compile_cuda(project: Path, units: int = 3, jobs: int = 2) -> Path:
    """Compile a generated brian2cuda project and return its binary, ``main``.

    Parameters
    ----------
    project : Path
        Folder that brian2cuda wrote, within `biorep.engines.cuda.configured`.
    units : int
        Translation units, see `merge`.
    jobs : int
        Compiler processes at once; each takes about 1 GB of memory.

    Raises
    ------
    ConfigError
        If ``make`` or the C++ compiler is missing, or the compilation fails; it ends with what the compiler said.
    """
    for name in ("make", os.environ.get("CXX") or "g++"):
        if shutil.which(name) is None:
            raise ConfigError(f"'{name}' is missing: install it (for example `apt install g++ make`)")
    makefile, binary = merge(project, units), project / "main"
    # Flags of a make that runs biorep are not for this one.
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    command = ["make", f"-j{jobs}", "-f", makefile.name]
    answer = subprocess.run(
        command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if answer.returncode or not binary.is_file():
        said = answer.stdout.strip().splitlines()
        first = next((k for k, line in enumerate(said) if re.search(r"\berror\b|fatal", line)), len(said))
        message = "\n".join(said[max(0, min(first, len(said) - 20)) :][:20])
        free = shutil.disk_usage(project).free / 2**20
        raise ConfigError(
            f"compiling the CUDA simulation in {project} failed ({free:.0f} MiB free there). `biorep doctor` shows "
            f"which compilers are used; set CUDA_HOME or CXX to use others. They say:\n{message}"
        )
    return binary


def merge(project: Path, units: int) -> Path:
    """Merge the sources of a generated brian2cuda project and return a makefile that compiles them to ``main``.

    The generated files stay as they are; ``unity_<number>.cu`` and ``makefile.unity`` are added.

    Parameters
    ----------
    project : Path
        Folder that brian2cuda wrote.
    units : int
        Translation units. Each costs about 15 seconds of processor time besides what is in it, so one needs the least
        work (23 s for a network of Diehl & Cook; two need 41 s, three 50 s, separate files some 300 s). More are
        faster only where as many processors are free.

    Raises
    ------
    ConfigError
        If the sources are not what brian2cuda 1.0b1 writes.
    """
    if units < 1:
        raise ConfigError(f"a CUDA simulation needs at least 1 translation unit, not {units}")
    makefile = _read(project, "makefile")
    sources = _line(project, makefile, "SRCS").split()
    if missing := [name for name in CORE if name not in sources]:
        raise _unexpected(project, f"the makefile does not name {', '.join(missing)}")
    objects = [name for name in sources if name.startswith("code_objects/") and name.endswith(".cu")]
    others = [name for name in sources if name not in CORE and name not in objects]
    texts = {name: _read(project, name) for name in (*objects, *CORE)}

    merged = []
    for number, names in enumerate(_share(texts, objects, units)):
        core = CORE if number == 0 else ()
        pieces = _outer_headers(project, [texts[name] for name in (*names, *core)])
        pieces += [_enclose(project, name, texts[name], f"unit_{number}_{k}") for k, name in enumerate(names)]
        pieces += [f'#include "{name}"' for name in core]
        merged.append(f"unity_{number}.cu")
        _write(project / merged[-1], "\n".join(pieces) + "\n")

    _line(project, makefile, "H_SRCS")
    makefile = makefile.replace(_line(project, makefile, "SRCS", whole=True), f"SRCS = {' '.join([*merged, *others])}")
    makefile = makefile.replace(" -std=c++11 ", " ")  # CUDA 13 refuses it; a second -std draws a warning in each unit
    makefile = f"{makefile.rstrip()}\n\n$(OBJS): $(H_SRCS)\nunity_0.o: {' '.join(CORE)}\n"
    _write(project / "makefile.unity", makefile)
    return project / "makefile.unity"


def _outer_headers(project: Path, texts: list[str]) -> list[str]:
    """Return the includes of headers from outside the project.

    They come first in a unit: brian2cuda's spikequeue.h has a `using namespace std` that some of thrust's headers, from
    CUDA 13.2 on, do not survive behind it.
    """
    names = {
        name for text in texts for name in re.findall(r"^[ \t]*#[ \t]*include[ \t]*<([^>\n]+)>", text, re.MULTILINE)
    }
    return [f"#include <{name}>" for name in sorted(names) if not (project / name).exists()]


def _share(texts: dict[str, str], objects: list[str], units: int) -> list[list[str]]:
    """Deal the code objects out such that the units take about equally long; the first unit also has the core."""
    shares: list[list[str]] = [[] for _ in range(max(1, min(units, len(objects))))]
    load = [0] * len(shares)
    load[0] = sum(len(texts[name]) + _OVERHEAD for name in CORE)
    for name in sorted(objects, key=lambda name: (-len(texts[name]), name)):
        lightest = load.index(min(load))
        shares[lightest].append(name)
        load[lightest] += len(texts[name]) + _OVERHEAD
    return [sorted(share) for share in shares]


def _enclose(project: Path, name: str, text: str, namespace: str) -> str:
    """Return the source of a code object in a namespace of its own, with what its header declares outside."""
    header = _read(project, str(Path(name).with_suffix(".h")))
    declared = re.findall(r"^\s*((?:__global__\s+)?void)\s+(\w+)\s*\(([^)]*)\)\s*;", header, re.MULTILINE)
    if len(declared) != header.count(";") or not declared:
        raise _unexpected(project, f"the header of {name} declares something else than functions")

    pattern = re.compile(r"^[ \t]*#[ \t]*include[^\n]*", re.MULTILINE)
    includes = pattern.findall(text)
    text = pattern.sub("", text)  # the line stays, so that line numbers do
    forwards = []
    for kind, function, arguments in declared:
        if kind != "void":
            text = _step_outside(project, name, text, function, namespace)
        elif arguments.strip() or not re.search(rf"^void\s+{function}\s*\(\s*\)\s*\{{", text, re.MULTILINE):
            raise _unexpected(project, f"{name} does not define `void {function}()`")
        else:
            forwards.append(f"void {function}() {{ {namespace}::{function}(); }}")
    macros = sorted(set(re.findall(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", text, re.MULTILINE)))
    lines = [*includes, f"namespace {namespace} {{", f'#line 1 "{name}"', text, f"}}  // namespace {namespace}"]
    return "\n".join([*lines, *forwards, *(f"#undef {macro}" for macro in macros)])


def _step_outside(project: Path, name: str, text: str, kernel: str, namespace: str) -> str:
    """Close the namespace before a kernel that other files launch, and open it again behind."""
    found = re.search(rf"^__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?{kernel}\s*\([^)]*\)\s*\{{", text, re.M)
    if found is None:
        raise _unexpected(project, f"{name} does not define the kernel {kernel}")
    depth, end = 1, found.end()
    while depth and end < len(text):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        end += 1
    if depth:
        raise _unexpected(project, f"the braces of the kernel {kernel} in {name} do not match")
    return f"{text[: found.start()]}}} {text[found.start() : end]} namespace {namespace} {{{text[end:]}"


def _line(project: Path, makefile: str, variable: str, *, whole: bool = False) -> str:
    """Return what the makefile assigns to a variable, or the whole line."""
    found = re.findall(rf"^({variable} = (.*))$", makefile, re.MULTILINE)
    if len(found) != 1:
        raise _unexpected(project, f"the makefile sets {variable} {len(found)} times")
    return found[0][0 if whole else 1]


def _read(project: Path, name: str) -> str:
    try:
        return (project / name).read_text(encoding="utf-8")
    except OSError as error:
        raise _unexpected(project, f"{name} cannot be read ({error.strerror})") from error


def _write(path: Path, text: str) -> None:
    """Write a file unless it is there already, so that make does not compile it again."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _unexpected(project: Path, what: str) -> ConfigError:
    return ConfigError(
        f"the CUDA sources in {project} are not what brian2cuda 1.0b1 writes: {what}. Check with `pip show brian2cuda` "
        "that this version is installed; `make` in that folder compiles the project as it is, in more time."
    )
