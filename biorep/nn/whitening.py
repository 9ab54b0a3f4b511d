"""A layer that whitens its inputs: afterwards all directions have variance 1 and are uncorrelated.

The layer "-Wh" of Nassar et al. (2020), section 4.2. As published it takes the statistics of the current mini-batch,
in the evaluation too, so that the answer to an image depends on the images beside it; with stored statistics, those of
the whole training set, it does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from biorep.config import Config, setting
from biorep.nn import gate
from biorep.words import checked

Statistics = Literal["stored", "batch"]
#: Added to the diagonal of the second moment, as published.
RIDGE = 1e-5


class WhiteningChoice(Config):
    """A layer that whitens the responses on the way to the next layer, as a setting of a network."""

    versions: ClassVar[Mapping[str, int]] = {"whitening": 1}

    centred: bool = setting(True, description="whether the mean is taken off; false: as in the released script")
    statistics: Statistics = setting(
        "stored", description="of the evaluation; stored: of the training set, batch: as published, of the images shown"
    )

    def layer(self, width: int) -> Whitening:
        """Return the layer for `width` neuroids."""
        return Whitening(width, centred=self.centred, statistics=self.statistics)


def whiten(rows: Tensor, *, centred: bool = True) -> Tensor:
    """Return rows whitened by their own statistics; the gradient flows through these.

    Parameters
    ----------
    rows : Tensor, (presentation, neuroid)
    centred : bool
        Whether the mean is taken off first; without, the second moment about zero is whitened.

    Returns
    -------
    Tensor, (presentation, neuroid)
        ``L^-1 x`` with the lower Cholesky factor L of the second moment plus `RIDGE`.
    """
    rows = gate.numbers(rows, "rows")
    shift = rows.mean(0) if centred else torch.zeros_like(rows[0])
    shifted = rows - shift
    precise = shifted.double()  # in float32 rounding errors of large responses are larger than the ridge
    return _solve(cholesky(precise.T @ precise / len(rows)).to(rows.dtype), shifted)


def cholesky(moment: Tensor) -> Tensor:
    """Return the lower Cholesky factor (neuroid, neuroid) of a second moment, float64, plus the ridge."""
    ridge = RIDGE * torch.eye(len(moment), dtype=moment.dtype, device=moment.device)
    with gate.solvable("whitening"):
        return torch.linalg.cholesky((moment + moment.T) / 2 + ridge)


def _solve(factor: Tensor, rows: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(factor, rows.T, upper=False).T


class Whitening(nn.Module):
    """Whiten by the mini-batch while training; by the stored statistics, or the batch's again, in evaluation.

    Parameters
    ----------
    width : int
        Number of neuroids.
    centred : bool
        See `whiten`.
    statistics : {"stored", "batch"}
        Of the evaluation; stored: what `store` was given.
    """

    @checked
    def __init__(self, width: int, *, centred: bool = True, statistics: Statistics = "stored"):
        super().__init__()
        self.centred, self.statistics = centred, statistics
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("factor", torch.eye(width))
        self.mean: Tensor
        self.factor: Tensor

    def store(self, mean: Tensor, covariance: Tensor) -> None:
        """Store the statistics (neuroid,) and (neuroid, neuroid) that the evaluation uses, float64."""
        moment = covariance if self.centred else covariance + torch.outer(mean, mean)
        self.factor.copy_(cholesky(moment))
        self.mean.copy_(mean if self.centred else torch.zeros_like(mean))

    def forward(self, rows: Tensor) -> Tensor:
        """Return whitened rows (presentation, neuroid)."""
        if self.training or self.statistics == "batch":
            return whiten(rows, centred=self.centred)
        return _solve(self.factor, rows - self.mean)


def depends_on_batch(module: nn.Module) -> bool:
    """Return whether the answer of a module to an image depends on the images beside it, in evaluation too."""
    return any(isinstance(part, Whitening) and part.statistics == "batch" for part in module.modules())
