"""What all Brian2 networks share: training in chunks that can be killed and resumed, and frozen encoding.

A concrete network is one file: it adds its Brian2 objects to a `Circuit` (`build`), names the values of its parameters
and initial variables, and says which arrays are the learnt ones. Everything else, the presentation protocol, engines,
chunks, checkpoints, copies and repeats, is here and in `biorep.engines`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
import xarray as xr

from biorep.config import setting
from biorep.context import RunContext
from biorep.engines import prepare
from biorep.engines.chunks import Feeder, Showing
from biorep.engines.counter import draw_key
from biorep.engines.layout import Layout, Timing
from biorep.engines.presentation import Circuit
from biorep.engines.programs import Arrays, Blueprint
from biorep.errors import ConfigError
from biorep.networks.base import Layer, Network, flat_images, representation, set_report
from biorep.networks.health import REMEDIES, encoding_report
from biorep.schema import check_dataset, describe

#: Slots of a chunk: the largest of these that the list of presentations fills. Few sizes, because each is compiled.
CHUNKS = (1000, 250, 50, 10)


class SpikingNetwork(Network):
    """Base of the networks that Brian2 simulates."""

    accepts: ClassVar[tuple[float, float] | None] = (0.0, 1.0)
    slow_to_encode: ClassVar[bool] = True
    own_process: ClassVar[bool] = True
    #: Whether repeats of an image differ.
    noisy: ClassVar[bool] = True
    #: What the health report advises, see `biorep.networks.health`.
    remedies: ClassVar[Mapping[str, str]] = REMEDIES

    units: int
    step: float
    stimulus: float
    rest: float
    most_tries: int
    epochs: int = setting(1, ge=0, description="passes over the training images")

    # ------------------------------------------------------------------------------ what a concrete network says

    @abstractmethod
    def build(self, circuit: Circuit, learn: bool) -> None:
        """Add the Brian2 objects of the network to a circuit, for all of its copies.

        Parameters
        ----------
        circuit : Circuit
            Its `poisson_input` or `pixel_input` is the input; `tally` says what is recorded; `keep` what crosses
            the border between two chunks.
        learn : bool
            Whether the network is plastic.
        """

    @abstractmethod
    def parameters(self, learn: bool) -> dict[str, float]:
        """Return the values of the parameters by name, ``"group.variable"``, SI units."""

    @abstractmethod
    def initial(self, inputs: int, seed: int) -> Arrays:
        """Return the variables of one copy before learning, SI units; what is not named is 0."""

    @abstractmethod
    def at_rest(self, inputs: int) -> Arrays:
        """Return the fast variables of one copy at rest, SI units; what is not named is 0."""

    def time_constants(self) -> dict[str, float]:
        """Return the time constants in ms by the name of what decays; a longer `step` is warned of."""
        return {}

    def prepare_images(self, images: np.ndarray) -> np.ndarray:
        """Return images, (presentation, input), as the network is to be shown them."""
        return images

    def schedule_over(self, presentations: int) -> dict[str, float]:
        """Return the values of the parameters of a training that depend on its length, beside `parameters`."""
        return {}

    def flush(self, arrays: Arrays, inputs: int) -> Arrays:
        """Return the variables of one copy after what is still to be learnt from the last presentation."""
        return arrays

    def report(self, state: xr.Dataset) -> dict[str, float]:
        """Return entries for the training report of a state with its history, beside those of `learning_report`."""
        return {}

    def judged(self, state: xr.Dataset, images: np.ndarray) -> xr.Dataset:
        """Return a state with its report after a last look at it, given the training images as prepared."""
        return state

    @abstractmethod
    def learnt(self, arrays: Arrays, inputs: int) -> xr.Dataset:
        """Return the learnt arrays of one copy as a state."""

    @abstractmethod
    def frozen(self, state: xr.Dataset) -> Arrays:
        """Return the learnt variables of a state, SI units."""

    # ------------------------------------------------------------------------------------------------ verbs

    def engine(self, run: RunContext | None = None) -> str:
        """Return the engine that runs this network."""
        from biorep.engines.choice import resolve

        return resolve((run or RunContext()).engine, neurons=self.units)[0]

    def fit(self, dataset: xr.Dataset, *, seed: int, run: RunContext | None = None) -> xr.Dataset:
        """Learn without labels.

        Parameters
        ----------
        dataset : xr.Dataset
            Training images in [0, 1]; labels serve the online accuracy alone.
        seed : int
        run : RunContext, optional
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
        from biorep.networks.ensemble import Member, ensemble

        return ensemble([Member(self, seed)], dataset, run=run)[0]

    def encode(
        self,
        state: xr.Dataset,
        dataset: xr.Dataset,
        *,
        seed: int = 0,
        repeats: int | None = None,
        layer: Layer = "response",
        copies: int = 1,
        run: RunContext | None = None,
    ) -> xr.Dataset:
        """Return the spike counts of the frozen network for the images of a dataset.

        Parameters
        ----------
        state : xr.Dataset
            What `fit` returned.
        dataset : xr.Dataset
            Images in [0, 1].
        seed : int
            Seed of the noise. The draws of an image depend on the seed, the repeat and its `stimulus_id` alone.
        repeats : int, optional
            Number of repeats with independent noise; None: one, without the dim `repeat`.
        layer : {"response"}
            Spiking networks have no pre-activation.
        copies : int
            Simulated side by side, each with a part of the images; changes the speed, never the counts.
        run : RunContext, optional

        Returns
        -------
        xr.Dataset
            ``response(presentation, neuroid)`` or ``response(repeat, presentation, neuroid)``, spikes per image,
            and ``tries(presentation)`` or ``tries(repeat, presentation)``.
        """
        if layer != "response":
            raise ConfigError(f"'{self.kind}' has no layer '{layer}'. Set spectrum.layer to 'response'.")
        if repeats is not None and repeats < 1:
            raise ConfigError(f"repeats must be at least 1, got {repeats}")
        if not self.noisy and repeats not in (None, 1):
            raise ConfigError(f"'{self.kind}' answers without noise: repeats={repeats} would be {repeats} equal copies")
        run = run or RunContext()
        check_dataset(dataset, value_range=self.accepts)
        images = self.prepare_images(flat_images(dataset))
        n, count = len(images), repeats or 1
        keys = np.concatenate([encoding_keys(self.kind, dataset, seed, repeat) for repeat in range(count)])
        parts = np.array_split(np.arange(n * count), copies)
        showings = [Showing(images, part % n, keys[part]) for part in parts]
        learnt = {**self.at_rest(images.shape[1]), **self.frozen(state)}
        counts, tries = np.zeros((n * count, self.units), np.float32), np.zeros(n * count, np.int32)
        feed = feeder([self] * copies, showings, images.shape[1], learn=False, run=run)
        try:
            start = feed.start(side_by_side([learnt] * copies))
            for _, answers in feed.run(start, f"{self.kind}: encode", run):
                for part, answer in zip(parts, answers, strict=True):
                    counts[part[answer.presentation]] = answer.count
                    tries[part[answer.presentation]] = answer.tries
        finally:
            feed.program.close()
        shape = (count, n) if repeats else (n,)
        result = representation(counts.reshape(*shape, self.units), dataset, layer=layer, kind=self.kind)
        result["response"].attrs.update(long_name="spikes per image", units="1")
        result["tries"] = (("repeat", "presentation")[-len(shape) :], tries.reshape(shape))
        result.attrs |= {"engine": feed.program.engine}
        describe(result, {"tries": ("how often the image was shown until it was answered", "1")})
        set_report(result, *encoding_report(counts.reshape(count, n, -1), tries, self.remedies))
        return result

    def settings_of_shape(self) -> dict[str, object]:
        """Return the fields that are compiled in: members of an ensemble must agree on them."""
        values = self.model_dump()
        return {name: values[name] for name in values if name not in self.swept}

    #: Fields that are parameters of a run: members of one ensemble may differ in them.
    swept: ClassVar[frozenset[str]] = frozenset()

    def timing(self) -> Timing:
        """Return the time of one slot."""
        return Timing(self.step, self.stimulus, self.rest)

    def blueprint(self, layout: Layout, learn: bool) -> Blueprint:
        """Return what a simulation of this network is made from."""
        return Blueprint(layout, lambda circuit: self.build(circuit, learn))


