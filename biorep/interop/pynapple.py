"""Recorded spikes for the analysis of neurophysiological data with pynapple."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biorep.errors import DataError
from biorep.interop.table import coords_along, library
from biorep.schema import check_finite, require_variables

if TYPE_CHECKING:
    import pynapple
    import xarray as xr

#: Seconds that an epoch ends before the next one starts; pynapple takes as much from epochs that touch, and warns.
GAP = 1e-6
SPIKES = ("spike_time", "spike_neuroid", "spike_presentation")


def to_pynapple(recording: xr.Dataset) -> tuple[pynapple.TsGroup, pynapple.IntervalSet]:
    """Return recorded spikes on one continuous time axis, and the epochs of the presentations.

    The presentations follow one another without a gap, each as long as a slot (stimulus and rest); showings that
    were not accepted are left out. So the axis is not the time of the simulation.

    Parameters
    ----------
    recording : xr.Dataset
        From `biorep.networks.brian.recording.record`, whole: ``spike_time(spike)`` in ms after the onset,
        ``spike_neuroid(spike)``, ``spike_presentation(spike)``, ``neuroid_id(neuroid)``, ``time(time)`` in ms.
        Neuroids may be selected beforehand, presentations and times afterwards.

    Returns
    -------
    spikes : pynapple.TsGroup
        Spike times in seconds, the keys are `neuroid_id`; silent neuroids are empty. The coordinates of the neuroids
        are its metadata, its time support is one interval over all presentations.
    epochs : pynapple.IntervalSet
        Start and end of each presentation in seconds, one microsecond short of the next start; the coordinates of
        the presentations are its metadata. A name that pynapple uses itself gets a prefix: `presentation_split`.

    Raises
    ------
    DataError
        If it is no recording of spikes, or if presentations or times were cut off.
    ConfigError
        If pynapple is not installed.

    References
    ----------
    Viejo, G. et al. (2023). Pynapple, a toolbox for data analysis in neuroscience. eLife 12, RP85786.

    Examples
    --------
    >>> spikes, epochs = to_pynapple(record(network, state, images))                     # doctest: +SKIP
    >>> spikes.count(ep=epochs[epochs.object_name == "7"])                               # doctest: +SKIP
    """
    recording = _checked(recording)
    length = _slot(recording)
    nap = library("pynapple")
    onsets = np.arange(recording.sizes["presentation"]) * length
    labels = _metadata(recording, "presentation", nap.IntervalSet)
    epochs = nap.IntervalSet(onsets, onsets + length - GAP, metadata=labels)
    whole = nap.IntervalSet(0.0, len(onsets) * length)
    trains = {key: nap.Ts(times, time_support=whole) for key, times in _trains(recording, length).items()}
    labels = _metadata(recording, "neuroid", nap.TsGroup)
    return nap.TsGroup(trains, time_support=whole, bypass_check=True, metadata=labels), epochs


WHAT = "a recording of spikes, as biorep.networks.brian.recording.record returns it for a spiking network"


def _checked(recording: xr.Dataset) -> xr.Dataset:
    """Return a recording whose variables have their dims and hold numbers."""
    dims: dict[str, tuple[str, ...]] = dict.fromkeys(SPIKES, ("spike",))
    recording = require_variables(recording, dims | {"neuroid_id": ("neuroid",), "time": ("time",)}, WHAT)
    for name in (*SPIKES, "time", "neuroid_id"):
        check_finite(recording[name].values, name)
    return recording


def _slot(recording: xr.Dataset) -> float:
    """Return the length of a slot in seconds; check that the recording is whole."""
    images, steps = recording.sizes.get("presentation", 0), recording.sizes["time"]
    if images == 0 or steps < 2:
        raise DataError(f"needs {WHAT}, with presentations and at least two time steps, got {dict(recording.sizes)}")
    time = recording["time"].values
    length = float(time[-1] - time[0]) * steps / (steps - 1)
    moment, shown = recording["spike_time"].values, recording["spike_presentation"].values
    if time[0] != 0 or (moment.size and (moment.max() >= length or shown.max() >= images)):
        raise DataError(
            f"needs {WHAT}, whole: this one covers {time[0]:g} to {time[-1]:g} ms of {images} presentations, but its "
            f"spikes reach {moment.max(initial=0):g} ms and presentation {shown.max(initial=0)}. Convert it before "
            "selecting presentations or times."
        )
    return length * 1e-3


def _trains(recording: xr.Dataset, length: float) -> dict[int, np.ndarray]:
    """Return the sorted spike times of each neuroid in seconds on the common axis."""
    moment = recording["spike_presentation"].values * length + recording["spike_time"].values * 1e-3
    sender = recording["spike_neuroid"].values
    order = np.lexsort((moment, sender))
    moment, sender = moment[order], sender[order]
    ids = recording["neuroid_id"].values
    first, end = (np.searchsorted(sender, ids, side) for side in ("left", "right"))
    return {int(key): moment[start:stop] for key, start, stop in zip(ids, first, end, strict=True)}


def _metadata(recording: xr.Dataset, dim: str, owner: Any) -> dict[str, np.ndarray]:
    """Return the coordinates along a dim under names that the owner of the metadata does not use itself."""
    taken = {*dir(owner), "start", "end", "values", "index", "columns", "metadata_index", "nap_class", "rate"}
    return {f"{dim}_{name}" if name in taken else name: v for name, v in coords_along(recording, dim).items()}
