"""What a recipe asks for, as a graph of nodes: pure, without a store, without computing anything.

A node has a name (of its place in the recipe), a kind (of its stage), settings, and parents. Its key is the digest of
its kind, of the settings and versions that change its result, of its parents' keys, of the seed where it is seeded, and
of the engine where the result depends on it. So a setting that reaches a parent reaches every child, and nothing else
changes a key. `biorep.lab.perform` makes what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from biorep.config import digest
from biorep.context import RunContext
from biorep.contracts import (
    ALL,
    Code,
    Dataset,
    Frozen,
    FrozenNetwork,
    Given,
    Images,
    Measure,
    Need,
    Network,
    Result,
    State,
)
from biorep.errors import ConfigError, DataError, choose
from biorep.lab.recipe import Recipe
from biorep.schema import subset
from biorep.tables import MEASURES, PROVIDERS

if TYPE_CHECKING:
    import xarray as xr


@dataclass(eq=False)
class Node:
    """One thing that a recipe asks for."""

    name: str  # of its place in the recipe, for example ``spectrum/train`` or ``representation/test``
    kind: str  # folder of its stages in the store
    #: What of the settings changes the result, see `biorep.config.Config.identity`; asked for when the key is.
    settings: Callable[[], Mapping[str, Any]]
    parents: Mapping[str, Node]  # by the names that `make` knows them by
    make: Callable[[Given], Any]
    seed: int | None = None  # None where nothing is drawn
    engine: Callable[[], str] | None = None  # what runs it, where the result depends on it
    stored: bool = True  # whether it becomes a stage; others live as long as the run
    own_process: bool = False  # whether it must not be made in a worker of a batch
    guarded: bool = False  # whether it gets copies: what a user's code does to them must not reach others
    numbers: Callable[[Any], dict[str, float]] | None = None  # what the table shows of the result
    apart: tuple[str, ...] = ()  # variables that are not joined over runs
    reference: str = ""  # who described it
    #: Makes the result in parts of so many presentations, where it need not be made as a whole.
    batches: Callable[[Given, int], Iterator[Any]] | None = None

    @cached_property
    def payload(self) -> dict[str, Any]:
        """What the key is the digest of."""
        payload: dict[str, Any] = {"kind": self.kind, **self.settings()}
        if self.parents:
            payload["parents"] = {name: node.key for name, node in self.parents.items()}
        if self.seed is not None:
            payload["seed"] = self.seed
        if self.engine is not None:
            payload["engine"] = self.engine()
        return payload

    @cached_property
    def key(self) -> str:
        """The key of the result."""
        return digest(self.payload)

    @property
    def address(self) -> str:
        """``kind/key``: where the stage lies in the store."""
        return f"{self.kind}/{self.key}"


@dataclass
class Graph:
    """The nodes of a recipe, parents before children."""

    recipe: Recipe
    context: RunContext  # its device and engine, resolved, enter the keys of what depends on them
    nodes: dict[str, Node] = field(default_factory=dict)  # filled by `graph`
    #: Added to the names of all nodes: where a measure asks for another network than the recipe's.
    prefix: str = ""
    #: Measures whose needs are being looked at, to find circles.
    open_: list[str] = field(default_factory=list)

    def _node(self, name: str, *parts: Any, **rest: Any) -> Node:
        """Return the node of a name, made of the parts of `Node` if there is none yet."""
        return self.nodes.setdefault(name, Node(name, *parts, **rest))

    def named(self, name: str) -> str:
        """Return the name of a node of this recipe and network."""
        return f"{self.prefix}{name}"

    # --------------------------------------------------------------------------------- data, training, responses

    def images(self, split: str, count: int | None = None, other: Dataset | None = None) -> Node:
        """Return the images of a split, or a fixed choice of them; of another dataset than the recipe's if asked."""
        dataset = other or self.recipe.dataset
        name = "dataset/" + "-".join([*_other(other), split, *([] if count is None else [str(count)])])
        if count is None:
            settings, make = partial(_identity, dataset, split), lambda given: _loaded(dataset, split, self.nodes[name])
            return self._node(name, "dataset", settings, {}, make, stored=False)
        parents, make = {"whole": self.images(split, None, other)}, lambda given: subset(given["whole"], count)
        return self._node(name, "dataset", lambda: {"count": count}, parents, make, stored=False)

    def state(self) -> Node:
        """Return the training of the network."""
        network, fit_on = self.recipe.network, self.recipe.dataset.fit_on
        parents = {"train": self.images(fit_on)}
        if network.watches and fit_on == "train":
            parents["validation"] = self.images("validation")
        return self._node(
            self.named("state"),
            "state",
            lambda: network.identity("fit"),
            parents,
            partial(_trained, network),
            seed=self.recipe.seed if network.seeded else None,
            engine=lambda: network.engine(self.context),
            own_process=network.own_process,
            guarded=bool(network.code),
            numbers=network.numbers,
            reference=network.reference,
        )

    def frozen(self) -> Node:
        """Return the network with its learnt arrays, and what decides how it answers."""
        network = self.recipe.network
        return self._node(
            self.named("network"),
            "network",
            lambda: {"encoding": network.hash_payload("encode")},
            {"state": self.state()},
            lambda given: FrozenNetwork(network, given["state"]),
            stored=False,
        )

    def code(self, need: Code) -> Node:
        """Return the responses that a need asks for: of one repeat, or several stacked."""
        repeats = need.repeats or self.recipe.repeats
        if need.repeats not in (None, 1) and not self.recipe.network.noisy:
            word = self.recipe.network.word
            raise ConfigError(f"{need.repeats} repeats were asked for, and '{word}' answers without noise")
        if repeats is None:
            return self._answers(need, None)
        parts = {f"repeat-{number}": self._answers(need, number) for number in range(repeats)}
        name = f"{next(iter(parts.values())).name} x {repeats}"
        settings = {"stacked": repeats}
        return self._node(
            name, "representation", lambda: settings, parts, _stacked, stored=False, batches=_stacked_batches
        )

    def _answers(self, need: Code, repeat: int | None) -> Node:
        """Return the responses to one showing of each image; the first repeat is the one without a number."""
        network = self.recipe.network
        name = self.named("representation/" + "-".join(_parts(need, repeat)))
        settings = {"layer": need.layer, "quantity": need.quantity, **({"repeat": repeat} if repeat else {})}
        stored = name == self.named("representation/test") or network.slow_to_encode
        answer = partial(_answer, need, repeat or 0)
        parents = {"network": self.frozen(), "images": self.images(need.split, need.images, need.dataset)}
        return self._node(
            name,
            "representation",
            lambda: settings,
            parents,
            partial(_encoded, answer),
            seed=self.recipe.seed if network.noisy else None,
            engine=lambda: network.engine(self.context),
            stored=stored,
            own_process=network.own_process,
            guarded=bool(network.code),
            batches=None if stored or network.depends_on_batch else partial(_encoded_batches, answer),
        )

    # ------------------------------------------------------------------------------------------------- measures

    def measure(self, name: str) -> Node:
        """Return the node of a measure, by its name in the recipe; one that nobody mentions has its defaults."""
        if name in self.recipe.measures:
            return self._measured(name, self.recipe.measures[name])
        if name in self.recipe.without:
            raise ConfigError(f"'{name}' is needed, and the recipe says '{name}: null'. Remove that line.")
        siblings = [other for other in self.recipe.measures if other.partition("/")[0] == name]
        if len(siblings) == 1:
            return self._measured(siblings[0], self.recipe.measures[siblings[0]])
        if siblings:
            raise ConfigError(f"'{name}' is needed, and the recipe has {', '.join(siblings)}: keep one of them")
        if name not in MEASURES:
            choose(name, self.recipe.measures, "measure of the recipe")
        return self._measured(name, MEASURES.parse({"kind": name}))

    def _measured(self, name: str, measure: Measure, kind: str | None = None) -> Node:
        full = self.named(name)
        if full in self.nodes:
            return self.nodes[full]
        if full in self.open_:
            raise ConfigError(f"'{name}' needs itself: {' -> '.join([*self.open_, full])}")
        self.open_.append(full)
        try:
            needs = measure.needs(self.recipe)
            if not isinstance(needs, Mapping):
                raise ConfigError(f"{type(measure).__name__}.needs returned {needs!r}; it must return {{name: need}}")
            parents = {label: self.need(need) for label, need in needs.items()}
        except ConfigError as error:
            raise ConfigError(f"'{name}': {error}") from None
        finally:
            self.open_.pop()
        return self._node(
            full,
            kind or measure.word,
            measure.identity,
            parents,
            measure.make,
            seed=self.recipe.seed if measure.seeded else None,
            engine=self.context.torch_engine if measure.on_device else None,
            stored=measure.stored,
            guarded=bool(measure.code),
            numbers=lambda result: measure.numbers(_as_tree(result)),
            apart=measure.apart,
        )

    def need(self, need: Need) -> Node:
        """Return the node that a need asks for."""
        if isinstance(need, Images):
            return self.images(need.split, need.count, need.dataset)
        graph = self if need.network is None else self._of(need.network)
        if isinstance(need, State):
            return graph.state()
        if isinstance(need, Frozen):
            return graph.frozen()
        if isinstance(need, Code):
            return graph.code(need)
        if isinstance(need, Result):
            return graph.measure(need.name)
        provider = PROVIDERS.parse({"kind": "model", "space": need.space, "simulated": need.simulated})
        name = f"model/{need.space}" + ("-simulated" if need.simulated else "")
        return graph._measured(name, provider, "model")

    def _of(self, network: Network) -> Graph:
        """Return the graph of another network with the dataset and the seed of the recipe; nodes are shared."""
        recipe = self.recipe.model_copy(update={"network": network})
        label = digest(network.identity())[:6]
        return Graph(recipe, self.context, self.nodes, f"{self.prefix}{network.word}-{label}/", self.open_)


