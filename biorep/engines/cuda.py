"""A CUDA compiler for brian2cuda: where it is, and how to make the two work together.

brian2cuda 1.0b1 was written for toolkits that hold everything in one folder and speak C++11. Toolkits of today come in
parts: as Python packages (the extra ``biorep[gpu]``), as a system toolkit without curand, or both at once. This module
finds a compiler and curand, and sets Brian2's preferences such that they fit CUDA 12 and 13, with or without a GPU.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biorep import atomic
from biorep.errors import ConfigError

INSTALL = (
    'Install the compiler with `pip install "biorep[gpu]"` (CUDA 13, 0.4 GB, no system packages), or name the folder '
    "of a CUDA toolkit of version 12 or newer in CUDA_HOME."
)
#: What every generated project includes, and the part of a toolkit that has it.
HEADERS = {"cuda_runtime.h": "cudart", "cuda_profiler_api.h": "profiler", "thrust/pair.h": "cccl"}

_BACKEND = "devices.cuda_standalone.cuda_backend"


@dataclass(frozen=True)
class Toolkit:
    """A CUDA compiler and what belongs to it."""

    root: Path  #: folder of the toolkit
    version: tuple[int, int]  #: of the compiler, major and minor
    includes: tuple[Path, ...]  #: folders in which the compiler finds headers by itself
    curand_include: Path  #: folder of ``curand.h``, not always one of `includes`
    curand_library: Path
    origin: str  #: how it was found, in words

    @property
    def nvcc(self) -> Path:
        """The compiler."""
        return self.root / "bin" / "nvcc"

    def __str__(self) -> str:
        return f"CUDA {self.version[0]}.{self.version[1]} in {self.root} ({self.origin})"


def find_toolkit(wish: str | Path | None = None) -> Toolkit:
    """Return the first usable toolkit: the wish, else Python packages, CUDA_HOME, CUDA_PATH, ``nvcc`` on the path.

    Parameters
    ----------
    wish : str or Path, optional
        Folder of a toolkit, or its ``nvcc``. Nothing else is tried then.

    Raises
    ------
    ConfigError
        If there is none; the message says what was tried and what to install.
    """
    tried = []
    for path, origin in _candidates() if wish is None else [(Path(wish).expanduser(), "the setting")]:
        try:
            return _examine(path, origin)
        except ConfigError as error:
            tried.append(f"\n  {origin}: {error}")
    where = "".join(tried) or " It is in no Python package, CUDA_HOME and CUDA_PATH are not set, none is on the path."
    raise ConfigError(f"no CUDA compiler (nvcc) that can be used. {INSTALL}{where}")


def compute_capability(wish: float | None = None) -> float:
    """Return the compute capability to compile for: the wish, else that of the first visible GPU.

    Raises
    ------
    ConfigError
        If the wish is none, or nothing is wished and no GPU answers.
    """
    if wish is not None:
        if not 5 <= wish < 20 or round(10 * wish) != round(10 * wish, 6):
            raise ConfigError(f"compute capability {wish}: give a number like 7.5 or 9.0, as NVIDIA lists it")
        return float(wish)
    if re.fullmatch(r"\d+\.\d", answer := _ask_driver("compute_cap")):
        return float(answer)
    with contextlib.suppress(ImportError, RuntimeError):  # an old driver does not tell nvidia-smi
        import torch

        if torch.cuda.is_available():
            major, minor = torch.cuda.get_device_capability(0)
            return float(f"{major}.{minor}")
    raise ConfigError(
        "no NVIDIA GPU answers: nvidia-smi is missing or sees none, so the driver is not installed or the machine has "
        "no GPU. To compile without a GPU give the compute capability, for example 9.0 for an H100; to run on the CPU "
        "choose --engine cpp_standalone."
    )


@contextlib.contextmanager
def configured(
    folder: Path,
    *,
    toolkit: Toolkit,
    capability: float,
    jobs: int = 2,
    single: bool = False,
    fast_math: bool = False,
    gpu: int = 0,
) -> Iterator[None]:
    """Set Brian2's preferences for brian2cuda while the block runs, and restore them.

    Parameters
    ----------
    folder : Path
        Where links to curand are made, which compiling needs and the binary does not. The generated makefile names
        it: share one folder between builds, or equal networks have different sources.
    toolkit : Toolkit
        See `find_toolkit`.
    capability : float
        See `compute_capability`.
    jobs : int
        Compiler processes at once; brian2cuda's own default is no limit.
    single : bool
        Whether simulations run in single precision.
    fast_math : bool
        Whether single precision functions may be inexact. Their logarithm is wrong near 1, where waiting times for
        the next spike are drawn.
    gpu : int
        Number of the GPU among the visible ones.
    """
    import brian2
    from brian2cuda.utils import gputools

    place = _links(Path(folder).resolve(), toolkit)
    wished = _preferences(place, toolkit, jobs, single, fast_math)
    wished |= {f"{_BACKEND}.compute_capability": float(capability), f"{_BACKEND}.gpu_id": gpu}
    # brian2cuda changes its lists in place, so what is restored must be copies.
    before = {key: copy.copy(brian2.prefs[key]) for key in wished}
    log = logging.getLogger("brian2.brian2cuda")
    level = log.level
    try:
        log.setLevel(logging.WARNING)  # it tells all its preferences at each build
        for key, value in wished.items():
            brian2.prefs[key] = value
        gputools.reset_cuda_installation()  # it remembers the last compiler and the last GPU
        gputools.reset_gpu_selection()
        yield
    finally:
        for key, value in before.items():
            brian2.prefs[key] = value
        log.setLevel(level)
        gputools.reset_cuda_installation()
        gputools.reset_gpu_selection()


def describe() -> list[str]:
    """Return what was found, for `biorep doctor`."""
    try:
        toolkit = find_toolkit()
        lines = [f"CUDA        {toolkit}", f"curand      {toolkit.curand_library}"]
    except ConfigError as error:
        lines = [f"CUDA        {error}"]
    gpu = _ask_driver("name,compute_cap,driver_version")
    driver = f"{gpu} (name, compute capability, driver)" if gpu else "none: nvidia-smi is missing or sees none"
    return [*lines, f"GPU         {driver}", f"ccache      {shutil.which('ccache') or 'not installed (optional)'}"]


def _candidates() -> Iterator[tuple[Path, str]]:
    for folder in _package_folders():
        for nvcc in sorted(folder.glob("cu[0-9]*/bin/nvcc"), reverse=True):
            yield nvcc, "Python package"
    for name in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(name):
            yield Path(os.environ[name]), name
    if found := shutil.which("nvcc"):
        yield Path(found), "nvcc on the path"


def _package_folders() -> list[Path]:
    """Return the folders into which NVIDIA's Python packages install."""
    return [path for entry in dict.fromkeys(sys.path) if (path := Path(entry or ".") / "nvidia").is_dir()]


