"""Cost of one training step with each penalty, relative to the plain step.

    python benchmarks/regularizers.py

784-2000-10 network with ReLU, SGD, float32, one thread, random rows; medians of interleaved steps. The floor of a
penalty is its number of floating point operations, with those of the plain step, over those (2.5 for one projection of
the Jacobian, 3.55 for the spectrum in a fixed basis). Beside ours stand the forms that are written first: the exact
Jacobian, eigenvalues of the covariance in each step, and distances pair by pair.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from biorep.networks.backprop.mlp import MLP
from biorep.penalties import isometric_penalty, jacobian_penalty, spectral_penalty

INPUTS, UNITS, CLASSES = 784, 2000, 10
STEPS = {100: 15, 1000: 5}
#: Contender -> target for batches of 100 and 1000, floor.
TARGETS = {
    "Jacobian, n_proj=1": (3.2, 3.2, 2.5),
    "spectral, fixed basis": (3.8, 3.8, 3.55),
    "isometric": (1.6, 3.5, None),
}
#: Too slow for every round.
SLOW = ("Jacobian, exact", "spectral, eigvalsh of the covariance", "isometric, exact cdist")

Penalty = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def penalties() -> dict[str, Penalty | None]:
    """Return the contenders: functions of inputs, labels, hidden responses and logits."""
    basis = torch.linalg.qr(torch.randn(UNITS, UNITS)).Q

    def eigenvalues(inputs: Tensor, labels: Tensor, hidden: Tensor, logits: Tensor) -> Tensor:
        variances = torch.linalg.eigvalsh(torch.cov(hidden.T)).flip(0)
        law = variances[10].detach() * 11 / torch.arange(1, UNITS + 1)
        excess = (variances / law - 1)[11:]
        return (excess.square() + excess.clamp_min(0)).sum() / UNITS

    def pairs(inputs: Tensor, labels: Tensor, hidden: Tensor, logits: Tensor) -> Tensor:
        mode = "donot_use_mm_for_euclid_dist"
        same = labels[:, None] == labels[None, :]
        own, given = (torch.cdist(x, x, compute_mode=mode) for x in (hidden, inputs.detach()))
        return (same * (own - given).square()).mean()

    return {
        "plain": None,
        "Jacobian, n_proj=1": lambda x, y, h, z: jacobian_penalty(z, x),
        "spectral, fixed basis": lambda x, y, h, z: spectral_penalty(h, basis),
        "isometric": lambda x, y, h, z: isometric_penalty(h, x.detach(), y),
        "Jacobian, exact": lambda x, y, h, z: jacobian_penalty(z, x, n_proj=-1),
        "spectral, eigvalsh of the covariance": eigenvalues,
        "isometric, exact cdist": pairs,
    }


def step(
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    penalty: Penalty | None,
    *,
    differentiate: bool,
) -> float:
    """Take one step and return its CPU seconds; `differentiate` with respect to the inputs as well."""
    start = time.process_time()
    x = x.detach().requires_grad_(differentiate)
    (hidden,), _, logits = module.trace(x)  # type: ignore[operator]
    loss = nn.functional.cross_entropy(logits, y)
    if penalty is not None:
        loss = loss + 1e-6 * penalty(x, y, hidden, logits)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return time.process_time() - start


def main() -> None:
    """Measure and print the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    contenders = penalties()
    print(f"{INPUTS}-{UNITS}-{CLASSES}, ReLU, SGD, float32, one thread: CPU time of a step / plain step\n")
    for column, (batch, rounds) in enumerate(STEPS.items()):
        module = MLP(hidden=(UNITS,)).trainable((INPUTS,), CLASSES, 0)
        optimiser = torch.optim.SGD(module.parameters(), lr=1e-3)
        x, y = torch.rand(batch, INPUTS), torch.randint(CLASSES, (batch,))
        spent: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(rounds + 1):
            for name, penalty in contenders.items():
                if name in SLOW and number > 2:
                    continue
                seconds = step(module, optimiser, x, y, penalty, differentiate=name.startswith("Jacobian"))
                if number:
                    spent[name].append(seconds)
        plain = statistics.median(spent["plain"])
        print(f"batch {batch}: plain step {1e3 * plain:.1f} ms")
        for name in list(contenders)[1:]:
            ratio = statistics.median(spent[name]) / plain
            goal = ""
            if name in TARGETS:
                goal = f"  (target <= {TARGETS[name][column]})"
                floor = TARGETS[name][2]
                goal += f", {ratio / floor:.2f} times its floor" if floor else ""
            print(f"  {name:<40}{ratio:>7.2f}{goal}")


if __name__ == "__main__":
    main()
