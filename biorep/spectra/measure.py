"""The eigenspectrum of a representation and its power law, as a measure of a recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import xarray as xr
from pydantic import field_validator, model_validator

from biorep.config import setting
from biorep.contracts import ALL, Code, Column, Drawing, Given, Measure, Need, Quantity, Recipe, Rows
from biorep.errors import ConfigError, DataError
from biorep.schema import describe
from biorep.spectra.covariance import PCA
from biorep.spectra.estimator import Estimator
from biorep.spectra.powerlaw import convention_of, fit_powerlaw
from biorep.table import Choice
from biorep.tables import ESTIMATORS

#: Last ranks of further fits beside the automatic one: some of them are common to all networks of a table.
ENDS = (30, 40, 50, 70, 100, 150, 200, 300, 400, 500)


class Spectrum(Measure):
    """What to fit a power law to, and how; see `biorep.spectra.eigenspectrum` and `biorep.spectra.fit_powerlaw`."""

    standard: ClassVar[bool] = True
    versions: ClassVar[dict[str, int]] = {"spectrum": 2}
    columns: ClassVar[tuple[Column, ...]] = (
        Column("alpha", "exponent", 2, "of a power law fitted to the eigenspectrum of the covariance", ranked=True),
    )

    kind: Literal["spectrum"] = "spectrum"
    split: Literal["test", "train"] = setting("test", description="presentations that the covariance is taken over")
    layer: str = setting("last", description="a layer of the network, `last`, or `all` of them")
    quantity: Quantity = setting("response", description="after or before the nonlinearity")
    estimator: Annotated[Estimator, Choice(ESTIMATORS)] = setting(PCA(), description="how eigenvalues are estimated")
    first: int | None = setting(None, ge=1, description="first rank of the window")
    last: int | None = setting(None, ge=2, description="last rank of the window")
    convention: str | None = setting(None, description="a named window, weighting and sign policy")

    @field_validator("convention")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                convention_of(value)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _window(self) -> Spectrum:
        if self.convention is not None and (self.first is not None or self.last is not None):
            raise ValueError(f"convention '{self.convention}' sets the window; do not give first or last as well")
        if self.last is not None and self.last <= (self.first or 11):
            raise ValueError(f"the window {self.first or 11}-{self.last} is empty")
        return self

    def needs(self, recipe: Recipe) -> Mapping[str, Need]:
        """Return the responses."""
        split = recipe.dataset.fit_on if self.split == "train" else "test"
        return {"code": Code(split, self.layer, self.quantity, repeats=self.estimator.repeats)}

    def make(self, given: Given) -> xr.Dataset:
        """Return the spectrum and the fit, with the dim `layer` if there are several."""
        code = given["code"]
        if self.layer != ALL:
            return self.of(code)
        parts = [self.of(node.to_dataset()) for node in code.children.values()]
        warnings = [text for part in parts for text in json.loads(part.attrs.get("warnings", "[]"))]
        joined = xr.concat(
            parts, xr.IndexVariable("layer", list(code.children)), join="outer", combine_attrs="drop_conflicts"
        )
        return joined.assign_attrs(warnings=json.dumps(warnings), layer=ALL)

    def of(self, representation: xr.Dataset) -> xr.Dataset:
        """Return the spectrum of a representation with the fit; a fit that cannot be made is a warning and NaN."""
        spectrum = self.estimator(representation).assign_attrs(split=self.split)
        try:
            fit = fit_powerlaw(spectrum, first=self.first, last=self.last, convention=self.convention)
        except (DataError, ConfigError) as error:
            spectrum["alpha"] = np.nan
            describe(spectrum, {"alpha": ("exponent of the power law", "1")})
            self._add_ends(spectrum, 0)
            return spectrum.assign_attrs(warnings=json.dumps([f"no exponent: {error}"]))
        warnings = []
        if beyond := int(fit["n_beyond_rank"]):
            rank = int(spectrum["numerical_rank"])
            warnings = [f"the spectrum ends at rank {rank}, {beyond} ranks before the end of the window"]
        self._add_ends(spectrum, int(fit["last_rank"]))
        return spectrum.merge(fit).assign_attrs({**spectrum.attrs, **fit.attrs, "warnings": json.dumps(warnings)})

    def _add_ends(self, spectrum: xr.Dataset, last: int) -> None:
        """Add the exponents up to shorter ends than the automatic one, NaN beyond it."""
        if (self.first, self.last, self.convention) == (None, None, None):
            alphas = [float(fit_powerlaw(spectrum, last=end)["alpha"]) if end <= last else np.nan for end in ENDS]
            spectrum["alpha_to"] = ("end", alphas)
            spectrum.coords["end"] = list(ENDS)
            describe(spectrum, {"alpha_to": ("exponent of the power law up to this rank", "1"), "end": ("rank", "1")})

    def numbers(self, result: xr.DataTree) -> dict[str, float]:
        """Return the exponent, its ranks, and that up to shorter ends; of several layers those of the last one."""
        one = result.to_dataset() if isinstance(result, xr.DataTree) else result
        one = one.isel(layer=-1) if "layer" in one.dims else one
        found = {name: float(one[name]) for name in ("alpha", "first_rank", "last_rank") if name in one}
        ends = one["alpha_to"].dropna("end") if "alpha_to" in one else []
        return found | {f"alpha_to_{int(alpha['end'])}": float(alpha) for alpha in ends}

    def figures(self, rows: Rows) -> Iterator[Drawing]:
        """Yield the spectra; of several layers those of the last one."""
        from biorep import plot

        shown: dict[str, list[Any]] = {
            name: [m.to_dataset().isel(layer=-1) if "layer" in m.dims else m.to_dataset() for m in members]
            for name, members in rows.items()
        }
        what = (
            f"{self.split} {self.quantity}s"
            if self.layer == "last"
            else f"{self.split} {self.quantity}s ({self.layer})"
        )
        caption = f"Eigenspectra of the covariance of the {what}; dashes: the fitted power law in its window."
        yield Drawing("spectrum", caption, plot.spectrum_lines(shown))
