"""What measures ask for as `Model`: the network of a recipe with its readout, as one callable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from biorep.bridge.classifier import Classifier, Space, classifier
from biorep.config import setting
from biorep.contracts import Frozen, Given, Measure, Need, Recipe, Result
from biorep.errors import ConfigError


class Joined(Measure):
    """The provider of `biorep.contracts.Model`; nothing of it is stored."""

    stored: ClassVar[bool] = False
    versions: ClassVar[dict[str, int]] = {"model": 1}

    kind: Literal["model"] = "model"
    space: Space = setting("pixel", description="what the model takes: images, or images after their normalisation")
    simulated: bool = setting(False, description="answer through `encode`, without gradients")

    def needs(self, recipe: Recipe) -> Mapping[str, Need]:
        """Return network and readout, and the surrogate of a network without gradients."""
        if self.simulated:
            raise ConfigError("a simulated model was asked for; this version of biorep has none")
        parts: dict[str, Need] = {"network": Frozen(), "readout": Result("readout")}
        return parts if recipe.network.differentiable else {**parts, "surrogate": Result("surrogate")}

    def make(self, given: Given) -> Classifier:
        """Return the module, images to logits."""
        frozen = given["network"]
        surrogate = given["surrogate"] if given.has("surrogate") else None
        return classifier(frozen.network, frozen.state, given["readout"], surrogate=surrogate, space=self.space)
