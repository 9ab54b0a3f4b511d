"""Robustness of a classifier: attacks and noise over grids of epsilons, as one labelled tree."""

from __future__ import annotations

import itertools
import json
from typing import Literal

import numpy as np
import torch
import xarray as xr
from pydantic import field_validator
from torch import Tensor

from biorep import rng
from biorep.bridge.classifier import Classifier, Space
from biorep.config import Config, setting
from biorep.context import RunContext
from biorep.robustness.critical import Attack, Outcome, sweep
from biorep.robustness.fgsm import fgsm
from biorep.robustness.noise import add_noise, noise_directions
from biorep.robustness.perturbation import Loss, Norm, gradient_and_logits, unit_start
from biorep.robustness.pgd import pgd
from biorep.robustness.tables import attack_table, noise_table
from biorep.schema import check_dataset, describe, require_disjoint, require_splits

#: Images attacked at once; bounds the memory, changes nothing else.
BATCH = 500


def _grid(values: tuple[float, ...]) -> tuple[float, ...]:
    """Return an epsilon grid with its leading 0; raise ValueError if it does not ascend."""
    grid = values if values and values[0] == 0 else (0.0, *values)
    if any(b <= a for a, b in itertools.pairwise(grid)):
        raise ValueError(f"epsilons must be non-negative and ascend, got {list(values)}")
    return grid


class Robustness(Config):
    """Which attacks to run, on how many images, at which epsilons.

    A grid that is empty leaves its group out; 0 is added in front of each grid, where the accuracy is the clean one.
    """

    images: int = setting(1000, ge=1, description="test images, the first ones of a recorded permutation")
    split: Literal["test", "validation"] = setting("test", description="choices are made on validation", neutral="test")
    space: Space = setting("pixel", description="normalised: attack the images after their normalisation")
    attacks: tuple[Literal["fgsm", "pgd"], ...] = setting(("fgsm", "pgd"), description="attacks to run")
    linf: tuple[float, ...] = setting((0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5), description="L-inf epsilons")
    l2: tuple[float, ...] = setting((0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 6.0), description="L2 epsilons")
    noise: tuple[float, ...] = setting((0.05, 0.1, 0.2, 0.3, 0.5, 1.0), description="SDs of Gaussian noise")
    noise_draws: int = setting(10, ge=1, description="independent draws of the noise")
    noise_clipped: bool = setting(True, description="clip noisy images to the value range")
    steps: int = setting(40, ge=1, description="steps of PGD")
    relative_step: float | None = setting(None, gt=0, description="PGD step / epsilon; null: from 5 / steps down to 0")
    restarts: int = setting(2, ge=1, description="starts of PGD; only images that withstood are tried again")
    random_start: bool = setting(True, description="start PGD at random points of the ball, else at the image")
    loss: Loss = setting("margin", description="loss that PGD increases; FGSM uses the cross-entropy")
    refinements: int = setting(6, ge=0, description="bisections of the critical distance after the grid")

    _ascending = field_validator("linf", "l2", "noise")(_grid)

    @field_validator("attacks")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"each attack can be named once, got {list(value)}")
        return value

    def evaluate(
        self,
        classifier: Classifier,
        dataset: xr.Dataset,
        *,
        fitted: np.ndarray | None = None,
        seed: int = 0,
        run: RunContext | None = None,
    ) -> xr.DataTree:
        """Attack a classifier.

        Parameters
        ----------
        classifier : Classifier
            From `biorep.bridge.classifier`.
        dataset : xr.Dataset
            Images of the split to attack.
        fitted : array of str, optional
            Stimuli that the classifier was fitted to; an overlap is an error.
        seed : int
            Seed of random starts, noise, and the choice of images.
        run : RunContext, optional

        Returns
        -------
        xr.DataTree
            At the root ``clean_correct(presentation)`` and ``clean_accuracy``. In the groups ``linf`` and
            ``l2``: ``correct(attack, epsilon, presentation)``, ``accuracy`` and ``relative_accuracy``
            ``(attack, epsilon)``, ``critical_distance`` and ``critical_l2`` ``(attack, presentation)``, and
            their medians over all and over the correctly classified images. In ``noise``:
            ``accuracy(epsilon)`` over the draws, ``share_correct(epsilon, presentation)`` and the critical
            distance along the direction of the first draw.

        Raises
        ------
        SplitError
            If the images are not of the split, or were used for fitting.
        """
        check_dataset(dataset)
        require_splits(dataset, [self.split], "an evaluation of robustness")
        chosen = _choose(dataset, self.images)
        if fitted is not None:
            require_disjoint(chosen["stimulus_id"].values, fitted, "an evaluation of robustness")
        target = _Target(classifier, chosen, self, seed, run or RunContext())
        groups: dict[str, xr.Dataset] = {"/": target.root()}
        norms: tuple[tuple[Norm, tuple[float, ...]], ...] = (("linf", self.linf), ("l2", self.l2))
        for norm, grid in norms:
            if len(grid) > 1 and self.attacks:
                groups[norm] = target.attacked(norm, list(grid))
        if len(self.noise) > 1:
            groups["noise"] = target.noisy(list(self.noise))
        warnings = [text for group in groups.values() for text in json.loads(group.attrs.pop("warnings", "[]"))]
        groups["/"].attrs |= {"space": self.space, "split": self.split, "warnings": json.dumps(warnings)}
        return xr.DataTree.from_dict(groups)


