"""Speed of the eigenspectrum of 10 000 x 2000 float64 responses against the usual ways, and their agreement.

One thread, medians of interleaved repeats; every contender starts from the same array and returns all eigenvalues.

    python benchmarks/spectrum.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from biorep.spectra import eigenspectrum

N, D, ROUNDS = 10_000, 2000, 5


def main() -> None:
    """Measure and print one line per contender."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    values = generator.standard_normal((N, D)) * np.arange(1, D + 1) ** -0.5 + 1.0
    responses = xr.DataArray(values, dims=("presentation", "neuroid"))
    tensor = torch.as_tensor(values)
    contenders: dict[str, tuple[float | None, Callable[[], np.ndarray]]] = {
        "biorep.spectra.eigenspectrum": (None, lambda: eigenspectrum(responses)["eigenvalue"].values),
        "torch.cov + torch.linalg.eigh": (2.2, lambda: torch.linalg.eigh(torch.cov(tensor.T))[0].flip(0).numpy()),
        "sklearn PCA()": (6.0, lambda: PCA().fit(values).explained_variance_),
        "sklearn PCA(svd_solver='covariance_eigh')": (
            1.4,
            lambda: PCA(svd_solver="covariance_eigh").fit(values).explained_variance_,
        ),
    }
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    found: dict[str, np.ndarray] = {}
    with threadpool_limits(1):
        for _ in range(ROUNDS):
            for name, (_, function) in contenders.items():
                start = time.perf_counter()
                found[name] = function()
                spent[name].append(time.perf_counter() - start)
    ours, *others = contenders
    reference = found[ours]
    print(f"{N} x {D} float64, one thread, medians of {ROUNDS}\n")
    print(f"{'contender':<44}{'seconds':>8}  times ours (target)   largest difference / largest eigenvalue")
    print(f"{ours:<44}{np.median(spent[ours]):>8.2f}")
    for name in others:
        difference = np.abs(found[name] - reference).max() / reference[0]
        ratio = np.median(spent[name]) / np.median(spent[ours])
        print(
            f"{name:<44}{np.median(spent[name]):>8.2f}  {ratio:>9.2f} (>= {contenders[name][0]})   {difference:>12.1e}"
        )


if __name__ == "__main__":
    main()
