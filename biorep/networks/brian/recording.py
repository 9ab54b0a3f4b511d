"""Spikes and membranes of a frozen network, for chosen neurons: what representations do not keep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from biorep.context import RunContext
from biorep.engines.chunks import Answers, Feeder, Showing
from biorep.engines.layout import Timing
from biorep.engines.presentation import Circuit
from biorep.errors import ConfigError, choose
from biorep.networks.base import check_state, flat_images
from biorep.networks.brian.simulation import encoding_keys, feeder
from biorep.networks.brian.spiking import SpikingNetwork
from biorep.schema import check_dataset, describe, presentation_coords


def record(
    network: SpikingNetwork,
    state: xr.Dataset,
    dataset: xr.Dataset,
    *,
    layer: str = "last",
    neurons: Sequence[int] | None = None,
    variables: Sequence[str] = ("v",),
    seed: int = 0,
    context: RunContext | None = None,
) -> xr.Dataset:
    """Show images to a frozen network and record when chosen neurons spike, and their variables in every step.

    The simulation is that of ``network.encode`` with the same seed: as many spikes as there are counts.

    Parameters
    ----------
    network : SpikingNetwork
    state : xr.Dataset
        What ``network.fit`` returned.
    dataset : xr.Dataset
        A few images; each image is simulated once more for every time that it is shown again.
    layer : str
        One of ``network.layers``, or ``last``.
    neurons : sequence of int, optional
        Which neurons of the layer; all by default.
    variables : sequence of str
        Variables of these neurons to record in every step, SI units; may be empty.
    seed : int
    context : RunContext, optional

    Returns
    -------
    xr.Dataset
        ``spike_time(spike)`` in ms after the onset of the accepted showing, ``spike_neuroid(spike)``,
        ``spike_presentation(spike)``, and per variable ``(presentation, neuroid, time)``, with the coordinates
        ``neuroid_id(neuroid)`` and ``time(time)`` in ms.

    Raises
    ------
    ConfigError
        If a layer, a neuron or a variable is unknown.
    """
    variables = [variables] if isinstance(variables, str) else variables
    check_dataset(dataset, value_range=network.accepts)
    check_state(network, state, dataset)
    images = network.prepare_images(flat_images(dataset))
    names: list[str] = []
    chosen = np.zeros(0, int)

    def watch(circuit: Circuit) -> None:
        nonlocal chosen
        there = list(circuit.tallies)
        name = there[0] if layer == "last" else choose(layer, there, f"layer of '{network.word}'")
        group = circuit.tallies[name].group
        chosen = _chosen(neurons, len(group), name)
        for variable in variables:
            choose(variable, group.equations.names, f"variable of '{network.word}'")
        names[:] = circuit.watch(name, chosen, variables)

    context = RunContext.of(context)
    showing = Showing(images, np.arange(len(images)), encoding_keys(network.draws, dataset, seed))
    start = network.frozen(state)
    feed = feeder([network], [showing], images.shape[1], learn=False, context=context, watch=watch, start=[start])
    feed.watched = tuple(names)
    parts = []
    try:
        for _, (answers,) in feed.run(feed.start(start), f"{network.word}: record", context):
            parts.append(_chunk(feed, answers, chosen, variables))
    finally:
        feed.program.close()
    result = _joined(parts, chosen, network.timing())
    return result.assign_coords(presentation_coords(dataset))


def _chosen(neurons: Sequence[int] | None, count: int, layer: str) -> np.ndarray:
    """Return the neurons that are asked for, in order; None: all of them."""
    chosen = np.arange(count) if neurons is None else np.unique(np.asarray(neurons, int))
    if not len(chosen) or chosen[0] < 0 or chosen[-1] >= count:
        raise ConfigError(f"neurons: layer '{layer}' has neurons 0 to {count - 1}, asked for {chosen.tolist()}")
    return chosen


def _chunk(feed: Feeder, answers: Answers, chosen: np.ndarray, variables: Sequence[str]) -> dict[str, np.ndarray]:
    """Return what was recorded in the accepted slots of one chunk."""
    timing, seen = feed.layout.timing, feed.seen
    part: dict[str, np.ndarray] = {"presentation": answers.presentation}
    for name in variables:
        traces = seen[f"watched.{name}"].reshape(feed.layout.slots, timing.steps, len(chosen))
        part[name] = traces[answers.slot].transpose(0, 2, 1)
    if "watched_spikes.t" in seen:
        step = np.rint(seen["watched_spikes.t"] / (timing.dt * 1e-3)).astype(int)
        slot, neuroid = step // timing.steps, seen["watched_spikes.i"].astype(int)
        accepted = np.full(feed.layout.slots, -1)
        accepted[answers.slot] = answers.presentation
        kept = (accepted[slot] >= 0) & np.isin(neuroid, chosen)
        part["spike_presentation"] = accepted[slot[kept]]
        part["spike_neuroid"] = neuroid[kept]
        part["spike_time"] = (step[kept] % timing.steps) * timing.dt
    return part


def _joined(parts: Sequence[dict[str, np.ndarray]], chosen: np.ndarray, timing: Timing) -> xr.Dataset:
    """Return the chunks as one dataset."""
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    whole.pop("presentation")
    result = xr.Dataset(coords={"neuroid_id": ("neuroid", chosen), "time": np.arange(timing.steps) * timing.dt})
    for name, values in whole.items():
        result[name] = (("spike",) if values.ndim == 1 else ("presentation", "neuroid", "time"), values)
    return describe(
        result,
        {
            "spike_time": ("time of the spike after the onset of the image", "ms"),
            "spike_neuroid": ("neuroid that spiked", "1"),
            "spike_presentation": ("presentation during which it spiked", "1"),
            "time": ("time after the onset of the image", "ms"),
            "neuroid_id": ("index of the neuroid", "1"),
            "v": ("membrane potential", "V"),
        },
    )
