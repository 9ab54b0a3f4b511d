"""The three contracts between science and laboratory: `Network`, `Measure`, `Dataset`; and what a measure may ask for.

Each is a class of settings (`biorep.config.Config`) that a word of a recipe chooses (`biorep.tables`). The laboratory
calls nothing else of the science, and the science knows nothing of the laboratory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from biorep.config import Config, setting
from biorep.context import RunContext
from biorep.schema import check_dataset, require_splits
from biorep.words import checked

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

Quantity = Literal["response", "preactivation"]
#: Layer that stands for all of them: the responses are a tree with a child per layer.
ALL = "all"
#: Splits that may be learnt from.
FITTING = ("train", "validation")


# ------------------------------------------------------------------------------------------ what a table shows


@dataclass(frozen=True)
class Column:
    """A number of each run, as the table and the page show it."""

    name: str  # in `run.json`
    heading: str
    digits: int = 3  # significant ones, and at least so many decimals
    note: str = ""  # what the number is, for the foot of the page
    unit: str = ""  # for the heading
    #: Whether it is taken over ranks, which the numbers `first_rank` and `last_rank` name. Where the recipe leaves them
    #: open, it is there up to other ends as `<name>_to_<end>`, and a table shows it up to the last one of all rows.
    ranked: bool = False


@dataclass(frozen=True)
class Drawing:
    """A figure for the page."""

    name: str  # of the file, without suffix
    caption: str
    figure: Figure


#: Results by the name of a row of the table (what was varied but the seed); of each row one result per seed. Those of
#: networks are states, with the responses to the test images as the child ``representation`` where they are stored.
Rows = Mapping[str, "list[xr.DataTree]"]


# --------------------------------------------------------------------------------------- what a measure needs


@dataclass(frozen=True)
class Images:
    """The images of a split, or a fixed choice of `count` of them; `dataset` is another one than that of the recipe."""

    split: str
    count: int | None = None
    dataset: Dataset | None = None


@dataclass(frozen=True)
class State:
    """The learnt arrays of a network; `network` is another one than that of the recipe."""

    network: Network | None = None


@dataclass(frozen=True)
class Frozen:
    """The network, trained and frozen: a `FrozenNetwork`; `network` is another one than that of the recipe."""

    network: Network | None = None


@dataclass(frozen=True)
class FrozenNetwork:
    """A network with its learnt arrays."""

    network: Network
    state: xr.Dataset


@checked
@dataclass(frozen=True)
class Code:
    """The responses of a frozen network."""

    split: str  # ``train``, ``validation``, ``test``, or ``train+validation``
    #: One of the network's layers, ``last``, or ``all``: then the responses are a tree with a child per layer.
    layer: str = "last"
    quantity: Quantity = "response"
    images: int | None = None  # to a fixed choice of so many images of the split
    repeats: int | None = None  # noisy ones; None: those of the recipe
    network: Network | None = None  # another one than that of the recipe
    dataset: Dataset | None = None  # other images than those of the recipe, such as gratings


@dataclass(frozen=True)
class Model:
    """The network with its readout as a callable, images to logits; a torch module if it is differentiable."""

    space: str = "pixel"  # what it takes: images, or images after the network's normalisation: "normalised"
    simulated: bool = False  # answer through `Network.encode` instead of a module: without gradients
    network: Network | None = None  # another one than that of the recipe


@dataclass(frozen=True)
class Result:
    """What another measure of the recipe has made, by its name in the recipe."""

    name: str
    network: Network | None = None


Need = Images | State | Frozen | Code | Model | Result


class Given(Protocol):
    """What a measure was given: by the names of its needs, made when it is asked for."""

    #: Raises where the device is asked for, unless the measure is `on_device`.
    context: RunContext

    @property
    def seed(self) -> int:
        """Seed of the run; raises unless the measure is `seeded`."""

    def __getitem__(self, name: str) -> Any:
        """Return what a need asked for; raise `KeyError` for what was not declared."""

    def batches(self, name: str, size: int = 1000) -> Iterator[Any]:
        """Yield the responses that a need asked for in parts of so many presentations.

        For what is too large for memory: more than 2 GiB at once are refused.
        """

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the needs."""

    def has(self, name: str) -> bool:
        """Return whether something was asked for under this name."""


class Recipe(Protocol):
    """What a measure may know of the recipe that it stands in."""

    dataset: Dataset
    network: Network
    repeats: int | None  # noisy ones of each image; None: one, without the dim
    measures: dict[str, Measure]  # by name


# ------------------------------------------------------------------------------------------------- contracts


class Measure(Config, ABC):
    """An analysis as settings: what it needs, what it makes of it, and what of that people see at a glance."""

    #: Whether it draws random numbers, so that the seed of the run is part of the key.
    seeded: ClassVar[bool] = False
    #: Whether it computes with torch, so that the device is.
    on_device: ClassVar[bool] = False
    #: Whether a recipe that does not mention it gets it.
    standard: ClassVar[bool] = False
    #: Whether results are stages of the store; else they live as long as the run, and may be anything.
    stored: ClassVar[bool] = True
    #: Numbers of each run, see `numbers`.
    columns: ClassVar[tuple[Column, ...]] = ()
    #: Variables that are not joined over runs: too large, or different for each network.
    apart: ClassVar[tuple[str, ...]] = ()

    kind: str

    @abstractmethod
    def needs(self, recipe: Recipe) -> Mapping[str, Need]:
        """Return what it needs, by names of its own choice.

        Raises
        ------
        ConfigError
            If it has no meaning for such a recipe.
        """

    @abstractmethod
    def make(self, given: Given) -> Any:
        """Return the result, an `xr.Dataset` or `xr.DataTree`; its attribute `warnings` is a JSON list of sentences."""

    def numbers(self, result: xr.DataTree) -> dict[str, float]:
        """Return the numbers of the columns, as far as the result has them."""
        return {}

    def columns_for(self, recipe: Recipe) -> tuple[Column, ...]:
        """Return the columns as they are headed in a recipe: units may depend on it."""
        return self.columns

    def figures(self, rows: Rows) -> Iterator[Drawing]:
        """Yield figures of the results of all runs."""
        return iter(())