def _examine(path: Path, origin: str) -> Toolkit:
    """Return the toolkit of a compiler or of its folder; raise `ConfigError` if it cannot be used."""
    nvcc = path / "bin" / "nvcc" if path.is_dir() else path
    if not nvcc.is_file():
        raise ConfigError(f"there is no compiler {nvcc}")
    found = re.search(r"release (\d+)\.(\d+)", _say(nvcc, "--version"))
    if found is None:
        raise ConfigError(f"{nvcc} cannot be run, or is not a CUDA compiler")
    version = (int(found[1]), int(found[2]))
    if version < (12, 0):
        raise ConfigError(f"{nvcc} is of CUDA {found[1]}.{found[2]}, too old: 12.0 or newer is needed")
    root = _root(nvcc)
    # Debian keeps the headers and libraries of its toolkit with those of all other programs.
    bases = [root, Path("/usr")] if root.is_relative_to("/usr/lib") else [root]
    includes = [p for base in bases for part in ("include", "targets/*/include") for p in sorted(base.glob(part))]
    missing = [part for header, part in HEADERS.items() if not _holds(includes, header)]
    if missing:
        raise ConfigError(f"the toolkit in {root} has no {' and no '.join(missing)}")
    libraries = [p for base in bases for p in _library_folders(base)]
    include, library = _curand(root, version[0], includes, libraries)
    return Toolkit(root, version, tuple(includes), include, library, origin)


def _root(nvcc: Path) -> Path:
    """Return the folder of the toolkit as the compiler names it: the file on the path may be a script elsewhere."""
    found = re.search(r"^#\$ TOP=(.+)$", _say(nvcc, "--dryrun", "-x", "cu", "-c", os.devnull), re.MULTILINE)
    root = Path(found[1].strip()).resolve() if found else nvcc.resolve().parent.parent
    return root if (root / "bin" / "nvcc").is_file() else nvcc.resolve().parent.parent


def _holds(includes: list[Path], header: str) -> bool:
    return any((folder / part / header).is_file() for folder in includes for part in ("", "cccl"))


