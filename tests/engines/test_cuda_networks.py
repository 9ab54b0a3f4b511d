"""CUDA code of every network: generated in the fast suite, one compiled by `make test-cuda`, all in the slow suite."""

from __future__ import annotations

import pytest

import biorep
from biorep.engines import Blueprint, cuda, prepare, standalone
from biorep.engines.layout import Layout
from biorep.errors import ConfigError

NETWORKS = {
    "pool": biorep.network("diehl-cook", units=6),
    "layer": biorep.network("diehl-cook", units=6, inhibition="layer", rule="triplet"),
    "current": biorep.network("diehl-cook-current", units=6, inhibition="direct", one_spike=False, rule="target"),
    "competing-rates": biorep.network("competing-rates", units=6),
    "sailnet": biorep.network("sailnet", units=6),
}


def _blueprint(name: str, copies: int, learn: bool) -> Blueprint:
    network = NETWORKS[name]
    return network.blueprint(Layout(network.timing(), 16, 6, copies, 10, network.max_tries), learn)


@pytest.fixture
def generated_only(monkeypatch, tmp_path):
    """A tool chain that only tells its version."""
    compiler = tmp_path / "bin" / "nvcc"
    compiler.parent.mkdir()
    compiler.write_text('#!/bin/sh\necho "Cuda compilation tools, release 13.2, V13.2.86"\n')
    compiler.chmod(0o755)
    toolkit = cuda.Toolkit(
        root=tmp_path,
        version=(13, 2),
        includes=(),
        curand_include=tmp_path,
        curand_library=tmp_path / "libcurand.so.10",
        origin="for a test",
    )
    monkeypatch.setattr(cuda, "find_toolkit", lambda wish=None: toolkit)
    monkeypatch.setenv("BIOREP_CUDA_CAPABILITY", "9.0")

    class Generated(Exception):
        pass

    def stop(key, build):
        raise Generated

    monkeypatch.setattr(standalone.cache, "binary", stop)
    return Generated


@pytest.mark.parametrize("learn", [True, False], ids=["learning", "frozen"])
@pytest.mark.parametrize("name", NETWORKS)
def test_cuda_sources_of_every_network_are_generated(name, learn, generated_only):
    """brian2cuda refuses, while it generates, what it cannot do."""
    with pytest.raises(generated_only):
        prepare(_blueprint(name, 2, learn), "cuda_standalone-single" if learn else "cuda_standalone")


@pytest.mark.parametrize(
    ("network", "what"),
    [
        (biorep.network("diehl-cook", units=6, delay=5.0), "a delay for each synapse"),
        (biorep.network("diehl-cook-current", units=6), "one spike per time step"),
    ],
    ids=["delay", "one spike"],
)
def test_what_needs_the_cpu_is_refused_in_words(network, what, generated_only):
    layout = Layout(network.timing(), 16, 6, 1, 10, network.max_tries)
    with pytest.raises(ConfigError, match=f"the network has {what}, which cuda_standalone cannot run"):
        prepare(network.blueprint(layout, False), "cuda_standalone")


def _compiled(name, learn, monkeypatch):
    try:
        cuda.find_toolkit()
    except ConfigError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("BIOREP_CUDA_CAPABILITY", "9.0")
    program = prepare(_blueprint(name, 2, learn), "cuda_standalone")
    assert program.binary.stat().st_size > 100_000
    program.close()


@pytest.mark.cuda
def test_cuda_sources_of_one_network_compile(monkeypatch):
    _compiled("pool", True, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("learn", [True, False], ids=["learning", "frozen"])
@pytest.mark.parametrize("name", NETWORKS)
def test_cuda_sources_of_every_network_compile(name, learn, monkeypatch):
    _compiled(name, learn, monkeypatch)


@pytest.mark.gpu
@pytest.mark.parametrize("name", NETWORKS)
def test_cuda_agrees_with_cpp(name):
    """Equal counts, learnt arrays within 1e-10 relative, over 12 small images."""
    import numpy as np

    from biorep.context import RunContext

    images = biorep.datasets.from_arrays(np.random.default_rng(0).random((12, 4, 4)), np.arange(12) % 2)
    network = NETWORKS[name]
    found = []
    for engine in ("cpp_standalone", "cuda_standalone"):
        context = RunContext(engine=engine)
        state = network.fit(images, seed=0, context=context)
        found.append((state, network.encode(state, images, context=context)["response"].values))
    (cpp, counts), (gpu, gpu_counts) = found
    np.testing.assert_allclose(gpu["weights"].values, cpp["weights"].values, rtol=1e-10)
    np.testing.assert_allclose(gpu_counts, counts, rtol=1e-10)
