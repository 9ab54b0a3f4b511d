"""What this machine has, and what will run where."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess

from biorep import datasets
from biorep.engines import cache, cuda
from biorep.engines.choice import GPU_NEURONS
from biorep.lab.store.provenance import code_version, library_versions
from biorep.resources import cache_folder


def examine() -> list[str]:
    """Return the lines that `biorep doctor` prints."""
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    here = [row["name"] for row in datasets.available() if row["where"]]
    compiler = _compiler()
    brian2 = "runtime-numpy, slow: no C++ compiler found"
    if compiler:
        brian2 = "cpp_standalone, one CPU thread"
        if gpu:
            brian2 += f"; cuda_standalone from {GPU_NEURONS} neurons times copies on"
    return [
        f"biorep      {code_version()}",
        f"python      {platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        *(f"{name:<11} {number}" for name, number in library_versions().items()),
        f"C++         {compiler or 'not found: install g++ or clang++'}",
        *cuda.describe(),
        f"data        {', '.join(here)}",
        f"cache       {cache_folder()}",
        f"            {cache.describe()}",
        "",
        "What runs where",
        f"  rate networks, backprop, attacks: torch on {'the GPU (--device auto or cuda)' if gpu else 'the CPU'}",
        f"  Brian2 networks:                  {brian2}",
    ]


def _compiler() -> str | None:
    for name in filter(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "clang++", "c++"))):
        answer = subprocess.run([name, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
        return answer.strip().partition("\n")[0]
    return None