class Network(Config, ABC):
    """Something that answers images. Concrete networks are final and set `kind` to the word of the table."""

    #: Range of image values that the network accepts; None: any.
    accepts: ClassVar[tuple[float, float] | None] = (0.0, 1.0)
    #: Whether training draws random numbers; without, one training serves all seeds.
    seeded: ClassVar[bool] = True
    #: Whether repeats of an image differ.
    noisy: ClassVar[bool] = False
    #: Whether `fit` learns classes as well, so that the state holds a readout of its own.
    has_readout: ClassVar[bool] = False
    #: Whether `fit` takes images of the validation split as `validation`, to watch the training.
    watches: ClassVar[bool] = False
    #: Whether it is a differentiable function of the pixels, and has a `module`.
    differentiable: ClassVar[bool] = False
    #: Whether encoding takes so long that all responses are stored.
    slow_to_encode: ClassVar[bool] = False
    #: Whether its runs are executed in processes of their own.
    own_process: ClassVar[bool] = False
    #: Settings that the frozen network answers by, beside its arrays (those of base classes are added): the state of a
    #: network with others is refused.
    answers_by: ClassVar[tuple[str, ...]] = ()
    #: Numbers of each training, see `numbers`.
    columns: ClassVar[tuple[Column, ...]] = ()
    #: Who described the network.
    reference: ClassVar[str] = ""

    kind: str

    @abstractmethod
    def fit(self, dataset: xr.Dataset, *, seed: int, context: RunContext | None = None) -> xr.Dataset:
        """Learn from a dataset and return the state."""

    @checked
    @abstractmethod
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
        context: RunContext | None = None,
    ) -> xr.Dataset:
        """Return the responses of the frozen network to the images of a dataset.

        Parameters
        ----------
        state : xr.Dataset
            What `fit` returned.
        dataset : xr.Dataset
            Images, ``image(presentation, ...)``.
        layer : str
            One of `layers`, or ``last``.
        quantity : {"response", "preactivation"}
            After or before the nonlinearity.
        seed : int
            Seed of the noise; draws are named by seed, repeat and `stimulus_id`.
        repeats : int, optional
            Number of noisy repeats; None: one, without the dim `repeat`.
        first_repeat : int
            Number of the first of them: repeat r alone is what it is among others.
        context : RunContext, optional

        Returns
        -------
        xr.Dataset
            ``response(presentation, neuroid)`` or ``response(repeat, presentation, neuroid)`` and
            ``label(presentation)``, with the coordinates `stimulus_id`, `object_name`, `split`, `neuroid_id`.
        """

    def layers(self, state: xr.Dataset) -> tuple[str, ...]:
        """Return the names of the layers whose responses can be asked for, from the input on."""
        return ("last",)

    @checked
    def encode_layers(
        self,
        state: xr.Dataset,
        dataset: xr.Dataset,
        *,
        quantity: Quantity = "response",
        seed: int = 0,
        repeats: int | None = None,
        first_repeat: int = 0,
        context: RunContext | None = None,
    ) -> dict[str, xr.Dataset]:
        """Return the responses of all layers by name, see `encode`; from one simulation where there is one."""
        asked: dict[str, Any] = {"quantity": quantity, "seed": seed, "context": context}
        if repeats is not None:
            asked |= {"repeats": repeats, "first_repeat": first_repeat}
        return {layer: self.encode(state, dataset, layer=layer, **asked) for layer in self.layers(state)}

    @property
    def depends_on_batch(self) -> bool:
        """Whether the answer to an image depends on the images that are shown with it."""
        return False

    def engine(self, context: RunContext | None = None) -> str:
        """Return what runs the network, as it enters the key of its results."""
        return RunContext.of(context).torch_engine()

    def numbers(self, state: xr.Dataset) -> dict[str, float]:
        """Return the numbers of the columns, as far as the state has them."""
        return {}

    def figures(self, rows: Rows) -> Iterator[Drawing]:
        """Yield figures of the states of all runs."""
        return iter(())

    def check_fitting(self, dataset: xr.Dataset) -> None:
        """Check a dataset that is to be learnt from: its values, and that no test image is in it."""
        check_dataset(dataset, value_range=self.accepts)
        require_splits(dataset, FITTING, f"training of '{self.word}'")


class Dataset(Config, ABC):
    """Which images: a known set, or a file of the user's."""

    name: str = setting(hashed=False, description="a known dataset (see `biorep data`) or the path of your own")
    fit_on: Literal["train", "train+validation"] = setting(
        "train", hashed=False, description="published recipes learn from all of the training set: train+validation"
    )
    limit: int | None = setting(
        None, ge=1, neutral=None, description="use a seeded subset of this many images per split"
    )

    @abstractmethod
    def content(self) -> dict[str, Any]:
        """Return what the key of the images is made of beside the settings: digests of contents, never a path.

        Raises
        ------
        DataError
            If files are missing or damaged.
        """

    @abstractmethod
    def load(self, split: str) -> xr.Dataset:
        """Return the images of a split, ``image(presentation, ...)``; ``train+validation`` is both."""
