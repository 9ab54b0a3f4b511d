"""Orientation tuning, as a measure of a recipe: the network is shown gratings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
import xarray as xr

from biorep.config import setting
from biorep.contracts import Code, Column, Dataset, Drawing, Given, Measure, Need, Recipe, Rows
from biorep.table import Choice
from biorep.tables import DATASETS
from biorep.tuning.orientation import tuning


class Tuning(Measure):
    """Which gratings to show, and whose responses to take; see `biorep.tuning.tuning`."""

    versions: ClassVar[dict[str, int]] = {"tuning": 2}
    columns: ClassVar[tuple[Column, ...]] = (
        Column("selectivity", "orientation selectivity", 2, "1 - circular variance of the tuning, median of neuroids"),
    )

    kind: Literal["tuning"] = "tuning"
    gratings: Annotated[Dataset, Choice(DATASETS)] = setting(
        description="what is shown, for example {name: gratings, size: 16}; as large as the images of the recipe"
    )
    layer: str = setting("last", description="a layer of the network, or `last`")

    def needs(self, recipe: Recipe) -> Mapping[str, Need]:
        """Return the responses to the gratings."""
        return {"code": Code("test", self.layer, dataset=self.gratings)}

    def make(self, given: Given) -> xr.Dataset:
        """Return tuning curves and their summary numbers."""
        return tuning(given["code"])

    def numbers(self, result: xr.DataTree) -> dict[str, float]:
        """Return the median selectivity."""
        return {"selectivity": float(np.nanmedian(np.asarray(result["selectivity"])))}

    def figures(self, rows: Rows) -> Iterator[Drawing]:
        """Yield a summary per row, of its first seed."""
        from biorep import plot

        for name, members in rows.items():
            caption = f"{name}: preferred orientations and frequencies, selectivity and tuning curves (first seed)."
            yield Drawing(f"tuning-{name}", caption, plot.tuning_summary(members[0].to_dataset(), title=name))
