"""Figures of spiking networks: how they learnt, what their neurons answer to, and when they spike."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from biorep.errors import ConfigError, DataError, whole
from biorep.plot.given import Results, by_name
from biorep.plot.style import new_figure, styled
from biorep.schema import check_finite, require_variables, responses_of


def learning_curves(groups: Results) -> Figure:
    """Draw the learning histories of networks.

    Parameters
    ----------
    groups : mapping of str to xr.Dataset, xr.DataTree, or a list of them
        Name -> states, one per seed, with the history of `biorep.networks.brian.history`.

    Returns
    -------
    Figure
        Online accuracy, spikes per image and mean threshold against the images shown; one line per state.
    """
    panels = [
        ("online_accuracy", "online accuracy"),
        ("mean_spikes", "spikes per image"),
        ("mean_theta", "mean threshold (mV)"),
    ]
    histories = by_name(groups, {}, "states of spiking networks")
    shown = [panel for panel in panels if any(panel[0] in state for states in histories.values() for state in states)]
    if not shown:
        raise ConfigError(f"no state has a history: one of {', '.join(name for name, _ in panels)}")
    with styled():
        figure = new_figure(figsize=(2.6 * len(shown), 2.4))
        for index, (variable, label) in enumerate(shown):
            axes = figure.add_subplot(1, len(shown), index + 1)
            for color, (name, states) in enumerate(histories.items()):
                for number, state in enumerate(s for s in states if variable in s):
                    require_variables(
                        state, {variable: ("shown",), "shown": ("shown",)}, "histories over shown images", numbers=True
                    )
                    axes.plot(
                        state["shown"], state[variable], ".-", color=f"C{color}", label=name if number == 0 else None
                    )
            axes.set_xlabel("images shown")
            axes.set_ylabel(label)
            if variable == "online_accuracy":
                axes.set_ylim(0, 1)
                if len(histories) > 1:
                    axes.legend()
            else:
                axes.set_ylim(bottom=0)
    return figure


def occupancy(representation: xr.Dataset | xr.DataTree, *, title: str = "") -> Figure:
    """Draw which class each neuron answers to.

    Parameters
    ----------
    representation : xr.Dataset or xr.DataTree
        Counts, ``response([repeat,] presentation, neuroid)``, with ``object_name(presentation)``.
    title : str

    Returns
    -------
    Figure
        Mean spikes per image, class by neuron; neurons are sorted by their class and then by how many they send.
    """
    what = "a representation with response(presentation, neuroid) and object_name(presentation)"
    representation = require_variables(representation, {"response": (), "object_name": ("presentation",)}, what)
    names = representation["object_name"].values.astype(str)
    classes = np.unique(names)
    values = responses_of(representation).values
    mean = np.stack([values[names == name].mean(0) for name in classes])
    order = np.lexsort((-mean.max(0), mean.argmax(0)))
    with styled():
        figure = new_figure(figsize=(6.4, 0.16 * len(classes) + 1.2))
        axes = figure.add_subplot()
        picture = axes.imshow(mean[:, order], aspect="auto", cmap="magma", interpolation="nearest", vmin=0)
        axes.set_yticks(range(len(classes)), classes)
        axes.set_xlabel("neuron, sorted by its class")
        axes.set_ylabel("class")
        axes.grid(False)
        figure.colorbar(picture, ax=axes, label="spikes per image")
        if title:
            axes.set_title(title)
    return figure


def raster(recording: xr.Dataset, *, count: int = 6, title: str = "") -> Figure:
    """Draw the spikes of the first images, and the membrane of the neuron that spikes most, if it was recorded.

    Parameters
    ----------
    recording : xr.Dataset
        From `biorep.networks.brian.recording.record`.
    count : int
        Number of images.
    title : str

    Raises
    ------
    ConfigError
        If no spikes were recorded.
    """
    recording = require_variables(recording, {}, "a recording, as biorep.networks.brian.recording.record returns it")
    if "spike_time" not in recording:
        raise ConfigError("this recording has no spikes: its network has rates")
    times: dict[str, tuple[str, ...]] = {
        "spike_time": ("spike",),
        "spike_neuroid": ("spike",),
        "spike_presentation": ("spike",),
        "time": ("time",),
    }
    if "v" in recording:
        times |= {"v": ("presentation", "neuroid", "time")}
    require_variables(recording, times | {"neuroid_id": ("neuroid",)}, "a recording of spikes", numbers=True)
    if strange := set(recording["spike_neuroid"].values.tolist()) - set(recording["neuroid_id"].values.tolist()):
        raise DataError(f"spikes of the neuroid {min(strange)}, which 'neuroid_id' does not name")
    check_finite(recording["spike_time"].values, "spike_time")
    if recording.sizes["time"] < 2:
        raise ConfigError("a raster needs at least two time steps")
    count = whole(count, "count")
    length = float(recording["time"][-1]) + float(recording["time"][1] - recording["time"][0])
    place = recording["spike_presentation"].values
    kept = place < count
    moment = place[kept] * length + recording["spike_time"].values[kept]
    neuroid = recording["spike_neuroid"].values[kept]
    images = min(count, recording.sizes.get("presentation", count))
    voltage = "v" in recording
    with styled():
        figure = new_figure(figsize=(6.4, 3.4 if voltage else 2.2))
        axes = figure.subplots(2 if voltage else 1, 1, sharex=True, squeeze=False)[:, 0]
        axes[0].plot(moment, neuroid, "|", color="C0", markersize=5)
        axes[0].set_ylabel("neuron")
        if voltage:
            ids, sent = np.unique(neuroid, return_counts=True)
            unit = int(ids[sent.argmax()]) if len(ids) else int(recording["neuroid_id"][0])
            trace = (
                recording["v"]
                .transpose("presentation", "neuroid", "time")
                .isel(neuroid=recording["neuroid_id"].values.tolist().index(unit))
                .values[:images]
            )
            steps = np.arange(trace.size) * length / trace.shape[1]
            axes[1].plot(steps, 1e3 * trace.ravel(), color="C1", linewidth=0.7)
            axes[1].set_ylabel(f"neuron {unit} (mV)")
        for panel in axes:
            for edge in range(images + 1):
                panel.axvline(edge * length, color="0.8", linewidth=0.6, zorder=0)
        axes[-1].set_xlabel("time (ms); lines: onset of an image")
        if title:
            axes[0].set_title(title)
    return figure
