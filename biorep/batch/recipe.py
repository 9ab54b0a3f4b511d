"""Recipes: one experiment, as validated settings. Put together from the tables of networks and penalties."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import field_validator, model_validator

from biorep.bridge.readout import Readout
from biorep.bridge.surrogate import Surrogate
from biorep.config import Config, Source, setting, validate
from biorep.datasets import fingerprint
from biorep.errors import ConfigError, choose
from biorep.networks import TABLE, Network, network_class
from biorep.networks.base import Layer
from biorep.robustness import Robustness
from biorep.spectra import CONVENTIONS

N = TypeVar("N", bound=Network)


class DatasetChoice(Config):
    """Which images to use."""

    name: str = setting(description="a known dataset (see `biorep data`) or the path of your own")
    fit_on: Literal["train", "train+validation"] = setting(
        "train", description="published recipes learn from all of the training set: train+validation"
    )
    limit: int | None = setting(None, ge=1, description="use a seeded subset of this many images per split")
    source: Literal["auto", "photographs", "olshausen"] = setting("auto", description="natural-patches: whose images")
    size: int = setting(16, ge=2, description="natural-patches: side of a patch in pixels")
    count: int = setting(20_000, ge=1, description="natural-patches: number of training patches")
    seed: int = setting(0, ge=0, description="natural-patches: seed of their positions")

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments for `biorep.datasets.load`."""
        return {key: getattr(self, key) for key in ("limit", "source", "size", "count", "seed")}

    def identity(self) -> dict[str, Any]:
        """Return what identifies the images, for the hash of a stage: contents, not paths."""
        payload = {**self.hash_payload(), **fingerprint(self.name, source=self.source)}
        if "source" not in fingerprint(self.name, source=self.source):
            payload = {key: payload[key] for key in ("sha256", "fit_on", "limit")}
        else:
            payload.pop("name")
        return payload


class SpectrumChoice(Config):
    """What to fit a power law to, and how; see `biorep.spectra.fit_powerlaw`."""

    split: Literal["test", "train"] = setting("test", description="presentations that the covariance is taken over")
    layer: Layer = setting("response", description="after or before the nonlinearity")
    first: int | None = setting(None, ge=1, description="first rank of the window")
    last: int | None = setting(None, ge=2, description="last rank of the window")
    convention: str | None = setting(None, description="a named window, weighting and sign policy")

    @field_validator("convention")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                choose(value, CONVENTIONS, "convention")
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _window(self) -> SpectrumChoice:
        if self.convention is not None and (self.first is not None or self.last is not None):
            raise ValueError(f"convention '{self.convention}' sets the window; do not give first or last as well")
        if self.last is not None and self.last <= (self.first or 11):
            raise ValueError(f"the window {self.first or 11}-{self.last} is empty")
        return self


class Recipe[N: Network](Config):
    """One experiment: a dataset, a network, and what is measured of it."""

    name: str = setting(
        hashed=False, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the results' folder"
    )
    about: str = setting("", hashed=False, description="what this is, for people")
    reference: str = setting("", hashed=False, description="who published it")
    expected: str = setting("", hashed=False, description="which numbers to expect")
    time: str = setting("", hashed=False, description="how long it takes")
    shrunk: dict[str, Any] = setting({}, hashed=False, description="keys that make it run in seconds (--shrunk)")
    dataset: DatasetChoice = setting(description="the images, for example {name: digits}")
    network: N = setting(description="the network, for example {kind: krotov-hopfield, units: 500}")
    repeats: int | None = setting(
        None, ge=1, neutral=None, description="noisy repeats of each image, for networks that answer with noise"
    )
    readout: Readout | None = setting(Readout(), description="null: none")
    surrogate: Surrogate = setting(
        Surrogate(), description="spiking networks: their differentiable stand-in, which robustness attacks"
    )
    spectrum: SpectrumChoice | None = setting(SpectrumChoice(), description="null: none")
    robustness: Robustness | None = setting(Robustness(), description="null: none")
    seed: int = setting(0, ge=0, description="seed of everything random")

    @model_validator(mode="after")
    def _consistent(self) -> Recipe[N]:
        if self.name == "stages":
            raise ValueError("a recipe cannot be called 'stages': that is the folder of the shared results")
        if self.robustness is not None and self.readout is None:
            raise ValueError("robustness needs a readout: remove 'readout: null' or add 'robustness: null'")
        if self.robustness is not None and self.network.depends_on_batch:
            raise ValueError(
                "robustness has no meaning for a network whose answer to an image depends on the images beside it: add "
                "'robustness: null', or set whitening.statistics to 'stored'"
            )
        if self.readout is not None and self.readout.source == "own" and not self.network.has_readout:
            raise ValueError(f"readout.source is 'own', but '{self.network.kind}' learns no classes; use 'trained'")
        return self


def recipe_from(source: Source) -> Recipe[Any]:
    """Validate a document as a recipe.

    Raises
    ------
    ConfigError
        With file, line and key path of every mistake.
    """
    chosen = source.data.get("network")
    if isinstance(chosen, dict):
        where = source.where(("network", "kind"))
        if "kind" not in chosen:
            raise ConfigError(f"{where}: key 'network.kind' is missing. Available: {', '.join(sorted(TABLE))}.")
        try:
            cls: Any = network_class(chosen["kind"])
        except ConfigError as error:
            raise ConfigError(f"{where}: 'network.kind': {error}") from None
    else:
        cls = Network  # its fields are not looked at: the error says what is missing
    return validate(Recipe[cls], source)
