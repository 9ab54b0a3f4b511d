"""Isometry within classes, as a measure of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import xarray as xr

from biorep.config import setting
from biorep.contracts import Code, Column, Given, Images, Measure, Need, Quantity, Recipe
from biorep.geometry.isometry import within_class_isometry


class Isometry(Measure):
    """Which responses to hold against the images; see `biorep.geometry.within_class_isometry`."""

    versions: ClassVar[dict[str, int]] = {"isometry": 1}
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "pearson",
            "isometry within classes",
            3,
            "Pearson correlation of the distances of responses and of images within a class, mean over classes",
        ),
    )

    kind: Literal["isometry"] = "isometry"
    split: Literal["test", "validation"] = setting("test", description="presentations whose distances are compared")
    layer: str = setting("last", description="a layer of the network, or `last`")
    quantity: Quantity = setting("response", description="after or before the nonlinearity")
    images: int | None = setting(None, ge=3, description="a fixed choice of so many images; null: all")

    def needs(self, recipe: Recipe) -> Mapping[str, Need]:
        """Return the responses and their images."""
        return {
            "code": Code(self.split, self.layer, self.quantity, images=self.images),
            "images": Images(self.split, self.images),
        }

    def make(self, given: Given) -> xr.Dataset:
        """Return the correlations by class."""
        return within_class_isometry(given["code"], given["images"])

    def numbers(self, result: xr.DataTree) -> dict[str, float]:
        """Return the mean correlation."""
        return {"pearson": float(result["mean_pearson"])}