def _choose(dataset: xr.Dataset, count: int) -> xr.Dataset:
    n = dataset.sizes["presentation"]
    order = rng.stream(0, "robustness-images", n).permutation(n)[:count]
    return dataset.isel(presentation=np.sort(order))


class _Target:
    """A classifier and the images that it is attacked with."""

    def __init__(self, classifier: Classifier, dataset: xr.Dataset, plan: Robustness, seed: int, run: RunContext):
        device = run.torch_device()
        self.model, self.plan, self.seed, self.run = classifier.to(device), plan, seed, run
        with torch.no_grad():
            self.images = classifier.prepare(torch.as_tensor(dataset["image"].values).to(device))
        self.labels = torch.as_tensor(dataset["label"].values).to(device)
        low, high = dataset["image"].attrs["value_range"]
        self.bounds = (float(low), float(high))
        self.coords = {"stimulus_id": dataset["stimulus_id"], "label": dataset["label"]}
        self.clean = torch.cat([self._correct(i, self.images[i]) for i in torch.arange(len(self.images)).split(BATCH)])

    def _correct(self, index: Tensor, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.model(images).argmax(1) == self.labels[index]

    def root(self) -> xr.Dataset:
        clean = self.clean.cpu().numpy()
        root = xr.Dataset(
            {"clean_correct": ("presentation", clean.astype(np.int8)), "clean_accuracy": clean.mean()},
            coords=self.coords,
        )
        describe(root, {"clean_correct": ("1 if the unperturbed image is classified correctly", "1")})
        return describe(root, {"clean_accuracy": ("share of unperturbed images classified correctly", "1")})

    # ------------------------------------------------------------------------------------------------ attacks

    def attacked(self, norm: Norm, epsilons: list[float]) -> xr.Dataset:
        """Return the group of one norm."""
        outcomes = []
        for name in self.run.track(self.plan.attacks, f"robustness: {norm}", len(self.plan.attacks)):
            attack = self._fgsm(norm) if name == "fgsm" else self._pgd(norm)
            outcomes.append(self._sweep(attack, epsilons, norm))
        group = attack_table(outcomes, list(self.plan.attacks), epsilons, self.clean.cpu().numpy())
        group.attrs["warnings"] = json.dumps(self._zero_gradients(norm))
        return group.assign_coords(stimulus_id=self.coords["stimulus_id"])

    def _sweep(self, attack: Attack, epsilons: list[float], norm: Norm) -> Outcome:
        return sweep(
            self.model,
            self.images,
            self.labels,
            self.clean,
            _in_batches(attack),
            epsilons=epsilons,
            norm=norm,
            refinements=self.plan.refinements,
        )

    def _fgsm(self, norm: Norm) -> Attack:
        def attack(index: Tensor, epsilon: Tensor) -> Tensor:
            return fgsm(
                self.model, self.images[index], self.labels[index], epsilon=epsilon, norm=norm, bounds=self.bounds
            )

        return attack

    def _pgd(self, norm: Norm) -> Attack:
        plan = self.plan
        shape = tuple(self.images.shape)
        starts = [
            unit_start(shape, norm, self.seed, restart) if plan.random_start else torch.zeros(shape)
            for restart in range(plan.restarts)
        ]

        def attack(index: Tensor, epsilon: Tensor) -> Tensor:
            best = self.images[index]
            open_ = torch.arange(len(index))
            for start in starts:
                chosen = index[open_]
                found = pgd(
                    self.model,
                    self.images[chosen],
                    self.labels[chosen],
                    epsilon=epsilon[open_],
                    norm=norm,
                    steps=plan.steps,
                    relative_step=plan.relative_step,
                    loss=plan.loss,
                    start=start[chosen].to(self.images),
                    bounds=self.bounds,
                )
                best = best.clone()
                best[open_] = found
                open_ = open_[self._correct(chosen, found).cpu()]
                if not len(open_):
                    break
            return best

        return attack

    def _zero_gradients(self, norm: Norm) -> list[str]:
        """Warn where an attack has no gradient to follow: robustness that is none."""
        losses: dict[str, Loss] = {"fgsm": "cross-entropy", "pgd": self.plan.loss}
        warnings = []
        for name in self.plan.attacks:
            zero = 0
            for index in torch.arange(len(self.images)).split(BATCH):
                gradient, _ = gradient_and_logits(self.model, self.images[index], self.labels[index], losses[name])
                zero += int((gradient.flatten(1).abs().amax(1) == 0).sum())
            if zero > 0.01 * len(self.images):
                warnings.append(
                    f"{name} ({norm}): the gradient of the {losses[name]} is exactly zero at "
                    f"{100 * zero / len(self.images):.0f} % of the images, so this attack overstates the robustness."
                )
        return warnings

    # -------------------------------------------------------------------------------------------------- noise

    def noisy(self, epsilons: list[float]) -> xr.Dataset:
        """Return the group of Gaussian noise; epsilon is its standard deviation."""
        shape, bounds = tuple(self.images.shape), self.bounds if self.plan.noise_clipped else None
        share = np.zeros((len(epsilons), len(self.images)))
        for draw in self.run.track(range(self.plan.noise_draws), "robustness: noise", self.plan.noise_draws):
            directions = noise_directions(shape, self.seed, draw).to(self.images)
            for row, epsilon in enumerate(epsilons):
                for index in torch.arange(len(self.images)).split(BATCH):
                    noisy = add_noise(self.images[index], directions[index], epsilon=epsilon, bounds=bounds)
                    share[row, index.numpy()] += self._correct(index, noisy).cpu().numpy()
        share /= self.plan.noise_draws
        along = noise_directions(shape, self.seed, 0).to(self.images)
        outcome = self._sweep(
            lambda index, epsilon: add_noise(self.images[index], along[index], epsilon=epsilon, bounds=bounds),
            epsilons,
            "l2",
        )
        return noise_table(outcome, share, epsilons).assign_coords(stimulus_id=self.coords["stimulus_id"])


def _in_batches(attack: Attack) -> Attack:
    def batched(index: Tensor, epsilon: Tensor) -> Tensor:
        parts = zip(index.split(BATCH), epsilon.split(BATCH), strict=True)
        return torch.cat([attack(chosen, radius) for chosen, radius in parts])

    return batched
