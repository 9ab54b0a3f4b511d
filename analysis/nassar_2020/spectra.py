"""Do the hidden spectra of Nassar et al. (2020), section 4.1, follow their target? A table and a figure.

What to run first, and then this program with the folder that the run has printed::

    biorep run nassar_2020_mnist
    python analysis/nassar_2020/spectra.py runs/nassar_2020_mnist

It trains nothing. The deviation is the mean of |log10(lambda_n / gamma_n)| over the ranks of the plan's window, for the
training set's spectrum and the target gamma_n of the penalty: 1/n from the 11th eigenvalue on (from the start of the
window, if that is another).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from biorep.lab.report.page import save_figure
from biorep.lab.report.rows import Results
from biorep.lab.report.table import estimate
from biorep.plot.style import new_figure, styled
from biorep.spectra import powerlaw_deviation

Spectra = Mapping[str, Sequence[xr.Dataset]]


def window(spectrum: xr.Dataset) -> tuple[int, int]:
    """Return the first and last rank of the fit; the law is anchored at the first."""
    return int(spectrum["first_rank"]), int(spectrum["last_rank"])


def deviation(spectrum: xr.Dataset) -> float:
    """Return the mean distance from 1/n in decades."""
    first, last = window(spectrum)
    return powerlaw_deviation(spectrum, anchor=first, first=first, last=last)


def table(spectra: Spectra, correct: Mapping[str, Sequence[float]]) -> str:
    """Return one line per network, mean and half of the 95 % t-interval over its seeds."""
    width = max(map(len, spectra))
    lines = [f"{'':<{width}}  seeds   test accuracy        exponent  deviation (decades)"]
    for name, members in spectra.items():
        cells = (
            estimate(list(correct[name])).text(4),
            estimate([float(one["alpha"]) for one in members]).text(3),
            estimate([deviation(one) for one in members]).text(3),
        )
        lines.append(f"{name:<{width}}  {len(members):>5}  {cells[0]:>14}  {cells[1]:>14}  {cells[2]:>19}")
    return "\n".join(lines)


def draw(spectra: Spectra) -> Figure:
    """Return spectra over their value at the anchor, and the same over the target, for all seeds."""
    with styled():
        figure = new_figure(figsize=(8.0, 3.6))
        left, right = figure.subplots(1, 2)
        for index, (name, members) in enumerate(spectra.items()):
            for number, one in enumerate(members):
                first, last = window(one)
                ranks = one["component"].values[: int(one["numerical_rank"])]
                ratio = one["eigenvalue"].values[: len(ranks)] / float(one["eigenvalue"][first - 1])
                style = {"color": f"C{index}", "linewidth": 0.9, "label": name if number == 0 else None}
                left.plot(ranks, ratio, **style)
                inside = slice(first - 1, last)
                right.plot(ranks[inside], (ratio * ranks / first)[inside], **style)
        left.plot(ranks, first / ranks, color="0.5", linewidth=0.9, linestyle=(0, (4, 3)), zorder=5, label="1/n")
        right.axhline(1, color="0.5", linewidth=0.9, linestyle=(0, (4, 3)), zorder=5)
        lowest = np.nanmin([one["eigenvalue"][window(one)[1] - 1] / one["eigenvalue"][window(one)[0] - 1]
                            for members in spectra.values() for one in members])  # fmt: skip
        left.set(
            xscale="log",
            yscale="log",
            xlabel="rank n of the component",
            ylabel=f"eigenvalue / eigenvalue {first}",
            ylim=(lowest / 30, None),
        )
        right.set(xscale="log", yscale="log", xlabel="rank n of the component", ylabel="eigenvalue / target")
        left.legend(loc="lower left", fontsize="small")
    return figure


def main(folder: str) -> None:
    """Print the table of a plan and write the figure beside those of its report."""
    results = Results(folder)
    spectra = {name: [one.to_dataset() for one in members] for name, members in results.rows("spectrum").items()}
    print(table(spectra, results.numbers("readout.accuracy")))
    print(save_figure(results.plan, "spectra_against_target", draw(spectra)))


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(f"usage: python {sys.argv[0]} STORE/PLAN")
    main(sys.argv[1])
