"""Speed of one Krotov-Hopfield update: ours, the dense form, and the forward matrix product alone.

One thread, 784 -> 2000, p = 3, k = 7, weights after one epoch of MNIST (of random images of the same sparseness if
MNIST is not at hand), medians of interleaved repeats. The forward product is the floor: no exact update does less.

    python benchmarks/kh_update.py
"""

from __future__ import annotations

import time

import numpy as np
import torch

import biorep
from biorep.errors import DataError
from biorep.networks.local.kh_update import Rule, SparseUpdate, dense_step
from biorep.nn.encoder import normalised

UNITS, ROUNDS, BATCHES = 2000, 15, 10
TARGETS = {100: 1.45, 1000: 1.35}


def images() -> tuple[str, torch.Tensor]:
    """Return unit-norm rows, (presentation, 784), and where they are from."""
    try:
        values = biorep.datasets.load("mnist", "train+validation")["image"].values.reshape(-1, 784)
        name = "MNIST"
    except DataError:
        generator = np.random.default_rng(0)
        values = (generator.random((60_000, 784)) * (generator.random((60_000, 784)) < 0.19)).astype(np.float32)
        name = "random images"
    return name, normalised(torch.as_tensor(values), 2)


def main() -> None:
    """Measure and print one line per batch size."""
    torch.set_num_threads(1)
    name, rows = images()
    rule = Rule(p=3.0, k=7, delta=0.4)
    generator = torch.Generator().manual_seed(0)
    learner = SparseUpdate(torch.randn(UNITS, 784, generator=generator), rule)
    for batch in torch.randperm(len(rows), generator=generator).split(100):
        learner.step(rows[batch], 0.04)
    print(f"{name}, 784 -> {UNITS}, weights after one epoch, one thread, medians of {ROUNDS * BATCHES} updates\n")
    print("batch  forward ms  ours ms  dense ms  ours/forward (target)  dense/ours (target)")
    for size, target in TARGETS.items():
        batches = [rows[i * size : (i + 1) * size].clone() for i in range(BATCHES)]
        sparse, dense = SparseUpdate(learner.weights.clone(), rule), learner.weights.clone()
        # A tiny rate leaves the weights, and so the speed, where they are.
        contenders = {
            "forward": lambda x, matrix=sparse.transform: x @ matrix.T,
            "ours": lambda x, s=sparse: s.step(x, 1e-9),
            "dense": lambda x, w=dense: dense_step(w, x, rule, 1e-9),
        }
        spent: dict[str, list[float]] = {contender: [] for contender in contenders}
        for _ in range(ROUNDS):
            for batch in batches:
                for contender, function in contenders.items():
                    start = time.perf_counter()
                    function(batch)
                    spent[contender].append(time.perf_counter() - start)
        forward, ours, full = (1e3 * float(np.median(spent[c])) for c in contenders)
        print(
            f"{size:>5}  {forward:>10.2f}  {ours:>7.2f}  {full:>8.2f}  "
            f"{ours / forward:>12.2f} (<= {target})  {full / ours:>10.2f} (>= 1.6)"
        )


if __name__ == "__main__":
    main()
