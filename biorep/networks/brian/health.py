"""Whether a spiking network is in good health: rates, silence, thresholds, weights, noise; warnings in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

    from biorep.networks.brian.history import History


#: What to do about silence and about too many spikes, if a network does not say it better in `remedies`.
REMEDIES = {
    "silence": "Make the input stronger, or the thresholds lower.",
    "runaway": "Lower 'dt', or raise the inhibition.",
}


def learning_report(
    state: xr.Dataset, history: History, slots: int, remedies: Mapping[str, str] = REMEDIES
) -> tuple[dict[str, Any], list[str]]:
    """Judge a training.

    Parameters
    ----------
    state : xr.Dataset
        The learnt arrays; ``theta(neuroid)`` is looked at if it is there.
    history : History
        The answers to all images.
    slots : int
        Slots that were used: more than images, if images were shown again.
    remedies : mapping of str to str
        What to do, see `REMEDIES`.

    Returns
    -------
    report : dict
    warnings : list of str
        Sentences for the user; empty if all is well.
    """
    images = len(history.labels)
    late = slice(images - -(-images // 4), images)  # the last quarter: what the network is now, not what it was
    winners = history.winner[late]
    report: dict[str, Any] = {"units": history.units, "images": images, "slots": slots}
    if images:
        report |= {
            "slots_per_image": round(slots / images, 4),
            "mean_spikes": float(history.spikes[late].mean()),
            "share_silent": float((history.spikes[late] == 0).mean()),
            "share_used": float(len(np.unique(winners[winners >= 0])) / history.units),
        }
    if "theta" in state:
        for percent in (5, 25, 50, 75, 95):
            report[f"theta_percentile_{percent}_mV"] = float(np.percentile(state["theta"].values, percent))
    return report, _learning_warnings(report, remedies)


def _learning_warnings(report: dict[str, Any], remedies: Mapping[str, str]) -> list[str]:
    warnings = []
    if report.get("share_silent", 0) > 0.1:
        warnings.append(f"{100 * report['share_silent']:.0f} % of the last images got no spike. {remedies['silence']}")
    if report.get("share_used", 1) < 0.5:
        warnings.append(
            f"only {100 * report['share_used']:.0f} % of the {report['units']} units answered most to one of the last "
            "images. Show more images, or use fewer units."
        )
    if report.get("mean_spikes", 0) > 1000:
        warnings.append(f"{report['mean_spikes']:.0f} spikes per image: the network runs away. {remedies['runaway']}")
    return warnings


def encoding_report(
    counts: np.ndarray, tries: np.ndarray, remedies: Mapping[str, str] = REMEDIES
) -> tuple[dict[str, Any], list[str]]:
    """Judge the answers of a frozen network.

    Parameters
    ----------
    counts : (repeat, presentation, neuroid) array
    tries : (repeat * presentation,) array
        How often each image was shown.
    remedies : mapping of str to str
        What to do, see `REMEDIES`.

    Returns
    -------
    report : dict
        With repeats, the Fano factor and the coefficient of variation of the counts of a neuron to one image, means
        over the pairs with at least one spike per image.
    warnings : list of str
    """
    per_image = counts.sum(-1)
    report: dict[str, Any] = {
        "mean_spikes": float(per_image.mean()),
        "share_silent_images": float((per_image == 0).mean()),
        "share_weak_images": float((per_image < 5).mean()),
        "share_shown_again": float((tries > 1).mean()),
        "share_silent_neurons": float((counts.sum((0, 1)) == 0).mean()),
    }
    if len(counts) > 1:
        mean, variance = counts.mean(0), counts.var(0, ddof=1)
        active = mean >= 1
        if active.any():
            report["fano_factor"] = float((variance[active] / mean[active]).mean())
            report["coefficient_of_variation"] = float((np.sqrt(variance[active]) / mean[active]).mean())
    warnings = []
    if report["share_silent_images"] > 0.1:
        warnings.append(
            f"{100 * report['share_silent_images']:.0f} % of the images got no spike: a readout can only guess them. "
            f"{remedies['silence']}"
        )
    if report["share_silent_neurons"] > 0.5:
        warnings.append(
            f"{100 * report['share_silent_neurons']:.0f} % of the neurons never spiked. Train longer, or use "
            "fewer units."
        )
    return report, warnings


def coarse_steps(dt: float, constants: Mapping[str, float]) -> list[str]:
    """Return a warning for each process that the time step does not resolve.

    Parameters
    ----------
    dt : float
        Time step, ms.
    constants : mapping of str to float
        Time constants in ms by the name of what decays.
    """
    return [
        f"dt = {dt:g} ms is not shorter than the time constant of the {name}, {constant:g} ms: it is over before "
        f"the next step, and the network is another one than its equations say. Set 'dt' to {constant / 2:g} or less."
        for name, constant in constants.items()
        if dt >= constant
    ]
