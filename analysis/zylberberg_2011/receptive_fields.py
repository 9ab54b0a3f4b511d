"""Receptive fields and tuning of SAILnet (Zylberberg, Murphy & DeWeese 2011, figures 2 and 3).

What to run first, and then this program with the folder that the run has printed::

    biorep run zylberberg_2011_natural
    python analysis/zylberberg_2011/receptive_fields.py runs/zylberberg_2011_natural

It trains nothing. The frozen network of every run is shown gratings in the way that it was shown its patches: each with
mean 0 and variance 1. A unit counts as a simple cell if a Gabor function explains more than 70 % of the variance of its
input weights *and* its responses are tuned, 1 - circular variance above 0.3. Neither is enough alone: round blobs are
Gabor functions, and the weakest response to a single orientation is perfectly tuned.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from biorep.datasets import gratings
from biorep.lab.report.page import save_figure
from biorep.lab.report.rows import Results
from biorep.networks import network
from biorep.networks.base import report_of
from biorep.networks.brian.spiking import SpikingNetwork
from biorep.plot import receptive_fields, tuning_summary
from biorep.plot.style import new_figure, styled
from biorep.tuning import fit_gabors, tuning

EXPLAINED, SELECTIVE = 0.7, 0.3


def measure(net: SpikingNetwork, state: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Return the tuning of the units, measured with gratings, and Gabor fits to their input weights."""
    height, width = (int(size) for size in state.attrs["image_shape"])
    responses = net.encode(state, gratings(size=height))
    weights = state["weights"].values.reshape(-1, height, width)
    return tuning(responses), fit_gabors(xr.DataArray(weights, dims=("neuroid", "row", "column")))


def summary(state: xr.Dataset, tuned: xr.Dataset, fits: xr.Dataset) -> dict[str, float]:
    """Return the numbers that are compared with the paper and with the authors' program."""
    report = report_of(state)
    fitted, selective = fits["r2"].values > EXPLAINED, tuned["selectivity"].values > SELECTIVE
    turned = (tuned["preferred_orientation"].values - fits["orientation"].values + 90) % 180 - 90
    # Images that hardly vary, stretched to variance 1, teach ramps: Gabor functions of low frequency to any fit.
    lowest = np.isclose(tuned["preferred_frequency"].values, float(tuned["frequency"].min()))
    return {
        "units": tuned.sizes["neuroid"],
        f"share with R2 > {EXPLAINED}": float(fitted.mean()),
        f"share with 1 - circular variance > {SELECTIVE}": float(selective.mean()),
        "share with both": float((fitted & selective).mean()),
        "share that prefers the lowest frequency": float(lowest.mean()),
        "share silent to gratings": float(tuned["n_silent"]) / tuned.sizes["neuroid"],
        "share of Gabor fits at a bound, no estimates": float(fits["n_at_bound"]) / fits.sizes["neuroid"],
        "median angle between Gabor fit and tuning, degrees": float(np.nanmedian(np.abs(turned))),
        "target rate": report["target_rate"],
        "rate, last quarter of training": report["rate"],
        "mean lateral weight": report["mean_lateral"],
        "largest lateral weight": report["largest_lateral"],
    }


def plot_training(state: xr.Dataset, tuned: xr.Dataset, fits: xr.Dataset, *, title: str) -> Figure:
    """Draw fit against selectivity, the lateral weights, and the rate during training with its target."""
    with styled():
        figure = new_figure(figsize=(7.2, 2.4))
        both, lateral, rate = figure.subplots(1, 3)
        both.scatter(fits["r2"], tuned["selectivity"], s=5)
        both.axvline(EXPLAINED, color="0.3", linestyle="--", linewidth=1)
        both.axhline(SELECTIVE, color="0.3", linestyle="--", linewidth=1)
        both.set(xlabel="R² of the Gabor fit", ylabel="1 − circular variance", xlim=(0, 1.02), ylim=(0, 1.02))
        weights = state["lateral"].values[~np.eye(state.sizes["neuroid"], dtype=bool)]
        lateral.hist(weights, bins=40, log=True)
        lateral.set(xlabel="lateral weight", ylabel="pairs")
        rate.plot(state["shown"] / 1000, state["mean_spikes"] / state.sizes["neuroid"])
        rate.axhline(report_of(state)["target_rate"], color="0.3", linestyle="--", linewidth=1)
        rate.set(xlabel="patches shown (thousands)", ylabel="spikes per unit and patch", ylim=(0, None))
        figure.suptitle(title, fontsize=9)
    return figure


def main(folder: str) -> None:
    """Measure every run of a plan, print the numbers and write the figures beside those of the report."""
    results = Results(folder)
    states = results.states({run.name: [run] for run in results.plan.runs})
    for run in results.plan.runs:
        state = states[run.name][0].to_dataset()
        net = network(**run.recipe["network"])
        assert isinstance(net, SpikingNetwork)
        tuned, fits = measure(net, state)
        print(f"\n{run.name}")
        for name, value in summary(state, tuned, fits).items():
            print(f"  {name:<52}{value:9.4g}")
        figures = {
            "fields": receptive_fields(state, count=256, columns=16, title=run.name),
            "tuning": tuning_summary(tuned, fits=fits, title=run.name),
            "training": plot_training(state, tuned, fits, title=run.name),
        }
        for name, figure in figures.items():
            print(f"  {save_figure(results.plan, f'sailnet-{name}-{run.name}', figure)}")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(f"usage: python {sys.argv[0]} STORE/zylberberg_2011_natural")
    main(sys.argv[1])
