"""The CUDA tool chain: search, preferences, merged sources; the compiler itself only in the slow test."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from biorep.engines import cuda, unity
from biorep.errors import ConfigError

SYS_PATH, PATH = list(sys.path), os.environ["PATH"]

SCRIPT = """#!/bin/sh
case "$1" in
    --version) echo "Cuda compilation tools, release {version}, V{version}.88" ;;
    --dryrun) echo '#$ TOP={root}/bin/..' >&2 ;;
esac
"""


def _write(path: Path, text: str = "", mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def _toolkit(root: Path, version: str = "13.0", curand: bool = True, parts=("cudart", "profiler", "cccl")) -> Path:
    """Make the folders of a toolkit with an `nvcc` that only tells its version."""
    _write(root / "bin" / "nvcc", SCRIPT.format(version=version, root=root), 0o755)
    for header, part in cuda.HEADERS.items():
        if part in parts:
            _write(root / "include" / ("cccl" if part == "cccl" else "") / header)
    if curand:
        _write(root / "include" / "curand.h")
        _write(root / "lib" / "libcurand.so.10")
    return root


@pytest.fixture(autouse=True)
def empty(monkeypatch, tmp_path, request):
    """Nothing is installed: no Python packages, no variables, no programs."""
    if "slow" in request.keywords:
        return
    for name in ("CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "programs").mkdir()
    (tmp_path / "site").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])


def test_nothing_found_says_what_to_install():
    with pytest.raises(ConfigError, match=r'pip install "biorep\[gpu\]"') as caught:
        cuda.find_toolkit()
    assert "no Python package" in str(caught.value)


def test_search_goes_from_the_setting_over_packages_and_variables_to_the_path(monkeypatch, tmp_path):
    on_path = _toolkit(tmp_path / "system", "12.4")
    (tmp_path / "programs" / "nvcc").symlink_to(on_path / "bin" / "nvcc")
    assert cuda.find_toolkit().origin == "nvcc on the path"
    monkeypatch.setenv("CUDA_PATH", str(_toolkit(tmp_path / "path", "12.6")))
    assert cuda.find_toolkit().version == (12, 6)
    monkeypatch.setenv("CUDA_HOME", str(_toolkit(tmp_path / "home", "12.9")))
    assert cuda.find_toolkit().version == (12, 9)
    package = _toolkit(tmp_path / "site" / "nvidia" / "cu13", "13.2")
    found = cuda.find_toolkit()
    assert found.root == package and found.nvcc.is_file()
    assert found.curand_library == package / "lib" / "libcurand.so.10"
    assert str(found) == f"CUDA 13.2 in {package} (Python package)"
    wished = _toolkit(tmp_path / "wish", "13.1")
    assert cuda.find_toolkit(wished).version == cuda.find_toolkit(wished / "bin" / "nvcc").version == (13, 1)


def test_a_script_on_the_path_leads_to_its_toolkit(tmp_path):
    root = _toolkit(tmp_path / "cuda-13.0")
    _write(tmp_path / "programs" / "nvcc", f'#!/bin/sh\nexec {root}/bin/nvcc "$@"\n', 0o755)
    assert cuda.find_toolkit().root == root


@pytest.mark.parametrize(("version", "package"), [("12.9", "curand"), ("13.0", "cu13")])
def test_curand_comes_from_a_package_if_the_toolkit_has_none(monkeypatch, tmp_path, version, package):
    monkeypatch.setenv("CUDA_HOME", str(_toolkit(tmp_path / "cuda", version, curand=False)))
    with pytest.raises(
        ConfigError, match="CUDA_HOME: the toolkit in .* has no curand, which `pip install nvidia-curand"
    ):
        cuda.find_toolkit()
    folder = tmp_path / "site" / "nvidia" / package
    _write(folder / "include" / "curand.h")
    _write(folder / "lib" / "libcurand.so.10")
    found = cuda.find_toolkit()
    assert found.curand_include == folder / "include" and found.curand_include not in found.includes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "11.8"}, "too old: 12.0 or newer"),
        ({"version": "?"}, "not a CUDA compiler"),
        ({"parts": ["cudart"]}, "has no profiler and no cccl"),
    ],
)
def test_an_unusable_toolkit_is_passed_over_and_named(monkeypatch, tmp_path, change, message):
    monkeypatch.setenv("CUDA_HOME", str(_toolkit(tmp_path / "bad", **change)))
    monkeypatch.setenv("CUDA_PATH", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=message) as caught:
        cuda.find_toolkit()
    assert "CUDA_PATH: there is no compiler" in str(caught.value)
    (tmp_path / "programs" / "nvcc").symlink_to(_toolkit(tmp_path / "good") / "bin" / "nvcc")
    assert cuda.find_toolkit().root == tmp_path / "good"
    with pytest.raises(ConfigError, match=f"the setting: .*{message}"):
        cuda.find_toolkit(tmp_path / "bad")


def test_compute_capability(monkeypatch, tmp_path):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cuda.compute_capability(9) == 9.0 and isinstance(cuda.compute_capability(9), float)
    for wrong in (90, 8.65):
        with pytest.raises(ConfigError, match="a number like 7.5 or 9.0"):
            cuda.compute_capability(wrong)
    with pytest.raises(ConfigError, match="To compile without a GPU give the compute capability"):
        cuda.compute_capability()
    _write(tmp_path / "programs" / "nvidia-smi", '#!/bin/sh\n[ "$4" = 1 ] && echo 8.6 || echo 9.0\n', 0o755)
    assert cuda.compute_capability() == 9.0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert cuda.compute_capability() == 8.6
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigError, match="no NVIDIA GPU answers"):
        cuda.compute_capability()


def test_describe_always_answers(tmp_path):
    assert "no CUDA compiler" in cuda.describe()[0]
    _toolkit(tmp_path / "site" / "nvidia" / "cu13")
    _write(tmp_path / "programs" / "nvidia-smi", "#!/bin/sh\necho 'NVIDIA H100, 9.0, 580.1'\n", 0o755)
    compiler, curand, gpu, ccache = cuda.describe()
    assert "13.0" in compiler and curand.endswith("libcurand.so.10") and "H100" in gpu and "not installed" in ccache


def _configured(tmp_path, **options):
    return cuda.configured(tmp_path / "links", toolkit=cuda.find_toolkit(), capability=9.0, **options)


@pytest.fixture
def preferences(monkeypatch):
    """Brian2's preferences; they can only be imported with the real path of Python packages."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", SYS_PATH)
        import brian2
        import brian2cuda  # noqa: F401  (registers its preferences)
    return brian2.prefs


