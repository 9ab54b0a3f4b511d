"""Krotov & Hopfield (2019): local Hebbian learning with winner-takes-all inhibition, in its fast rank form.

Each hidden unit has a current, the p-bracket of its weights with the input, ``I = sum_i W_i |W_i|^(p-2) v_i``.
The unit with the largest current wins and moves towards the input, the unit at rank k moves away from it with
strength delta, all others rest::

    dW = g (R^p v - I W),   g = 1 | -delta | 0

so that the weights of a unit that keeps learning converge to the norm ``sum_i |W_i|^p = R^p``. The response of
the trained network is ``relu(I) ** power``. One step of learning is in `kh_update.py`.

Where the images have much in common (the mean cosine of two of them is 0.59 in Fashion-MNIST, 0.40 in MNIST), a large
delta kills: units that are at rank k more often than they win are pushed away from what all images share until nothing
drives them, nearly all of them within some hundred updates, and for good. The training warns at the end of that epoch.

Krotov, D. & Hopfield, J. J. (2019). Unsupervised learning by competing hidden units. PNAS 116, 7723-7731.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
import xarray as xr
from pydantic import model_validator
from torch import Tensor

from biorep import rng
from biorep.checkpoint import Checkpoint, identity
from biorep.config import setting
from biorep.context import RunContext, undisturbed
from biorep.contracts import Column, Drawing, Rows
from biorep.errors import ConfigError, NumericalError
from biorep.networks.base import (
    DifferentiableNetwork,
    check_state,
    flat_images,
    learnt_weights,
    mark,
    report_of,
    set_report,
)
from biorep.networks.local.convergence import convergence, death
from biorep.networks.local.kh_update import DeltaMode, Rule, SparseUpdate, bracket
from biorep.nn.encoder import Encoder, LinearEncoder, normalised
from biorep.schema import describe

#: Last images of an epoch that are tried for units that nothing drives any more.
LAST = 1000


class KrotovHopfield(DifferentiableNetwork):
    """Krotov-Hopfield layer.

    The published settings are in ``models/krotov_hopfield_2019_mnist.yaml`` and
    ``models/holzhausen_2024_cifar10.yaml``.
    """

    accepts: ClassVar[tuple[float, float] | None] = None
    reference: ClassVar[str] = "Krotov & Hopfield (2019), PNAS 116, 7723-7731, arXiv:1806.10181"
    versions: ClassVar[Mapping[str, int]] = {"krotov-hopfield": 2}
    answers_by: ClassVar[tuple[str, ...]] = ("units", "p")
    columns: ClassVar[tuple[Column, ...]] = (
        Column("used", "units used", 2, "share of the units that win and whose weights have converged to their norm"),
    )

    kind: Literal["krotov-hopfield"] = "krotov-hopfield"
    units: int = setting(2000, ge=2, description="number of hidden units")
    p: float = setting(3.0, ge=1, description="Lebesgue exponent of the inner product")
    k: int = setting(7, ge=2, description="rank of the unit that learns with the opposite sign")
    delta: float = setting(
        0.4, ge=0, description="strength of the opposite learning; kills units if large and images have much in common"
    )
    delta_mode: DeltaMode = setting("kth", description="kth: rank k alone; all-losers: ranks 2 to k")
    radius: float = setting(1.0, gt=0, description="norm R that the weights of a unit converge to")
    epochs: int = setting(100, ge=0, description="passes over the training images")
    batch_size: int = setting(100, ge=1, description="images per update; a last incomplete batch is left out")
    learning_rate: float = setting(0.04, gt=0, description="largest change of a weight in the first epoch")
    schedule: Literal["linear", "constant"] = setting("linear", description="linear: rate (1 - epoch / epochs)")
    init: Literal["normal", "images"] = setting(
        "normal", description="normal: N(init_mean, init_sd^2); images: random training images scaled to norm R"
    )
    init_mean: float = setting(0.0, description="mean of the initial weights")
    init_sd: float = setting(1.0, ge=0, description="standard deviation of the initial weights (normal)")
    inference: Literal["plain", "p"] = setting(
        "p",
        stage="encode",
        description="current at inference: plain W v (Krotov & Hopfield) or the p-bracket (Holzhausen et al.)",
    )
    power: float = setting(4.5, stage="encode", gt=0, description="exponent n of the ReLU^n")

    @model_validator(mode="after")
    def _ranks(self) -> KrotovHopfield:
        if self.k > self.units:
            raise ValueError(f"k = {self.k} asks for rank {self.k} among only {self.units} units; lower k or add units")
        return self

    def rule(self) -> Rule:
        """Return the parameters of the update."""
        return Rule(p=self.p, k=self.k, delta=self.delta, radius=self.radius, delta_mode=self.delta_mode)

    def rate_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        return self.learning_rate * (1 - epoch / self.epochs) if self.schedule == "linear" else self.learning_rate

    @undisturbed()
    def fit(self, dataset: xr.Dataset, *, seed: int, context: RunContext | None = None) -> xr.Dataset:
        """Learn without labels.

        Parameters
        ----------
        dataset : xr.Dataset
            Training images; labels are not looked at.
        seed : int
        context : RunContext, optional
            With a checkpoint folder, a killed training goes on from its last checkpoint and ends with the
            same weights as one that was not killed.

        Returns
        -------
        xr.Dataset
            ``weights(neuroid, input)``, per unit its `norm`, its `wins` over the training images and whether it
            is `dead` or counts as `used`, and the learning histories ``share_of_winners(epoch)`` and
            ``share_dead(epoch)``.

        Raises
        ------
        SplitError
            If test images are among the training images.
        NumericalError
            If the weights become NaN or infinite.
        """
        self.check_fitting(dataset)
        rule, context = self.rule(), RunContext.of(context)
        device = context.torch_device()
        inputs = normalised(torch.as_tensor(flat_images(dataset)), self.input_norm).to(device)
        if len(inputs) < self.batch_size:
            raise ConfigError(f"batch_size = {self.batch_size}, but there are only {len(inputs)} training images")
        key = identity(inputs.cpu().numpy(), {**self.identity("fit"), "seed": seed})
        checkpoint = Checkpoint(context, self.word, key)
        saved = checkpoint.load() or {"weights": self._initial(inputs, seed).cpu().numpy(), "history": np.zeros((0, 2))}
        history = saved["history"].tolist()
        learner = SparseUpdate(torch.as_tensor(saved["weights"]).to(device), rule)
        for epoch in context.track(range(len(history), self.epochs), f"{self.word}: epochs"):
            history.append(self._epoch(learner, inputs, seed, epoch))
            self._warn_early(history)
            if checkpoint.due():
                checkpoint.save({"weights": learner.weights.cpu().numpy(), "history": np.asarray(history)})
        state = self._state(learner.weights, inputs, np.reshape(history, (-1, 2)))
        checkpoint.remove()
        return mark(self, state, dataset)

    @undisturbed()
    def module(self, state: xr.Dataset) -> Encoder:
        """Return the frozen layer as a torch module."""
        check_state(self, state)
        weights = torch.as_tensor(learnt_weights(state, self.units))
        matrix = weights if self.inference == "plain" else bracket(weights, self.p)
        return LinearEncoder(matrix, input_norm=self.input_norm, power=self.power)

    def numbers(self, state: xr.Dataset) -> dict[str, float]:
        """Return the share of units that are used."""
        return {"used": report_of(state)["share_used"]}

    def figures(self, rows: Rows) -> Iterator[Drawing]:
        """Yield, of the first seed of each row, the receptive fields of the units that win most often."""
        from biorep.plot import receptive_fields

        for name, (state, *_) in rows.items():
            caption = f"{name}: weights of the 40 units that win most often (first seed; red positive, blue negative)."
            yield Drawing(f"fields-{name}", caption, receptive_fields(state))

    def _initial(self, inputs: Tensor, seed: int) -> Tensor:
        generator = rng.stream(seed, self.word, "weights")
        if self.init == "normal":
            draws = generator.standard_normal((self.units, inputs.shape[1]), dtype=np.float32)
            return torch.as_tensor(draws * np.float32(self.init_sd) + np.float32(self.init_mean))
        chosen = generator.choice(len(inputs), self.units, replace=self.units > len(inputs))
        images = inputs[torch.as_tensor(chosen).to(inputs.device)]
        return self.radius * normalised(images, self.p)

    def _epoch(self, learner: SparseUpdate, inputs: Tensor, seed: int, epoch: int) -> tuple[float, float]:
        """Learn from every image once; return the share of units that have won, and of those that are dead now."""
        order = torch.as_tensor(rng.stream(seed, self.word, "shuffle", epoch).permutation(len(inputs)))
        order = order.to(inputs.device)
        rate = self.rate_at(epoch)
        won = torch.zeros(self.units, dtype=torch.bool, device=inputs.device)
        for first in range(0, len(inputs) - self.batch_size + 1, self.batch_size):
            won[learner.step(inputs[order[first : first + self.batch_size]], rate)] = True
        if not bool(torch.isfinite(learner.weights).all()):
            raise NumericalError(
                f"{self.word}: weights became NaN or infinite in epoch {epoch + 1} at rate {rate:g}. Lower "
                f"'learning_rate' (now {self.learning_rate:g}) or 'delta' (now {self.delta:g})."
            )
        dead = (inputs[order[-LAST:]] @ learner.transform.T).amax(0) <= 0
        return float(won.float().mean()), float(dead.float().mean())

    def _warn_early(self, history: list[tuple[float, float]]) -> None:
        """Warn at the end of the first epoch with many dead units: nothing that follows revives them."""
        said = [death(dead, self.units) for _, dead in history]
        if said[-1] and not any(said[:-1]):
            remedy = self._remedy(max(won for won, _ in history))
            warnings.warn(f"{self.word}, epoch {len(history)} of {self.epochs}: {said[-1]}{remedy}", stacklevel=3)

    def _remedy(self, won: float) -> str:
        """Return what to do against dead units and a collapse; `won` is the largest share of winners of an epoch."""
        if won < 0.5 or self.delta == 0:
            return "Few units have ever won, and the others never learn: set init: images, or a larger init_mean."
        return (
            "They were pushed away (rank k) more than they won, out of what all images share. Lower delta from "
            f"{self.delta:g} to {min(0.1, self.delta / 4):g}: of 400 units on Fashion-MNIST 0.4 kills 98 %, 0.1 none."
        )

    def _state(self, weights: Tensor, inputs: Tensor, history: np.ndarray) -> xr.Dataset:
        wins = torch.zeros(self.units, dtype=torch.int64, device=inputs.device)
        peak = torch.full((self.units,), -torch.inf, device=inputs.device)
        matrix = bracket(weights, self.p)
        for rows in torch.split(inputs, 1000):
            currents = rows @ matrix.T
            wins += torch.bincount(currents.argmax(1), minlength=self.units)
            peak = torch.maximum(peak, currents.amax(0))
        won, dead = history.T
        state = xr.Dataset(
            {
                "weights": (("neuroid", "input"), weights.cpu().numpy()),
                "share_of_winners": ("epoch", won),
                "share_dead": ("epoch", dead),
            },
            coords={"epoch": np.arange(1, len(history) + 1)},
        )
        describe(state, {"weights": ("weights from the normalised pixels", "1"), "epoch": ("epoch", "1")})
        describe(state, {"share_of_winners": ("share of the units that won at least once in the epoch", "1")})
        describe(state, {"share_dead": (f"share of the units that none of the epoch's last {LAST} images drives", "1")})
        per_unit, report, remarks = convergence(
            state["weights"].values,
            wins.cpu().numpy(),
            peak.cpu().numpy(),
            self.p,
            self.radius,
            self._remedy(won.max(initial=0)),
        )
        set_report(state, report, remarks)
        return state.assign(per_unit)
