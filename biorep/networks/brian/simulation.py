"""Simulations of networks side by side: put together for an engine, and fed with images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from biorep.context import RunContext
from biorep.engines import Program, prepare
from biorep.engines.chunks import Feeder, Showing
from biorep.engines.counter import draw_key
from biorep.engines.layout import Layout
from biorep.engines.presentation import Circuit
from biorep.engines.programs import Arrays, Blueprint
from biorep.errors import ConfigError
from biorep.networks.brian.contract import BrianNetwork
from biorep.networks.brian.rehearsal import rehearse

#: Slots of a chunk: the largest of these that the list of presentations fills. Few sizes, because each is compiled.
CHUNKS = (1000, 250, 50, 10)


def feeder(
    networks: Sequence[BrianNetwork],
    showings: Sequence[Showing],
    inputs: int,
    *,
    learn: bool,
    context: RunContext,
    watch: Callable[[Circuit], None] | None = None,
    start: Sequence[Arrays] = (),
) -> Feeder:
    """Return the simulation of networks side by side, one per list of presentations, compiled and ready.

    Parameters
    ----------
    networks : sequence of BrianNetwork
        Of one shape; one per copy.
    showings : sequence of Showing
        What each of them is shown.
    inputs : int
        Pixels of an image.
    learn : bool
    context : RunContext
    watch : callable, optional
        Adds further monitors to the circuit.
    start : sequence of dict of str to array, optional
        The learnt variables of each copy before the first image, to be checked if the networks are a user's own.

    Raises
    ------
    ConfigError
        If the network cannot be simulated like that, or not on this engine.
    """
    first, copies = networks[0], len(networks)
    longest = max((len(showing) for showing in showings), default=0)
    slots = next((size for size in CHUNKS if size <= longest), CHUNKS[-1])
    layout = Layout(first.timing(), inputs, first.units, copies, slots, first.max_tries)

    def build(circuit: Circuit) -> None:
        first.assemble(circuit, learn)
        if watch is not None:
            watch(circuit)

    values = [dict(network.parameters(learn)) for network in networks]
    if learn:
        for own, network, showing in zip(values, networks, showings, strict=True):
            own |= network.schedule_over(len(showing))
    if first.is_users():
        score = rehearse(first, layout, learn)
        for own in values:
            score.check_parameters(own)
        for arrays in start:
            score.check_start("initial" if learn else "frozen", arrays)
    program = prepare(Blueprint(layout, build), first.engine(context))
    _check_size(program, first)
    if copies == 1:
        parameters = {name: np.asarray(value) for name, value in values[0].items()}
    else:
        sizes = {name: program.size(name) // copies for name in values[0]}
        parameters = {name: np.repeat([v[name] for v in values], sizes[name]) for name in values[0]}
    return Feeder(program, showings, parameters)


def _check_size(program: Program, network: BrianNetwork) -> None:
    """Check that a program records the network's neurons, of all copies."""
    layer, name = next(iter(program.layers.items()))
    copies, found = program.layout.copies, program.size(name)
    if found == network.units * copies:
        return
    if copies > 1 and found == network.units:
        raise ConfigError(
            f"'{network.word}' cannot be simulated in copies: its layer '{layer}' has {found} neurons for {copies} "
            "copies. Ask for copies=1, or let `build` make everything for circuit.layout.copies copies."
        )
    raise ConfigError(
        f"'{network.word}': its first recorded layer, '{layer}', has {found // copies} neurons per copy, and 'units' "
        f"says {network.units}"
    )


def encoding_keys(word: str, dataset: xr.Dataset, seed: int, repeat: int = 0) -> np.ndarray:
    """Return the keys of the draws for the images of a dataset, (presentation, 2): of the stimulus, not its place."""
    return np.array([draw_key(seed, word, "encode", repeat, str(name)) for name in dataset["stimulus_id"].values])


def side_by_side(copies: Sequence[Arrays]) -> Arrays:
    """Join the variables of copies: copy by copy along the neurons or synapses."""
    return {name: np.concatenate([np.atleast_1d(copy[name]) for copy in copies]) for name in copies[0]}


def of_copy(state: Arrays, copy: int, copies: int) -> Arrays:
    """Return the variables of one copy; one value stands for all."""
    return {name: values if np.size(values) == 1 else np.split(values, copies)[copy] for name, values in state.items()}
