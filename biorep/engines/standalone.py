"""Brian2's C++ and CUDA standalone modes: generate the sources, compile them once, run the binary chunk after chunk."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from biorep.engines import cache, subnormals
from biorep.engines.programs import Arrays, Blueprint, Report, brian_device
from biorep.errors import ConfigError, NumericalError, StoreError

#: Written by the binary each second. When nobody reads any more, because the parent is gone, the write kills it.
REPORT = "std::cout << completed << std::endl;"

Make = Callable[[Path, int], Path]


class Variable(NamedTuple):
    """Where a binary leaves a variable."""

    file: str
    dtype: np.dtype
    columns: int | None  #: second dim of a monitor's variable


class StandaloneProgram:
    """A compiled simulation; see `biorep.engines.programs.Program`."""

    def __init__(self, blueprint: Blueprint, engine: str = "cpp_standalone", *, jobs: int = 2):
        self.engine, self.layout = engine, blueprint.layout
        self.project = Path(tempfile.mkdtemp(prefix="biorep-"))
        self._remove = weakref.finalize(self, shutil.rmtree, self.project, ignore_errors=True)
        if engine == "cpp_standalone":
            facts: tuple[str, ...] = (_compiler(),)
            make: Make = _make
            # Brian2 adds the folders of the virtual environment: another one would compile everything again.
            folders: dict[str, Any] = {
                f"codegen__cpp__{name}": [] for name in ("include_dirs", "library_dirs", "runtime_library_dirs")
            }
            with brian_device(engine, **folders) as device:
                self._generate(blueprint, device)
        else:
            facts, make = self._generate_cuda(blueprint)
        key = cache.source_hash(self.project, *facts)
        self.binary, self.was_cached = cache.binary(key, lambda: make(self.project, jobs))

    def _generate_cuda(self, blueprint: Blueprint) -> tuple[tuple[str, ...], Make]:
        """Generate CUDA sources; return what else decides over the binary, and how to compile it.

        ``BIOREP_CUDA`` names a toolkit, ``BIOREP_CUDA_CAPABILITY`` a GPU (9.0) that is not in this machine.
        """
        from biorep.engines import cuda, unity

        single = self.engine.endswith("single")
        compiler, toolkit = _compiler(), cuda.find_toolkit(os.environ.get("BIOREP_CUDA"))
        capability = cuda.compute_capability(float(os.environ.get("BIOREP_CUDA_CAPABILITY", 0)) or None)
        folder = cache.programs_folder().parent / "cuda"
        with (
            cuda.configured(folder, toolkit=toolkit, capability=capability, single=single),
            brian_device("cuda_standalone") as device,
        ):
            self._generate(blueprint, device, single=single)
        # Each translation unit costs a quarter of a minute, whatever is in it.
        return (compiler, str(toolkit)), lambda project, jobs: unity.compile_cuda(project, units=1, jobs=jobs)

    def _generate(self, blueprint: Blueprint, device: Any, *, single: bool = False) -> None:
        import brian2 as b2

        circuit = blueprint.circuit(single=single)
        if circuit.cpu_only and self.engine != "cpp_standalone":
            raise ConfigError(
                f"the network has {' and '.join(circuit.cpu_only)}, which {self.engine} cannot run. Choose --engine "
                "cpp_standalone, or switch it off."
            )
        network = circuit.network()
        device.insert_code("before_start", subnormals.CODE)
        if circuit.delayed:
            # The queues of spikes are made for the delays that are there before the run: arguments must come earlier.
            device.apply_run_args()
        network.run(circuit.duration, namespace={}, report=REPORT, report_period=1 * b2.second)
        try:
            device.build(directory=str(self.project), compile=False, run=False)
        except OSError as error:
            raise _full(self.project) from error
        _align_clocks(self.project, circuit.layout.timing.dt)
        if self.engine == "cpp_standalone":
            _report_once_a_step(self.project)
        self.state = tuple(circuit.kept)
        self.rest: Mapping[str, float] = circuit.at_rest()
        self.layers: Mapping[str, str] = {layer: tally.name for layer, tally in circuit.tallies.items()}
        self.sizes = {group.name: len(group) for group in circuit.objects if isinstance(group, b2.NeuronGroup)}
        self.variables: dict[str, Variable] = {}
        for variable in device.arrays:
            with suppress(ReferenceError):
                name = f"{variable.owner.name}.{variable.name}"
                columns = int(variable.owner.n_indices) if isinstance(variable.owner, b2.StateMonitor) else None
                columns = columns if getattr(variable, "ndim", 1) == 2 else None
                file = device.get_array_filename(variable)
                # Both ways through synapses, pre and post, have a "delay"; a binary takes and gives the first, pre.
                self.variables.setdefault(name, Variable(file, np.dtype(variable.dtype), columns))

    def run(self, values: Mapping[str, np.ndarray], read: Sequence[str], report: Report | None = None) -> Arrays:
        """Simulate one chunk; see `biorep.engines.programs.Program.run`."""
        if True:
            folder = self.project / "run"
            folder.mkdir(exist_ok=True)
            arguments = [
                self._argument(folder / f"set{number}", key, value)
                for number, (key, value) in enumerate(values.items())
            ]
            self._execute([str(self.binary), "--results_dir", f"{folder}/", *arguments], folder, report)
            return {key: self._read(folder, key) for key in read}

    def size(self, name: str) -> int:
        """Return how many neurons the group of a variable has; 1 for synapses; shared variables count like others."""
        return self.sizes.get(name.partition(".")[0], 1)

    def close(self) -> None:
        """Remove the generated sources; the binary stays in the cache."""
        self._remove()

    def _argument(self, path: Path, name: str, value: np.ndarray) -> str:
        """Return ``name=value``, with large values in a file.

        The path is relative and in lower case, because CUDA binaries read all arguments in lower case.
        """
        if name.endswith(".values"):
            dtype = np.dtype(np.float64)
        elif name in self.variables:
            dtype = self.variables[name].dtype
        else:
            raise KeyError(f"the simulation has no variable {name}")
        array = np.ascontiguousarray(value, dtype)
        if array.size == 1:
            return f"{name}={array.item()!r}"
        try:
            array.tofile(path)
        except OSError as error:
            raise _full(path.parent) from error
        return f"{name}={path.relative_to(self.project)}"

    def _execute(self, command: list[str], folder: Path, report: Report | None) -> None:
        errors = folder / "errors.txt"
        with (
            open(errors, "w") as sink,
            subprocess.Popen(
                command, cwd=self.project, stdout=subprocess.PIPE, stderr=sink, stdin=subprocess.DEVNULL, text=True
            ) as process,
        ):
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    with suppress(ValueError):
                        share = float(line)
                        if report is not None:
                            report(share)
                code = process.wait()
            except BaseException:
                process.kill()
                raise
        said = errors.read_text(errors="replace").strip()
        if code or said:
            raise NumericalError(f"the compiled simulation stopped with code {code}: {said[-500:] or 'no message'}")

    def _read(self, folder: Path, name: str) -> np.ndarray:
        variable = self.variables[name]
        try:
            array = np.fromfile(folder / variable.file, variable.dtype)
        except OSError as error:
            raise _full(folder) from error
        return array if variable.columns is None else array.reshape(-1, variable.columns)


def _align_clocks(project: Path, dt: float) -> None:
    """Let generated code find that two clocks are due in the same step, however long it has run.

    Brian2 2.10.1 compares their times with a tolerance of 1e-14 s, which is less than the last digit of a time above
    64 s: a slot then gets one step more or less. A thousandth of a step, `dt` in ms, is right for all times; Brian2's
    runtime mode takes a ten-thousandth.
    """
    named, found = "#define Clock_epsilon", 0
    for path in (project / "network.cpp", project / "network.cu"):
        if path.is_file():
            lines = path.read_text().splitlines()
            found += sum(line.startswith(named) for line in lines)
            lines = [f"{named} {1e-6 * dt!r}" if line.startswith(named) else line for line in lines]
            path.write_text("\n".join(lines) + "\n")
    if found != 1:
        raise ConfigError(
            "this version of Brian2 compares clocks in another way than the one that biorep was made for, so slots "
            "could get a step more or less. Install the version that biorep asks for: pip install brian2==2.10.1"
        )


def _report_once_a_step(project: Path) -> None:
    """Look at the time once a step, not once for each object of the network: that was a third of a silent step."""
    asked = "for(size_t i=0; i<objects.size(); i++)\n        {\n            if (report_func)"
    path = project / "network.cpp"
    text = path.read_text()
    assert asked in text
    path.write_text(text.replace(asked, asked.replace("(report_func)", "(report_func && i == 0)")))


def _full(folder: Path) -> StoreError:
    free = shutil.disk_usage(folder).free / 2**20
    return StoreError(
        f"the simulation could not write its files in {folder} ({free:.0f} MiB free). Free some space, or set TMPDIR "
        "to a folder on another disk, then repeat the command: finished chunks and stages are not repeated."
    )


def _compiler() -> str:
    """Return the C++ compiler and its version; raise `ConfigError` if there is none."""
    name = os.environ.get("CXX") or "g++"
    try:
        answer = subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise ConfigError(
            f"no C++ compiler: '{name}' cannot be run. Install g++ (for example `apt install g++ make`, or "
            "`conda install gxx`), set CXX to another one, or choose --engine runtime-numpy, which is slow."
        ) from None
    if shutil.which("make") is None:
        raise ConfigError("'make' is missing: install it (for example `apt install make`)")
    return answer.splitlines()[0]


def _make(project: Path, jobs: int) -> Path:
    """Compile a generated C++ project and return its binary."""
    environment = {**os.environ, "LC_ALL": "C"}  # messages that can be recognised
    command = ["make", f"-j{jobs}"]
    answer = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, env=environment)
    if answer.returncode or not (project / "main").is_file():
        last = "\n".join(answer.stderr.strip().splitlines()[-15:])
        if "No space left" in answer.stderr:
            raise _full(project)
        raise ConfigError(f"compiling the simulation in {project} failed:\n{last}")
    return project / "main"