def _library_folders(base: Path) -> list[Path]:
    return [p for part in ("lib64", "lib", "targets/*/lib", "lib/*-linux-gnu") for p in sorted(base.glob(part))]


def _curand(root: Path, major: int, includes: list[Path], libraries: list[Path]) -> tuple[Path, Path]:
    """Return curand's folder of headers and its library: the toolkit's own, else those of the Python package."""
    package = "curand" if major == 12 else f"cu{major}"
    places = [(includes, libraries)]
    places += [([p / package / "include"], _library_folders(p / package)) for p in _package_folders()]
    for headers, folders in places:
        include = next((folder for folder in headers if (folder / "curand.h").is_file()), None)
        library = next((path for folder in folders for path in sorted(folder.glob("libcurand.so*"))), None)
        if include is not None and library is not None:
            return include, library
    name = "nvidia-curand-cu12" if major == 12 else "nvidia-curand"
    raise ConfigError(f"the toolkit in {root} has no curand, which `pip install {name}` would add")


def _links(folder: Path, toolkit: Toolkit) -> Path:
    """Make links to curand and, where ccache is installed, a compiler that goes through it; return their folder.

    The packages hold ``libcurand.so.10`` but not the name the linker wants. Beside their ``curand.h`` lie headers of
    the toolkit that torch was built with: another compiler must not see those.
    """
    ccache = shutil.which("ccache")
    facts = f"{toolkit.nvcc}\n{toolkit.curand_include}\n{toolkit.curand_library}\n{ccache}"
    place = folder / hashlib.sha256(facts.encode()).hexdigest()[:12]
    for path in (place, toolkit.root, toolkit.curand_library):
        if re.search(r"[\s,;:'\"$#%()&]", str(path)):
            raise ConfigError(f"the path {path} holds a character that make cannot pass on; use another folder")
    # Several processes may be here at once; the name of the folder tells what is in it, so all make the same links.
    for part in ("lib", "include", "bin"):
        (place / part).mkdir(parents=True, exist_ok=True)
    links = {place / "lib" / "libcurand.so": toolkit.curand_library}
    links |= {place / "include" / header.name: header for header in toolkit.curand_include.glob("curand*.h")}
    for link, target in links.items():
        with contextlib.suppress(FileExistsError):
            link.symlink_to(target)
    if ccache:
        with atomic.replacing(place / "bin" / "nvcc") as script:
            script.write_text(f'#!/bin/sh\nexec {shlex.quote(ccache)} {shlex.quote(str(toolkit.nvcc))} "$@"\n')
            script.chmod(0o755)
    return place


def _preferences(place: Path, toolkit: Toolkit, jobs: int, single: bool, fast_math: bool) -> dict[str, Any]:
    import numpy as np

    # The generated makefile asks for C++11, which CUDA 13's headers refuse: the last option wins. brian2cuda's spike
    # queue uses thrust::pair without including it, which CCCL up to 3.2 forgives.
    arguments = ["-w", "-std=c++17", "-include", "thrust/pair.h", *(["-use_fast_math"] if fast_math else [])]
    if toolkit.curand_include not in toolkit.includes:
        arguments.append(f"-I{place / 'include'}")  # to nvcc itself: ccache stumbles over -I inside -Xcompiler
    wrapped = (place / "bin" / "nvcc").is_file()
    return {
        f"{_BACKEND}.detect_gpus": False,
        f"{_BACKEND}.cuda_path": str(place if wrapped else toolkit.root),
        f"{_BACKEND}.cuda_runtime_version": float("{}.{}".format(*toolkit.version)),
        f"{_BACKEND}.extra_compile_args_nvcc": arguments,
        "codegen.cpp.extra_compile_args": ["-w", "-O3", "-std=c++17"],
        "codegen.cpp.include_dirs": [],
        "codegen.cpp.library_dirs": [str(place / "lib")],
        "codegen.cpp.runtime_library_dirs": [str(toolkit.curand_library.parent)],
        "devices.cpp_standalone.extra_make_args_unix": [f"-j{jobs}"],
        "core.default_float_dtype": np.float32 if single else np.float64,
    }


def _ask_driver(query: str) -> str:
    """Return what nvidia-smi says about the first visible GPU, or nothing."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    said = _say("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader", "-i", first) if first else ""
    return said.strip().partition("\n")[0]


def _say(*command: str | Path) -> str:
    """Return what a command prints, or nothing if it cannot be run or fails."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout + answer.stderr