def _values(preferences):
    return {key: repr(preferences[key]) for key in preferences}


@pytest.mark.parametrize("ccache", [False, True])
def test_preferences_are_set_and_restored(tmp_path, preferences, ccache):
    root = _toolkit(tmp_path / "site" / "nvidia" / "cu13")
    if ccache:
        _write(tmp_path / "programs" / "ccache", "#!/bin/sh\necho cached $1\n", 0o755)
    before = _values(preferences)
    log = logging.getLogger("brian2.brian2cuda").level
    with pytest.raises(ZeroDivisionError), _configured(tmp_path, jobs=3, single=True):
        backend = preferences.devices.cuda_standalone.cuda_backend
        assert (backend.detect_gpus, backend.gpu_id, backend.compute_capability) == (False, 0, 9.0)
        assert backend.cuda_runtime_version == 13.0
        assert "-std=c++17" in backend.extra_compile_args_nvcc
        assert not any(argument.startswith("-I") for argument in backend.extra_compile_args_nvcc)
        backend.extra_compile_args_nvcc.append("as brian2cuda does")
        assert preferences["core.default_float_dtype"].__name__ == "float32"
        assert preferences["devices.cpp_standalone.extra_make_args_unix"] == ["-j3"]
        (links,) = preferences["codegen.cpp.library_dirs"]
        assert (Path(links) / "libcurand.so").resolve() == root / "lib" / "libcurand.so.10"
        compiler = Path(backend.cuda_path) / "bin" / "nvcc"
        said = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
        assert said == f"cached {root}/bin/nvcc\n" if ccache else "release 13.0" in said
        raise ZeroDivisionError
    assert _values(preferences) == before and logging.getLogger("brian2.brian2cuda").level == log


