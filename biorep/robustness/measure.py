"""Robustness as a measure: the network with its readout under attack and noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import xarray as xr
from pydantic import field_validator
from torch import Tensor

from biorep.config import setting
from biorep.context import RunContext
from biorep.contracts import Column, Drawing, Given, Images, Measure, Model, Need, Recipe, Result, Rows
from biorep.errors import ConfigError
from biorep.robustness.attack import Attack
from biorep.robustness.critical import median
from biorep.robustness.evaluate import L2, LINF, NOISE, STANDARD, check_grid, evaluate, name_attacks
from biorep.robustness.perturbation import Model as Classifier
from biorep.table import Choice
from biorep.tables import ATTACKS

NOTE = "the smallest perturbation that any of the attacks found to fool the network, median over the attacked images"
ALL_IMAGES, CORRECT = f"{NOTE}; 0 where it is wrong anyway", f"{NOTE} that are classified correctly without attack"


class Robustness(Measure):
    """Which attacks to run, on how many images, at which epsilons.

    A grid that is empty leaves its group out; 0 is added in front of each grid, where the accuracy is the clean one.
    """

    versions: ClassVar[Mapping[str, int]] = {"robustness": 2}
    seeded: ClassVar[bool] = True
    on_device: ClassVar[bool] = True
    standard: ClassVar[bool] = True
    columns: ClassVar[tuple[Column, ...]] = (
        Column("critical_linf", "median critical L-inf", 3, ALL_IMAGES),
        Column("critical_linf_correct", "L-inf of correct", 3, CORRECT),
        Column("critical_l2", "median critical L2", 3, ALL_IMAGES),
        Column("critical_l2_correct", "L2 of correct", 3, CORRECT),
    )

    kind: Literal["robustness"] = "robustness"
    images: int = setting(1000, ge=1, description="test images, the first ones of a recorded permutation")
    split: Literal["test", "validation"] = setting("test", description="choices are made on validation", neutral="test")
    space: Literal["pixel", "normalised"] = setting(
        "pixel", description="normalised: attack the images after their normalisation"
    )
    attacks: tuple[Annotated[Attack, Choice(ATTACKS)], ...] = setting(STANDARD, description="words, or groups of keys")
    linf: tuple[float, ...] | None = setting(
        None, description=f"L-inf epsilons, in units of the space; null: {LINF} times the range of the values"
    )
    l2: tuple[float, ...] | None = setting(
        None, description=f"L2 epsilons, in units of the space; null: {L2} times the range of the values"
    )
    noise: tuple[float, ...] | None = setting(
        None, description=f"SDs of Gaussian noise, in units of the space; null: {NOISE} times the range of the values"
    )
    noise_draws: int = setting(10, ge=1, description="independent draws of the noise")
    noise_clipped: bool = setting(True, description="clip noisy images to the value range")
    precision: float = setting(
        0.01, gt=0, description="of the critical distance: after the grid, epsilon is bisected to this relative width"
    )

    @field_validator("linf", "l2", "noise")
    @classmethod
    def _ascending(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        return None if value is None else _explained(check_grid, value)

    @field_validator("attacks")
    @classmethod
    def _once(cls, value: tuple[Attack, ...]) -> tuple[Attack, ...]:
        _explained(name_attacks, value)
        return value

    def needs(self, recipe: Recipe) -> Mapping[str, Need]:
        """Return what it needs: images, and a classifier of them with what it was fitted to."""
        if recipe.network.depends_on_batch:
            raise ConfigError(
                "robustness has no meaning for a network whose answer to an image depends on the images beside it: add "
                "'robustness: null', or set whitening.statistics to 'stored'"
            )
        return {"model": Model(self.space), "images": Images(self.split), "readout": Result("readout")}

    def make(self, given: Given) -> xr.DataTree:
        """Return what `evaluate` finds."""
        fitted = given["readout"]["fitted_stimulus_id"].values
        return self.evaluate(given["model"], given["images"], fitted=fitted, seed=given.seed, context=given.context)

    def evaluate(
        self,
        model: Classifier,
        dataset: xr.Dataset,
        *,
        fitted: np.ndarray | None = None,
        prepare: Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
        context: RunContext | None = None,
    ) -> xr.DataTree:
        """Attack a classifier as the settings say, see `biorep.robustness.evaluate`.

        Parameters
        ----------
        model : callable
            Images, or what `prepare` makes of them, to logits.
        dataset : xr.Dataset
            Images of the split to attack.
        fitted : array of str, optional
            Stimuli that the classifier was fitted to; an overlap is an error.
        prepare : callable, optional
            By default the `prepare` of the model, as those of `biorep.bridge.classifier` have one.
        seed : int
        context : RunContext, optional

        Returns
        -------
        xr.DataTree
        """
        settings: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        del settings["kind"], settings["space"]
        prepare = prepare or getattr(model, "prepare", None)
        tree = evaluate(model, dataset, fitted=fitted, prepare=prepare, seed=seed, context=context, **settings)
        tree.attrs["space"] = self.space
        return tree

    def numbers(self, result: xr.DataTree) -> dict[str, float]:
        """Return the median of the least norm that any attack found, over all and over the correct images, per norm."""
        found: dict[str, float] = {}
        for norm in ("linf", "l2"):
            if norm in result.children:
                distance = result[norm].to_dataset()["critical_distance"].min("attack")
                correct = distance.where(result["clean_correct"] == 1, drop=True)
                found |= {
                    f"critical_{norm}": median(distance.values),
                    f"critical_{norm}_correct": median(correct.values),
                }
        return found

    def columns_for(self, recipe: Recipe) -> tuple[Column, ...]:
        """Return the columns with the unit of the space that is attacked."""
        norm = getattr(recipe.network, "input_norm", None)
        unit = "pixels" if self.space == "pixel" else f"unit-L{norm:g}" if norm else "normalised"
        return tuple(replace(column, unit=unit) for column in self.columns)

    def figures(self, rows: Rows) -> Iterator[Drawing]:
        """Yield the accuracy under attack and noise."""
        from biorep import plot

        shown = {name: trees for name, trees in rows.items() if any(tree.children for tree in trees)}
        if shown:
            caption = "Accuracy under attack and noise: mean and range over seeds."
            yield Drawing("robustness", caption, plot.accuracy_curves(shown))


def _explained[T, R](check: Callable[[T], R], value: T) -> R:
    """Return what a check returns; pydantic adds the place to a ValueError."""
    try:
        return check(value)
    except ConfigError as error:
        raise ValueError(str(error)) from None
