"""What this machine has, and what will run where."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess

from biorep import datasets
from biorep.datasets.registry import cache_folder
from biorep.store.provenance import code_version, library_versions


def examine() -> list[str]:
    """Return the lines that `biorep doctor` prints."""
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    here = [row["name"] for row in datasets.available() if row["where"]]
    compiler, nvcc = _compiler(), _first_line("nvcc", "--version", last=True)
    return [
        f"biorep      {code_version()}",
        f"python      {platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        *(f"{name:<11} {number}" for name, number in library_versions().items()),
        f"C++         {compiler or 'not found: install g++ or clang++'}",
        f"CUDA nvcc   {nvcc or 'not found'}",
        f"GPU         {gpu or 'none that torch can use'}",
        f"data        {', '.join(here)}",
        f"cache       {cache_folder()}",
        "",
        "What runs where",
        f"  rate networks, backprop, attacks: torch on {'the GPU (--device auto or cuda)' if gpu else 'the CPU'}",
        f"  Brian2 networks, compiled:        {'the CPU' if compiler else 'nowhere: no C++ compiler found'}",
    ]


def _compiler() -> str | None:
    wished = os.environ.get("CXX")
    for name in ([wished] if wished else []) + ["g++", "clang++", "c++"]:
        if shutil.which(name):
            return _first_line(name, "--version")
    return None


def _first_line(*command: str, last: bool = False) -> str | None:
    if not shutil.which(command[0]):
        return None
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout
    except OSError:
        return None
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    return lines[-1 if last else 0] if lines else None
