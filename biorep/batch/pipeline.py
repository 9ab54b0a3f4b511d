"""One recipe executed, stage by stage: state -> representation -> readout, spectrum, robustness.

Each stage has a key, the hash of everything that changes its result, its parents' keys included. A stage whose
key is in the store already is not repeated, whichever run made it.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from biorep import bridge, datasets, spectra
from biorep.batch.plan import Planned
from biorep.batch.recipe import SpectrumChoice
from biorep.bridge import Readout
from biorep.bridge.readout import score
from biorep.config import digest, plain
from biorep.context import RunContext
from biorep.errors import ConfigError, DataError
from biorep.networks.base import DifferentiableNetwork, Layer, warnings_of
from biorep.robustness import Robustness
from biorep.store import RunRecord, Stages
from biorep.store.provenance import code_version

Say = Callable[[str], None]
Result = xr.Dataset | xr.DataTree


#: Images that the last runs of this process have used, by what identifies them: most runs of a plan use the same.
_IMAGES: dict[str, xr.Dataset] = {}
MOST_IMAGES = 3


class Pipeline:
    """The stages of one recipe.

    Parameters
    ----------
    planned : Planned
        The run.
    root : Path
        Root of the store.
    run : RunContext
        Device and progress.
    say : callable
        Takes one line about each stage.
    """

    def __init__(self, planned: Planned, root: Path, run: RunContext, say: Say):
        self.recipe, self.planned, self.run, self.say = planned.recipe, planned, run, say
        self.stages = Stages(root)
        self.keys: dict[str, str] = {}
        self.only_keys = False
        self._memory: dict[tuple[str, ...], xr.Dataset] = {}
        self.engine = f"torch-{run.torch_device().partition(':')[0]}"
        self.network_engine = planned.recipe.network.engine(run)

    def plan(self) -> dict[str, str]:
        """Return the keys of all stages that the recipe asks for, by kind, without making any."""
        self.only_keys = True
        self._stages_of_recipe()
        return dict(self.keys)

    def execute(self) -> RunRecord:
        """Do what is left to do and return the keys of all stages."""
        start = time.perf_counter()
        warnings = [text for result in self._stages_of_recipe() for text in warnings_of(result)]
        return RunRecord(
            self.planned.name,
            plain_recipe(self.recipe),
            self.planned.coordinates,
            dict(self.keys),
            list(dict.fromkeys(warnings)),
            round(time.perf_counter() - start, 3),
            code_version(),
        )

    def _stages_of_recipe(self) -> list[xr.Dataset]:
        recipe = self.recipe
        results = [self.state(), self.representation("test", self._layer())]
        if recipe.readout is not None:
            results.append(self.readout(recipe.readout))
        if recipe.spectrum is not None:
            results.append(self.spectrum(recipe.spectrum))
        if recipe.robustness is not None:
            if not isinstance(recipe.network, DifferentiableNetwork):
                results.append(self.surrogate())
            results.append(self.robustness(recipe.robustness))
        return results

    # ------------------------------------------------------------------------------------------------- stages

    def state(self) -> xr.Dataset:
        """Train the network."""
        recipe = self.recipe
        payload = {"dataset": recipe.dataset.identity(), "network": recipe.network.hash_payload("fit")}

        def make(run: RunContext) -> xr.Dataset:
            watched: dict[str, Any] = {}
            if recipe.network.takes_validation and recipe.dataset.fit_on == "train":
                watched["validation"] = self._load("validation")
            return recipe.network.fit(self._load(recipe.dataset.fit_on), seed=recipe.seed, run=run, **watched)

        payload |= {"reference": recipe.network.reference, "engine": self.network_engine}
        return self._stage("state", payload, make, ignore=("reference",))

    def representation(self, split: str, layer: Layer) -> xr.Dataset:
        """Encode a split with the frozen network."""
        return self._stage("representation", self._encoding(split, layer), lambda run: self._encoded(split, layer))

    def readout(self, plan: Readout) -> xr.Dataset:
        """Fit the readout, or take the network's own, and score it on validation and test."""
        recipe = self.recipe
        own = plan.source == "own" or (plan.source == "auto" and recipe.network.has_readout)
        payload = self._code()
        source = "trained" if plan.source == "auto" else plan.source
        chosen = {} if plan.images is None else {"images": plan.images}
        payload["readout"] = {"source": "own", **chosen} if own else {**plan.hash_payload(), "source": source}

        def make(run: RunContext) -> xr.Dataset:
            train = self._encoded(recipe.dataset.fit_on, "response", plan.images)
            if own:
                state = self._result("state")
                names = ["readout_weights", "readout_bias"]
                fitted = state[names]
                learnt = self._load(recipe.dataset.fit_on)["stimulus_id"].values  # all, however many `train` has
                fitted["fitted_stimulus_id"] = ("fitted", learnt)
                fitted.attrs = {"neuroids": state.sizes["neuroid"]}
            else:
                fitted = plan.fit(train, seed=recipe.seed, run=run)
            return self._scored(fitted, train)

        return self._stage("readout", payload, make)

    def spectrum(self, plan: SpectrumChoice) -> xr.Dataset:
        """Take the eigenspectrum of the representation and fit a power law."""
        payload = {**self._code(), "spectrum": plan.hash_payload()}

        def make(run: RunContext) -> xr.Dataset:
            source = self.recipe.dataset.fit_on if plan.split == "train" else "test"
            spectrum = spectra.eigenspectrum(self._encoded(source, plan.layer)).assign_attrs(split=plan.split)
            try:
                fit = spectra.fit_powerlaw(spectrum, first=plan.first, last=plan.last, convention=plan.convention)
            except (DataError, ConfigError) as error:
                spectrum["alpha"] = np.nan
                spectrum["alpha"].attrs.update(long_name="exponent of the power law", units="1")
                spectrum.attrs["warnings"] = json.dumps([f"no exponent: {error}"])
                return spectrum
            if beyond := int(fit["n_beyond_rank"]):
                rank = spectrum.attrs["numerical_rank"]
                text = f"the spectrum ends at rank {rank}, {beyond} ranks before the end of the window"
                spectrum.attrs["warnings"] = json.dumps([text])
            return spectrum.merge(fit).assign_attrs({**spectrum.attrs, **fit.attrs})

        return self._stage("spectrum", payload, make)

    def surrogate(self) -> xr.Dataset:
        """Fit a differentiable stand-in for a network of spikes, and measure how faithful it is on test images."""
        recipe = self.recipe
        assert recipe.readout is not None
        count = recipe.readout.images
        payload = {**self._code(), "readout": self.keys["readout"], "surrogate": recipe.surrogate.hash_payload()}

        def make(run: RunContext) -> xr.Dataset:
            state, train = self._result("state"), self._encoded(recipe.dataset.fit_on, "response", count)
            images = self._load(recipe.dataset.fit_on)
            fitted = recipe.surrogate.fit(recipe.network, state, train, images, seed=recipe.seed, run=run)
            test = self._encoded("test", "response")
            found = bridge.fidelity(state, fitted, self._result("readout"), test, self._load("test"))
            fitted.attrs["warnings"] = json.dumps(
                [
                    "attacks go through the expected-rate surrogate, not through the simulation: its labels agree with "
                    f"the simulated ones for {100 * float(found['label_agreement']):.1f} % of the test images "
                    f"(counts: correlation {float(found['count_correlation']):.2f})"
                ]
            )
            return fitted.merge(found, combine_attrs="override")

        return self._stage("surrogate", payload, make)

    def robustness(self, plan: Robustness) -> xr.Dataset:
        """Attack the classifier."""
        payload = {"readout": self.keys["readout"], "robustness": plan.hash_payload()}
        if "surrogate" in self.keys:
            payload["surrogate"] = self.keys["surrogate"]

        def make(run: RunContext) -> xr.DataTree:
            readout = self._result("readout")
            surrogate = self._result("surrogate") if "surrogate" in self.keys else None
            model = bridge.classifier(
                self.recipe.network, self._result("state"), readout, surrogate=surrogate, space=plan.space
            )
            seen = readout["fitted_stimulus_id"].values
            images = self._load(plan.split)
            return plan.evaluate(model, images, fitted=seen, seed=self.recipe.seed, run=run)

        return self._stage("robustness", payload, make)

    # ------------------------------------------------------------------------------------------------ helpers

    def _stage(
        self, kind: str, payload: dict[str, Any], make: Callable[[RunContext], Result], ignore: tuple[str, ...] = ()
    ) -> xr.Dataset:
        config = {"kind": kind, "seed": self.recipe.seed, "engine": self.engine, **payload}
        key = digest({name: value for name, value in config.items() if name not in ignore})
        self.keys[kind] = key
        if self.only_keys:
            return xr.Dataset()
        if self.stages.done(kind, key):
            self.say(f"{kind} {key}: done before")
            return self._result(kind)
        with self.stages.making(kind, key):
            if self.stages.done(kind, key):
                self.say(f"{kind} {key}: done by another run")
                return self._result(kind)
            checkpoint = self.stages.folder(kind, key) / "checkpoint"
            start = time.perf_counter()
            result = make(replace(self.run, checkpoint=checkpoint))
            seconds = time.perf_counter() - start
            saved = self.stages.save(kind, key, result, config=plain(config), seconds=seconds)
            if isinstance(saved, xr.Dataset):
                self._memory[kind, key] = saved
            shutil.rmtree(checkpoint, ignore_errors=True)
            self.say(f"{kind} {key}: {seconds:.1f} s")
        return self._result(kind)

    def _code(self) -> dict[str, Any]:
        """Return what identifies the code of the frozen network: its state, and how it answers."""
        code = {"state": self.keys["state"], "encoding": self.recipe.network.hash_payload("encode")}
        return code if self.recipe.repeats is None else {**code, "repeats": self.recipe.repeats}

    def _result(self, kind: str) -> xr.Dataset:
        return self._once((kind, self.keys[kind]), lambda: self.stages.load(kind, self.keys[kind]))

    def _load(self, split: str) -> xr.Dataset:
        choice = self.recipe.dataset
        name = json.dumps([choice.identity(), choice.options(), split], sort_keys=True)
        if name not in _IMAGES:
            while len(_IMAGES) >= MOST_IMAGES:
                _IMAGES.pop(next(iter(_IMAGES)))
            _IMAGES[name] = datasets.load(choice.name, split, **choice.options())
        return _IMAGES[name].copy()

    def _encoding(self, split: str, layer: Layer, images: int | None = None) -> dict[str, Any]:
        """Return what identifies a representation."""
        payload = {**self._code(), "split": split, "layer": layer, "engine": self.network_engine}
        return payload if images is None else {**payload, "images": images}

    def _encoded(self, split: str, layer: Layer, count: int | None = None) -> xr.Dataset:
        """Return the responses to a split, or to a fixed choice of `count` of its images."""
        recipe = self.recipe

        def make() -> xr.Dataset:
            images = datasets.subset(self._load(split), count)
            state = self._result("state")
            return recipe.network.encode(
                state, images, seed=recipe.seed, repeats=recipe.repeats, layer=layer, run=self.run
            )

        def keep() -> xr.Dataset:
            """Keep the responses to training images as well, as a stage of their own, where encoding is slow."""
            named = self.keys.get("representation")
            result = self._stage("representation", self._encoding(split, layer, count), lambda run: make())
            self.keys["representation"] = named or self.keys["representation"]
            return result

        slow = recipe.network.slow_to_encode and split != "test"
        if recipe.network.slow_to_encode and not slow and layer == self._layer():
            key = self.keys.get("representation")
            if key is not None and self.stages.finished("representation", key):
                return self._result("representation")
        return self._once(("encoded", split, layer, str(count)), keep if slow else make)

    def _once(self, name: tuple[str, ...], make: Callable[[], xr.Dataset]) -> xr.Dataset:
        """Return what `make` gives, made once and kept as long as this run lasts."""
        if name not in self._memory:
            self._memory[name] = make()
        return self._memory[name]

    def _layer(self) -> Layer:
        return self.recipe.spectrum.layer if self.recipe.spectrum is not None else "response"

    def _scored(self, fitted: xr.Dataset, train: xr.Dataset) -> xr.Dataset:
        test = self._encoded("test", "response")
        correct = score(fitted, test)
        scores: dict[Hashable, float] = {"test_accuracy": float(correct.mean())}
        scores["train_accuracy"] = float(score(fitted, train, allow_seen=True).mean())
        if self.recipe.dataset.fit_on == "train":
            scores["validation_accuracy"] = float(score(fitted, self._encoded("validation", "response")).mean())
        result = fitted.assign({"correct": correct.variable, **scores}).assign_coords(stimulus_id=test["stimulus_id"])
        for name in scores:
            part = str(name).removesuffix("_accuracy")
            result[name].attrs.update(long_name=f"share of the {part} images classified correctly", units="1")
        return result


def plain_recipe(recipe: Any) -> dict[str, Any]:
    """Return a recipe as executed, defaults filled in, ready for YAML."""
    return dict(recipe.model_dump(mode="json"))
