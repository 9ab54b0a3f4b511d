"""What all Brian2 networks do: they learn in chunks that can be killed and resumed, and answer while they are frozen.

A concrete network is one file: it adds its Brian2 objects to a `Circuit` (`build`), names the values of its parameters
and initial variables, and says which arrays are the learnt ones; see `biorep.networks.brian.contract`. Everything else,
the presentation protocol, engines, chunks, checkpoints, copies, layers and repeats, is here and in `biorep.engines`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import xarray as xr

from biorep.context import RunContext
from biorep.contracts import Column, Drawing, Quantity, Rows
from biorep.engines.chunks import Feeder, Progress, Showing
from biorep.engines.layout import Layout
from biorep.engines.programs import brian_device
from biorep.errors import ConfigError, choose
from biorep.networks.base import (
    check_state,
    flat_images,
    learnt_shape,
    report_of,
    representation,
    set_report,
    state_digest,
)
from biorep.networks.brian.contract import BrianNetwork
from biorep.networks.brian.ensemble import Member, ensemble
from biorep.networks.brian.health import encoding_report
from biorep.networks.brian.simulation import encoding_keys, feeder, side_by_side
from biorep.schema import check_dataset, describe
from biorep.words import checked


class SpikingNetwork(BrianNetwork):
    """Base of the networks that Brian2 simulates."""

    slow_to_encode: ClassVar[bool] = True
    own_process: ClassVar[bool] = True
    #: Whether repeats of an image differ.
    noisy: ClassVar[bool] = True
    #: So many images are shown again, in another order, at the end of each encoding by a network of a user's own.
    AGAIN: ClassVar[int] = 5
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "used", "units used", 2, "share of the units that answer most to at least one of the last training images"
        ),
    )

    def engine(self, context: RunContext | None = None) -> str:
        """Return the engine that runs this network."""
        from biorep.engines.choice import resolve

        return resolve(RunContext.of(context).engine, neurons=self.units)[0]

    def fit(self, dataset: xr.Dataset, *, seed: int, context: RunContext | None = None) -> xr.Dataset:
        """Learn without labels.

        Parameters
        ----------
        dataset : xr.Dataset
            Training images in [0, 1]; labels serve the online accuracy alone.
        seed : int
        context : RunContext, optional
            With a checkpoint folder, a killed training goes on at the end of its last chunk and ends with the same
            weights as one that was not killed.

        Returns
        -------
        xr.Dataset
            The learnt arrays, a learning history and a health report.

        Raises
        ------
        SplitError
            If test images are among the training images.
        NumericalError
            If the simulation gives NaN or infinite values.
        """
        return ensemble([Member(self, seed)], dataset, context=context)[0]

    @checked
    def encode(
        self,
        state: xr.Dataset,
        dataset: xr.Dataset,
        *,
        layer: str = "last",
        quantity: Quantity = "response",
        seed: int = 0,
        repeats: int | None = None,
        first_repeat: int = 0,
        copies: int = 1,
        context: RunContext | None = None,
    ) -> xr.Dataset:
        """Return the spike counts of the frozen network for the images of a dataset.

        Parameters
        ----------
        state : xr.Dataset
            What `fit` returned.
        dataset : xr.Dataset
            Images in [0, 1].
        layer : str
            One of `layers`, or ``last``: the first of them, the network's answer.
        quantity : {"response"}
            Spiking networks have no pre-activation.
        seed : int
            Seed of the noise. The draws of an image depend on the seed, the repeat and its `stimulus_id` alone.
        repeats : int, optional
            Number of repeats with independent noise; None: one, without the dim `repeat`.
        first_repeat : int
            Number of the first of them: repeat r alone is what it is among others.
        copies : int
            Simulated side by side, each with a part of the images; changes the speed, never the counts.
        context : RunContext, optional

        Returns
        -------
        xr.Dataset
            ``response(presentation, neuroid)`` or ``response(repeat, presentation, neuroid)``, spikes per image,
            and ``tries(presentation)`` or ``tries(repeat, presentation)``.

        Raises
        ------
        ConfigError
            If there is no such layer or quantity, or repeats of a network without noise are asked for.
        """
        if quantity != "response":
            raise ConfigError(f"'{self.word}' has no {quantity}. Set spectrum.quantity to 'response'.")
        (result,) = self.encode_layers(
            state,
            dataset,
            layers=[layer],
            seed=seed,
            repeats=repeats,
            first_repeat=first_repeat,
            copies=copies,
            context=context,
        ).values()
        return result

    @checked
    def encode_layers(
        self,
        state: xr.Dataset,
        dataset: xr.Dataset,
        *,
        layers: Sequence[str] | None = None,
        quantity: Quantity = "response",
        seed: int = 0,
        repeats: int | None = None,
        first_repeat: int = 0,
        copies: int = 1,
        context: RunContext | None = None,
    ) -> dict[str, xr.Dataset]:
        """Return the spike counts of several layers, by name, from one simulation.

        Parameters
        ----------
        layers : sequence of str, optional
            Which; all by default.
        state, dataset, quantity, seed, repeats, first_repeat, copies, context
            As in `encode`.
        """
        if quantity != "response":
            raise ConfigError(f"'{self.word}' has no {quantity}. Set 'quantity' to 'response'.")
        if repeats is not None and repeats < 1:
            raise ConfigError(f"repeats must be at least 1, got {repeats}")
        if not self.noisy and repeats not in (None, 1):
            raise ConfigError(f"'{self.word}' answers without noise: repeats={repeats} would be {repeats} equal copies")
        context = RunContext.of(context)
        check_dataset(dataset, value_range=self.accepts)
        check_state(self, state, dataset)
        images = self.prepare_images(flat_images(dataset))
        n, count = len(images), repeats or 1
        numbers = range(first_repeat, first_repeat + count)
        keys = np.concatenate([encoding_keys(self.draws, dataset, seed, number) for number in numbers])
        parts = np.array_split(np.arange(n * count), copies)
        again = self.AGAIN if self.is_users() and self.resets(False) else 0
        shown = [np.append(part, part[:again][::-1]) for part in parts]
        showings = [Showing(images, part % n, keys[part]) for part in shown]
        start = [self.frozen(state)] * copies
        feed = feeder([self] * copies, showings, images.shape[1], learn=False, context=context, start=start)
        feed.layers = tuple(_layers_of(feed, layers, self.word))
        counts, tries = self._answers(feed, shown, feed.start(side_by_side(start)), context)
        shape = (count, n) if repeats else (n,)
        results = {}
        for layer, values in counts.items():
            values = values.reshape(*shape, -1)
            results[layer] = _labelled(values, tries.reshape(shape), dataset, layer, self.word)
            results[layer].attrs |= {"engine": feed.program.engine, "state": state_digest(state)}
            report = encoding_report(values.reshape(count, n, -1), tries, self.remedies)
            set_report(results[layer], *report)
        return results

    def _answers(
        self, feed: Feeder, shown: Sequence[np.ndarray], start: Progress, context: RunContext
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return counts by layer, (showing, neuroid), and tries, (showing,); `shown` are the showings of each copy.

        What is shown a second time must be answered as it was the first time.
        """
        copies, total = len(shown), 1 + max(int(part.max(initial=-1)) for part in shown)
        neurons = {layer: feed.program.size(feed.program.layers[layer]) // copies for layer in feed.layers}
        counts = {layer: np.zeros((total, size), np.float32) for layer, size in neurons.items()}
        tries = np.zeros(total, np.int32)
        differ: set[int] = set()
        try:
            for _, answers in feed.run(start, f"{self.word}: encode", context):
                for part, answer in zip(shown, answers, strict=True):
                    showing, new = part[answer.presentation], answer.presentation < len(np.unique(part))
                    tries[showing[new]] = answer.tries[new]
                    for layer in feed.layers:
                        found, known = answer.counts[layer], counts[layer]
                        known[showing[new]] = found[new]
                        differ |= set(showing[~new][(known[showing[~new]] != found[~new]).any(1)])
        finally:
            feed.program.close()
        if differ:
            raise ConfigError(
                f"'{self.word}': {len(differ)} of {sum(map(len, shown)) - total} images were answered otherwise when "
                "they were shown again after another image, with the same input. Something lasts from one image to the "
                "next that is not reset (spikes that are under way because of a delay: add rest_duration), or a "
                "function of yours draws random numbers. If it is meant to last: def resets(self, learn): return learn."
            )
        return counts, tries

    def layers(self, state: xr.Dataset) -> tuple[str, ...]:
        """Return the names of the recorded layers; the first is the network's answer, ``last``."""
        shape = learnt_shape(state)
        inputs = self.prepare_images(np.zeros((1, int(np.prod(shape))), np.float32)).shape[1]
        with brian_device("runtime", codegen__target="numpy"):
            # No name for the circuit: Brian2 warns of objects that live on and are never simulated.
            layout = Layout(self.timing(), inputs, self.units, slots=1)
            return tuple(self.blueprint(layout, learn=False).circuit().tallies)

    # -------------------------------------------------------------------------------------- what people see of it

    def numbers(self, state: xr.Dataset) -> dict[str, float]:
        """Return the share of the units that are used."""
        report = report_of(state)
        return {"used": float(report["share_used"])} if "share_used" in report else {}

    def figures(self, rows: Rows) -> Iterator[Drawing]:
        """Yield how the networks learnt, and of the first seed of each row what its neurons answer to."""
        from biorep import plot

        if learners := {name: trees for name, trees in rows.items() if trees and "online_accuracy" in trees[0]}:
            caption = "Learning of the spiking networks; online accuracy: of labels assigned on the images before."
            yield Drawing("learning", caption, plot.learning_curves(learners))
        for name, trees in rows.items():
            if trees and "representation" in trees[0].children:
                caption = f"{name}: spikes of each neuron for the test images of each class (first seed)."
                yield Drawing(f"occupancy-{name}", caption, plot.occupancy(trees[0].children["representation"]))
        for name, trees in rows.items():
            if trees and {"wins", "weights"} <= set(trees[0].data_vars) and "image_shape" in trees[0].attrs:
                caption = (
                    f"{name}: weights of the 40 units that win most often (first seed; red positive, blue negative)."
                )
                yield Drawing(f"fields-{name}", caption, plot.receptive_fields(trees[0]))


def _layers_of(feed: Feeder, wish: Sequence[str] | None, word: str) -> list[str]:
    """Return the layers that are asked for, by their own names."""
    there = list(feed.program.layers)
    wish = [wish] if isinstance(wish, str) else wish
    return [there[0] if name == "last" else choose(name, there, f"layer of '{word}'") for name in wish or there]


def _labelled(counts: np.ndarray, tries: np.ndarray, dataset: xr.Dataset, layer: str, word: str) -> xr.Dataset:
    """Return counts, ([repeat,] presentation, neuroid), and tries as a representation."""
    result = representation(counts, dataset, quantity="response", kind=word, layer=layer)
    result["response"].attrs.update(long_name="spikes per image", units="1")
    result["tries"] = (("repeat", "presentation")[-tries.ndim :], tries)
    return describe(result, {"tries": ("how often the image was shown until it was answered", "1")})