def graph(recipe: Recipe, context: RunContext) -> dict[str, Node]:
    """Return all nodes of a recipe by name, parents before children.

    Raises
    ------
    ConfigError
        If a measure needs what the recipe does not have, or has no meaning for it.
    """
    made = Graph(recipe, context)
    made.state()
    made.code(Code("test"))
    for name in recipe.measures:
        made.measure(name)
    return made.nodes


def stages(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """Return the nodes that become stages of the store, by name."""
    return {name: node for name, node in nodes.items() if node.stored}


def addresses(nodes: Mapping[str, Node]) -> dict[str, str]:
    """Return where the stages of a run lie in the store, by name, as its record names them."""
    return {name: node.address for name, node in stages(nodes).items()}


def _other(dataset: Dataset | None) -> list[str]:
    """Return what names another dataset than the recipe's."""
    return [] if dataset is None else [f"{dataset.word}-{digest(dataset.identity())[:6]}"]


def _parts(need: Code, repeat: int | None) -> list[str]:
    parts = [*_other(need.dataset), need.split if need.images is None else f"{need.split}-{need.images}"]
    parts += [f"layer:{need.layer}"] if need.layer != "last" else []  # marked: a layer may be called '10'
    parts += [f"quantity:{need.quantity}"] if need.quantity != "response" else []
    return [*parts, f"repeat:{repeat}"] if repeat else parts


# ------------------------------------------------------------------------------------------ how nodes are made

#: Images that the last runs of this process have used: most runs of a plan use the same.
_IMAGES: dict[str, xr.Dataset] = {}
MAX_IMAGES = 3


def _identity(dataset: Dataset, split: str) -> dict[str, Any]:
    return {**dataset.identity(), "content": dataset.content(), "split": split}


def _loaded(dataset: Dataset, split: str, node: Node) -> xr.Dataset:
    if node.key not in _IMAGES:
        while len(_IMAGES) >= MAX_IMAGES:
            _IMAGES.pop(next(iter(_IMAGES)))
        images = dataset.load(split)
        if digest({"kind": "dataset", **_identity(dataset, split)}) != node.key:  # of the files, as they are now
            raise DataError(f"the files of the dataset '{dataset.name}' have changed since the run began: run it again")
        _IMAGES[node.key] = images
    return _IMAGES[node.key].copy()


def _trained(network: Network, given: Given) -> xr.Dataset:
    watched = {"validation": given["validation"]} if given.has("validation") else {}
    seed = given.seed if network.seeded else 0  # as in the key: one training for all seeds
    state = network.fit(given["train"], seed=seed, context=given.context, **watched)
    return _is_dataset(state, f"{type(network).__name__}.fit")


#: Responses that would take more bytes are refused before they are computed.
MAX_BYTES = 2 * 1024**3
#: Fewer images are not asked for their size: finding it out would cost more than it saves.
MANY_IMAGES = 100

#: Returns the responses to images.
Answer = Callable[["Given", "xr.Dataset"], Any]


def _answer(need: Code, repeat: int, given: Given, images: xr.Dataset) -> Any:
    """Return the responses to one showing of each image, of one layer or as a tree of all."""
    frozen: FrozenNetwork = given["network"]
    seed = given.seed if frozen.network.noisy else 0
    asked: dict[str, Any] = {"quantity": need.quantity, "seed": seed, "context": given.context}
    if repeat:
        asked |= {"repeats": 1, "first_repeat": repeat}
    if need.layer != ALL:
        return _shown(frozen.network.encode(frozen.state, images, layer=need.layer, **asked), frozen, images, repeat)
    import xarray as xr

    every = frozen.network.encode_layers(frozen.state, images, **asked)
    return xr.DataTree.from_dict({name: _shown(one, frozen, images, repeat) for name, one in every.items()})


def _shown(found: Any, frozen: FrozenNetwork, images: xr.Dataset, repeat: int) -> xr.Dataset:
    """Return the responses of one repeat; raise unless there is one to each image."""
    what = f"{type(frozen.network).__name__}.encode"
    found = _is_dataset(found, what)
    found = found.isel(repeat=0) if repeat else found
    for name in ("response", "split"):
        if name not in found.variables:
            raise ConfigError(
                f"{what}: what it returns has no '{name}'; `biorep.networks.base.representation` makes it"
            )
    there, shown = found["response"].sizes.get("presentation", 0), images.sizes["presentation"]
    if there != shown:
        raise ConfigError(f"{what}: it returned the responses to {there} of {shown} images")
    return found


def _is_dataset(value: Any, what: str) -> xr.Dataset:
    import xarray as xr

    if not isinstance(value, xr.Dataset):
        raise ConfigError(f"{what} returned {type(value).__name__}; it must return an xarray.Dataset")
    return value


def _encoded(answer: Answer, given: Given) -> Any:
    images = given["images"]
    count = images.sizes["presentation"]
    if count > MANY_IMAGES and not given["network"].network.depends_on_batch:
        _refuse_large(answer(given, images.isel(presentation=[0])).nbytes * count, f"{count} images")
    return answer(given, images)


def _encoded_batches(answer: Answer, given: Given, size: int) -> Iterator[Any]:
    images = given["images"]
    for start in range(0, images.sizes["presentation"], size):
        yield answer(given, images.isel(presentation=slice(start, start + size)))


def _refuse_large(size: int, what: str) -> None:
    if size > MAX_BYTES:
        raise ConfigError(
            f"responses to {what} would take {size / 1024**3:.1f} GiB, more than {MAX_BYTES / 1024**3:.0f}. Make them "
            "smaller: fewer images (dataset.limit, or `images` of the measure), repeats or units, or another layer. A "
            "measure of your own can read them in parts, see `biorep.contracts.Given.batches`."
        )


def _stacked(given: Given) -> xr.Dataset:
    names = list(given)
    _refuse_large(given[names[0]].nbytes * len(names), f"{len(names)} repeats")
    return _side_by_side([given[name] for name in names])


def _stacked_batches(given: Given, size: int) -> Iterator[xr.Dataset]:
    for parts in zip(*(given.batches(name, size) for name in given), strict=True):
        yield _side_by_side(parts)


def _side_by_side(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return repeats as (repeat, presentation, neuroid)."""
    import xarray as xr

    over = {name for name in parts[0].data_vars if "neuroid" in parts[0][name].dims or name == "tries"}
    joined = xr.concat([part[list(over)] for part in parts], "repeat")
    return parts[0].drop_vars(over).merge(joined).assign_attrs(parts[0].attrs)


def _as_tree(result: Any) -> xr.DataTree:
    import xarray as xr

    return result if isinstance(result, xr.DataTree) else xr.DataTree(result)