def test_only_curands_headers_are_taken_from_another_toolkit(monkeypatch, tmp_path, preferences):
    monkeypatch.setenv("CUDA_HOME", str(_toolkit(tmp_path / "cuda", curand=False)))
    package = tmp_path / "site" / "nvidia" / "cu13"
    for name in ("include/curand.h", "include/curand_kernel.h", "include/cuda_runtime.h", "lib/libcurand.so.10"):
        _write(package / name)
    seen = []
    for _ in range(2):
        with _configured(tmp_path):
            arguments = preferences["devices.cuda_standalone.cuda_backend.extra_compile_args_nvcc"]
            seen.append(next(Path(argument[2:]) for argument in arguments if argument.startswith("-I")))
    assert seen[0] == seen[1]
    assert sorted(path.name for path in seen[0].iterdir()) == ["curand.h", "curand_kernel.h"]


def test_paths_that_make_cannot_pass_on_are_refused(tmp_path, preferences):
    _toolkit(tmp_path / "site" / "nvidia" / "cu13")
    with pytest.raises(ConfigError, match="holds a character"), _configured(tmp_path / "my folder"):
        pass


def test_importing_loads_no_brian2():
    code = "import sys, biorep.engines.cuda, biorep.engines.unity; print('brian2' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(SYS_PATH)}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert answer.stdout == "False\n"


MAKEFILE = """
PROGRAM = main

SRCS = {sources}
H_SRCS = objects.h
OBJS = ${{SRCS:.cu=.o}}
NVCC = @$(CXX)
NVCCFLAGS = -I. -std=c++11 -D__global__= -x c++

all: $(PROGRAM)

$(PROGRAM): $(OBJS)
\t$(NVCC) $(OBJS) -o $(PROGRAM)

%.o : %.cu
\t$(NVCC) $(NVCCFLAGS) -c $< -o $@"""

OBJECT = """#include "code_objects/{name}.h"
#include "objects.h"
#include <vector>
namespace {{
    #define FACTOR {factor}
    int helper(int x) {{ return x * FACTOR; }}
}}
{kernel}
void _run_{name}()
{{
    using namespace brian;
    total += std::vector<int>(1, helper(1))[0];{call}
}}
"""

RESET = """__global__ void
_reset_a(
    int* x)
{
    if (*x) { *x += 100; }
}"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project like those of brian2cuda that a C++ compiler understands."""
    monkeypatch.setenv("PATH", PATH)
    folder = tmp_path / "project"
    call = "\n    _reset_a(&total);"
    for name, text in {
        "a": OBJECT.format(name="a", factor=1, kernel=RESET, call=""),
        "b": OBJECT.format(name="b", factor=10, kernel="", call=""),
        "after_a": OBJECT.format(name="after_a", factor=0, kernel="", call=call).replace("after_a.h", "a.h", 1),
    }.items():
        _write(folder / "code_objects" / f"{name}.cu", text)
        extra = "__global__ void _reset_a(int*);\n" if name == "a" else ""
        _write(folder / "code_objects" / f"{name}.h", f"#pragma once\nvoid _run_{name}();\n{extra}")
    for name in unity.CORE:
        _write(folder / name)
    _write(folder / "objects.h", "#pragma once\nnamespace brian { extern int total; }\n")
    _write(folder / "objects.cu", '#include "objects.h"\nint brian::total = 0;\n')
    _write(
        folder / "main.cu",
        '#include <cstdio>\n#include "objects.h"\n'
        + "".join(f'#include "code_objects/{name}.h"\n' for name in ("a", "b", "after_a"))
        + 'int main() { _run_a(); _run_b(); _run_after_a(); std::printf("%d", brian::total); }\n',
    )
    sources = [*(f"code_objects/{name}.cu" for name in ("a", "after_a", "b")), *sorted(unity.CORE)]
    _write(folder / "makefile", MAKEFILE.format(sources=" ".join(sources)))
    return folder


