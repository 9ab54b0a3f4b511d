"""One self-contained HTML page per plan: what was run, the table, the figures, the warnings, the provenance."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from biorep import atomic
from biorep.resources import safe_name
from biorep.store import PlanRecord, Stages, read_plan
from biorep.store.summary import by_network, by_training, notes, summary, table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


def write_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.svg`` into the folder of a finished plan.

    Parameters
    ----------
    folder : path
        ``<store>/<plan>``.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    StoreError
        If the folder is not that of a finished plan.
    """
    import jinja2

    plan = read_plan(folder)
    rows = summary(plan)
    pictures = []
    for name, caption, figure in figures(plan):
        svg = _svg(figure)
        atomic.write_text(plan.folder / "figures" / f"{safe_name(name)}.svg", svg)
        pictures.append({"caption": caption, "data": base64.b64encode(svg.encode()).decode()})
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.get_template("report.html.j2").render(
        plan=plan, table=table(rows), notes=notes(rows), pictures=pictures, warnings=_warnings(plan), runs=_runs(plan)
    )
    path = plan.folder / "report.html"
    atomic.write_text(path, page)
    return path


def save_figure(plan: PlanRecord, name: str, figure: Figure) -> Path:
    """Write a figure of a program in `analysis` beside those of the plan's page and return its path."""
    path = plan.folder / "figures" / f"{safe_name(name)}.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=200)
    return path


#: Networks that the figures of a page show; a study of more has its table, and its Dataset for figures of its own.
MOST_SHOWN = 8


def figures(plan: PlanRecord) -> Iterator[tuple[str, str, Figure]]:
    """Yield (name, caption, figure) of every figure that the results of a plan allow."""
    from biorep import plot

    stages = Stages(plan.root)
    every = by_network(plan)
    groups = dict(list(every.items())[:MOST_SHOWN])
    shown = f" The first {MOST_SHOWN} of {len(every)} networks." if len(every) > MOST_SHOWN else ""
    spectra = {
        name: [stages.load("spectrum", run.stages["spectrum"]) for run in runs if "spectrum" in run.stages]
        for name, runs in groups.items()
    }
    if spectra := {name: members for name, members in spectra.items() if members}:
        layer = next(iter(spectra.values()))[0].attrs.get("layer", "response")
        split = next(iter(spectra.values()))[0].attrs.get("split", "test")
        caption = f"Eigenspectra of the covariance of the {split} {layer}s; dashes: the fitted power law in its window."
        caption += shown
        yield "spectrum", caption, plot.spectrum_lines(spectra)
    robustness = {
        name: [stages.load_tree("robustness", run.stages["robustness"]) for run in runs if "robustness" in run.stages]
        for name, runs in groups.items()
    }
    if robustness := {name: members for name, members in robustness.items() if members}:
        caption = "Accuracy under attack and noise: mean and range over seeds."
        caption += shown
        yield "robustness", caption, plot.accuracy_curves(robustness)
    trained = by_training(plan)
    groups = dict(list(trained.items())[:MOST_SHOWN])
    shown = f" The first {MOST_SHOWN} of {len(trained)} networks." if len(trained) > MOST_SHOWN else ""
    states = {name: [stages.load("state", run.stages["state"]) for run in runs] for name, runs in groups.items()}
    if learners := {name: members for name, members in states.items() if "online_accuracy" in members[0]}:
        caption = "Learning of the spiking networks; online accuracy: of labels assigned on the images before."
        caption += shown
        yield "learning", caption, plot.learning_curves(learners)
    if backprop := {name: members for name, members in states.items() if "evaluation_loss" in members[0]}:
        caption = (
            "Training of the backprop networks; dashes: loss and exponent on a fixed batch, accuracy on validation "
        )
        caption += f"images. One line per seed.{shown}"
        yield "training", caption, plot.training_curves(backprop)
    for name in learners:
        key = groups[name][0].stages["representation"]
        caption = f"{name}: spikes of each neuron for the test images of each class (first seed)."
        yield f"occupancy-{name}", caption, plot.occupancy(stages.load("representation", key))
    for name in groups:
        state = states[name][0]
        if _has_fields(state):
            caption = f"{name}: weights of the 40 units that win most often (first seed; red positive, blue negative)."
            yield f"fields-{name}", caption, plot.receptive_fields(state)


def _has_fields(state: xr.Dataset) -> bool:
    return "wins" in state and "weights" in state and "image_shape" in state.attrs


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": "biorep"})
    return buffer.getvalue()


def _warnings(plan: PlanRecord) -> list[tuple[str, list[str]]]:
    """Return warnings with the runs that they concern."""
    found: dict[str, list[str]] = {}
    for run in plan.runs:
        for text in run.warnings:
            found.setdefault(text, []).append(run.name)
    return list(found.items())


def _runs(plan: PlanRecord) -> list[dict[str, Any]]:
    stages = Stages(plan.root)
    rows = []
    for run in plan.runs:
        manifests = {kind: stages.manifest(kind, key) or {} for kind, key in run.stages.items()}
        with_versions = next(iter(manifests.values()), {})
        state = stages.load("state", run.stages["state"])
        rows.append(
            {
                "name": run.name,
                "recipe": yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True),
                "stages": [(kind, key, manifests[kind].get("seconds")) for kind, key in run.stages.items()],
                "version": with_versions.get("code_version", ""),
                "created": with_versions.get("created_at", ""),
                "libraries": json.loads(state.attrs.get("biorep_libraries", "{}")),
                "report": json.loads(state.attrs.get("report", "{}")),
            }
        )
    return rows