def encoding_keys(kind: str, dataset: xr.Dataset, seed: int, repeat: int = 0) -> np.ndarray:
    """Return the keys of the draws for the images of a dataset, (presentation, 2): of the stimulus, not its place."""
    return np.array([draw_key(seed, kind, "encode", repeat, str(name)) for name in dataset["stimulus_id"].values])


def feeder(
    networks: Sequence[SpikingNetwork],
    showings: Sequence[Showing],
    inputs: int,
    *,
    learn: bool,
    run: RunContext,
    build: Callable[[Circuit], None] | None = None,
) -> Feeder:
    """Return the simulation of networks side by side, one per list of presentations, compiled and ready.

    Another `build` than the network's own may record more.
    """
    first = networks[0]
    longest = max((len(showing) for showing in showings), default=0)
    slots = next((size for size in CHUNKS if size <= longest), CHUNKS[-1])
    layout = Layout(first.timing(), inputs, first.units, len(networks), slots, first.most_tries)
    blueprint = Blueprint(layout, build) if build else first.blueprint(layout, learn)
    program = prepare(blueprint, first.engine(run))
    values = [network.parameters(learn) for network in networks]
    if learn:
        for own, network, showing in zip(values, networks, showings, strict=True):
            own |= network.schedule_over(len(showing))
    if len(networks) == 1:
        parameters = {name: np.asarray(value) for name, value in values[0].items()}
    else:
        sizes = {name: program.size(name) // len(networks) for name in values[0]}
        parameters = {name: np.repeat([v[name] for v in values], sizes[name]) for name in values[0]}
    return Feeder(program, showings, parameters)


def side_by_side(copies: Sequence[Arrays]) -> Arrays:
    """Join the variables of copies: copy by copy along the neurons or synapses."""
    return {name: np.concatenate([copy[name] for copy in copies]) for name in copies[0]}