@pytest.mark.skipif(shutil.which("make") is None or shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.parametrize("units", [1, 2, 9])
def test_merged_sources_do_what_the_separate_ones_do(project, units):
    subprocess.run(["make"], cwd=project, check=True)
    expected = subprocess.run([project / "main"], capture_output=True, check=True).stdout
    (project / "main").unlink()
    binary = unity.compile_cuda(project, units)
    assert binary == project / "main"
    assert subprocess.run([binary], capture_output=True, check=True).stdout == expected == b"111"
    assert len(list(project.glob("unity_*.o"))) == min(units, 3)
    time = binary.stat().st_mtime_ns
    unity.compile_cuda(project, units)
    assert binary.stat().st_mtime_ns == time


def test_failed_compilation_shows_the_compilers_message(project):
    path = project / "code_objects" / "b.cu"
    path.write_text(path.read_text().replace("total +=", "totally +="))
    with pytest.raises(ConfigError, match=r"code_objects/b.cu:12:\d+: error: .*totally") as caught:
        unity.compile_cuda(project, 2)
    assert len(str(caught.value).splitlines()) <= 21


def test_missing_programs_are_named(project, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match="'no-such-compiler' is missing"):
        unity.compile_cuda(project)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="'make' is missing"):
        unity.compile_cuda(project)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("makefile", "SRCS = ", "SOURCES = ", "sets SRCS 0 times"),
        ("makefile", "rand.cu", "", "does not name rand.cu"),
        ("code_objects/b.cu", "void _run_b", "void _walk_b", "does not define `void _run_b"),
        ("code_objects/a.cu", "_reset_a", "_set_a", "does not define the kernel _reset_a"),
        ("code_objects/b.h", "void", "extern int x; void", "declares something else than functions"),
    ],
)
def test_other_sources_than_brian2cudas_are_refused(project, file, old, new, message):
    path = project / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=message) as caught:
        unity.merge(project, 2)
    assert "brian2cuda 1.0b1" in str(caught.value)


NETWORK = """
import sys
from pathlib import Path

import brian2 as b2
import numpy as np

from biorep.engines import cuda, unity

folder = Path(sys.argv[1])
with cuda.configured(folder / "links", toolkit=cuda.find_toolkit(), capability=9.0):
    b2.set_device("cuda_standalone", build_on_run=False)
    b2.defaultclock.dt = 0.5 * b2.ms
    slot = b2.Clock(dt=10 * b2.ms, name="slot")
    rates = b2.TimedArray(np.full((5, 20), 60) * b2.Hz, dt=10 * b2.ms, name="rates")
    source = b2.NeuronGroup(
        20, "dseen/dt = -seen/(20*ms) : 1", threshold="rand() < rates(t, i)*dt", reset="seen = 1", method="exact",
        namespace={"rates": rates}, name="source")
    cells = b2.NeuronGroup(
        10,
        '''dv/dt = -v/(100*ms) : 1 (unless refractory)
        threshold_rise : 1
        total : 1
        count : 1
        inhibition : 1 (linked)''',
        threshold="v > 1 + threshold_rise", reset="v = 0; threshold_rise += 0.05; count += 1",
        refractory=5 * b2.ms, method="exact", name="cells")
    pool = b2.NeuronGroup(1, "activity : 1", name="pool")
    cells.inhibition = b2.linked_var(pool, "activity", index=np.zeros(10, int))
    plastic = b2.Synapses(
        source, cells, '''w : 1
        total_post = w : 1 (summed)''',
        on_pre="v_post += w", on_post="w = clip(w + 0.01*(seen_pre - 0.4), 0, 1)", name="plastic")
    plastic.connect()
    plastic.w = "rand()*0.3"
    plastic.summed_updaters["total_post"]._clock = slot
    plastic.run_regularly("w *= 3/total_post", clock=slot, name="normalise")
    cells.run_regularly("v -= 0.01*inhibition", name="inhibit")
    pooling = b2.Synapses(cells, pool, on_pre="activity_post += 1", name="pooling")
    pooling.connect()
    counts = b2.StateMonitor(cells, "count", record=True, clock=slot, name="counts")
    network = b2.Network(source, cells, pool, plastic, pooling, counts)
    network.run(50 * b2.ms, namespace={})
    b2.device.build(directory=str(folder / "project"), compile=False, run=False)
print(unity.compile_cuda(folder / "project", units=2))
"""


@pytest.mark.slow
def test_a_learning_network_compiles_without_a_gpu(tmp_path):
    try:
        cuda.find_toolkit()
    except ConfigError as error:
        pytest.skip(str(error))
    command = [sys.executable, "-c", NETWORK, str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "INFO" not in answer.stderr
    binary = Path(answer.stdout.splitlines()[-1])
    assert os.access(binary, os.X_OK) and binary.stat().st_size > 100_000
