"""Training: one network, or several side by side in one simulation, in chunks that can be killed and resumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from biorep import rng
from biorep.checkpoint import Checkpoint, identity
from biorep.context import RunContext
from biorep.engines.chunks import Progress, Showing
from biorep.engines.counter import draw_key
from biorep.engines.programs import Arrays
from biorep.errors import ConfigError, NumericalError
from biorep.networks.base import flat_images, mark, set_report
from biorep.networks.brian.contract import BrianNetwork
from biorep.networks.brian.health import coarse_steps, learning_report
from biorep.networks.brian.history import History
from biorep.networks.brian.simulation import feeder, of_copy, side_by_side
from biorep.schema import labels_of


@dataclass(frozen=True)
class Member:
    """One network of an ensemble."""

    network: BrianNetwork
    seed: int


def ensemble(members: Sequence[Member], dataset: xr.Dataset, *, context: RunContext | None = None) -> list[xr.Dataset]:
    """Train several networks side by side in one simulation: this is how a GPU is filled.

    Each state equals the one that the network's own `fit` gives. Members with the same seed see the same images in
    the same order with the same draws; members with other seeds have draws of their own.

    Parameters
    ----------
    members : sequence of Member
        Networks of one shape: they may differ in the fields of `BrianNetwork.swept` and in the seed.
    dataset : xr.Dataset
        Training images.
    context : RunContext, optional

    Returns
    -------
    list of xr.Dataset
        One state per member.

    Raises
    ------
    ConfigError
        If the members differ in a field that is compiled in.
    """
    context, first = RunContext.of(context), members[0].network
    for member in members[1:]:
        ours, theirs = first.settings_of_shape(), member.network.settings_of_shape()
        if different := [name for name in ours if ours[name] != theirs.get(name)]:
            raise ConfigError(
                f"the members of an ensemble differ in '{different[0]}', which is compiled in. They may differ in: "
                f"{', '.join(sorted(first.swept))}."
            )
    first.check_fitting(dataset)
    images, labels = first.prepare_images(flat_images(dataset)), labels_of(dataset)
    inputs = images.shape[1]
    showings = [_training_list(member, images) for member in members]
    start = [member.network.initial(inputs, member.seed) for member in members]
    feed = feeder([member.network for member in members], showings, inputs, learn=True, context=context, start=start)
    histories = [History(first.units, labels[showing.order]) for showing in showings]
    settings = [{**member.network.hash_payload(), "seed": member.seed} for member in members]
    checkpoint = Checkpoint(context, "spiking", identity(images, {"members": settings, "engine": feed.program.engine}))
    progress = _restored(checkpoint.load(), histories)
    if progress is None:
        progress = feed.start(side_by_side(start))
    try:
        for latest, answers in feed.run(progress, f"{first.word}: images", context):
            progress = latest
            for copy, (history, answer) in enumerate(zip(histories, answers, strict=True)):
                history.add(answer, of_copy(progress.state, copy, len(members)))
            if checkpoint.due():
                checkpoint.save(_kept(progress, histories))
    finally:
        feed.program.close()
    states = []
    for copy, (member, history) in enumerate(zip(members, histories, strict=True)):
        arrays = member.network.flush(of_copy(progress.state, copy, len(members)), inputs)
        _check_finite(arrays, first.word)
        state = member.network.learnt(arrays, inputs).merge(history.dataset())
        state.attrs["engine"] = feed.program.engine
        mark(member.network, state, dataset)
        network = member.network
        report, warnings = learning_report(state, history, int(progress.slots[copy]), network.remedies)
        warnings += coarse_steps(network.dt, network.time_constants())
        set_report(state, report | network.report(state, arrays), warnings)
        states.append(network.judged(state, images))
    checkpoint.remove()
    return states


def _training_list(member: Member, images: np.ndarray) -> Showing:
    network, seed = member.network, member.seed
    passes = [rng.stream(seed, network.draws, "shuffle", e).permutation(len(images)) for e in range(network.epochs)]
    order = np.concatenate([np.zeros(0, int), *passes])
    keys = np.array([draw_key(seed, network.draws, "train", k) for k in range(len(order))]).reshape(-1, 2)
    return Showing(images, order, keys)


def _check_finite(arrays: Arrays, word: str) -> None:
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise NumericalError(f"{word}: '{name}' became NaN or infinite. Lower the learning rates or 'dt'.")


def _kept(progress: Progress, histories: Sequence[History]) -> Arrays:
    """Return everything that a training goes on with."""
    arrays = {f"state/{name}": values for name, values in progress.state.items()}
    for index, history in enumerate(histories):
        arrays |= {f"history{index}/{name}": values for name, values in history.arrays().items()}
    return {**arrays, "position": progress.position, "slots": progress.slots}


def _restored(arrays: Arrays | None, histories: Sequence[History]) -> Progress | None:
    """Return the progress that `_kept` has kept, and give the histories theirs back."""
    if arrays is None:
        return None
    for index, history in enumerate(histories):
        history.restore(_named(arrays, f"history{index}/"))
    return Progress(_named(arrays, "state/"), arrays["position"], arrays["slots"])


def _named(arrays: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
