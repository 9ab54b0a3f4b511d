"""One self-contained HTML page per plan: what was run, the table, the figures, the warnings, the provenance."""

from __future__ import annotations

import base64
import io
import itertools
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from biorep import atomic
from biorep.config import digest
from biorep.contracts import Drawing
from biorep.lab.recipe import Recipe, recipe_from
from biorep.lab.report.rows import Groups, Results, by_network, by_training
from biorep.lab.report.table import notes, summary, table
from biorep.lab.store.provenance import code_version
from biorep.lab.store.runs import PlanRecord, RunRecord
from biorep.lab.store.stages import Stages
from biorep.resources import safe_name
from biorep.source import Source

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_report(folder: str | Path) -> Path:
    """Write ``report.html`` and ``figures/*.svg`` into the folder of a finished plan, and return the path of the page.

    Raises
    ------
    StoreError
        If the folder is not that of a finished plan.
    """
    import jinja2

    results = Results(folder)
    plan, path = results.plan, results.plan.folder / "report.html"
    stamp = _stamp(plan)
    if _is_current(path, stamp):
        return path
    rows, pictures = summary(plan), []
    kept: set[str] = set()
    for drawing in figures(results):
        svg = _svg(drawing.figure)
        file = plan.folder / "figures" / f"{safe_name(_unused(drawing.name, kept))}.svg"
        kept.add(file.stem)
        atomic.write_text(file, svg)
        pictures.append({"caption": drawing.caption, "data": base64.b64encode(svg.encode()).decode()})
    for old in (plan.folder / "figures").glob("*.svg"):
        if old.stem not in kept:
            old.unlink()
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.get_template("page.html.j2").render(
        plan=plan,
        stamp=stamp,
        table=table(plan, rows),
        columns=[column for column in plan.columns if column["note"]],
        notes=notes(rows),
        pictures=pictures,
        warnings=_warnings(plan),
        runs=_runs(results),
    )
    atomic.write_text(path, page)
    return path


def _stamp(plan: PlanRecord) -> str:
    """Return what a page was made from: runs, columns, what is said about the plan, and the version of biorep."""
    return digest(
        {
            "runs": [vars(run) for run in plan.runs],
            "columns": plan.columns,
            "about": plan.about,
            "missing": plan.missing,
            "version": code_version(),
        }
    )


def _is_current(path: Path, stamp: str) -> bool:
    try:
        with open(path, encoding="utf-8") as file:
            return stamp in file.read(200)
    except OSError:
        return False


def _unused(name: str, taken: Collection[str]) -> str:
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(found for found in names if safe_name(found) not in taken)


def save_figure(plan: PlanRecord, name: str, figure: Figure) -> Path:
    """Write a figure of a program in `analysis` beside those of the plan's page and return its path."""
    path = plan.folder / "figures" / f"{safe_name(name)}.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=200)
    return path


#: Networks that the figures of a page show; a study of more has its table, and its Dataset for figures of its own.
MAX_SHOWN = 8


def figures(results: Results) -> Iterator[Drawing]:
    """Yield the figures of a plan: of its measures, then of its trainings."""
    groups, remark = _first(by_network(results.plan))
    for name in results.names():
        run = next(run for run in results.plan.runs if name in run.stages)
        measure = _recipe(run).measures.get(name)
        if measure is not None:
            _, _, suffix = name.partition("/")
            for drawing in measure.figures(results.rows(name, groups)):
                called = f"{drawing.name}-{suffix}" if suffix else drawing.name
                yield replace(drawing, name=called, caption=drawing.caption + remark)
    groups, remark = _first(by_training(results.plan))
    by_kind: dict[str, dict[str, Sequence[RunRecord]]] = {}
    for row, runs in groups.items():
        by_kind.setdefault(runs[0].recipe["network"]["kind"], {})[row] = runs
    for of_kind in by_kind.values():
        network = _recipe(next(iter(of_kind.values()))[0]).network
        for drawing in network.figures(results.states(of_kind)):
            yield replace(drawing, caption=drawing.caption + remark)


def _first(groups: Groups) -> tuple[Groups, str]:
    """Return the groups that are shown, and what to say of the others."""
    remark = f" The first {MAX_SHOWN} of {len(groups)} networks." if len(groups) > MAX_SHOWN else ""
    return dict(list(groups.items())[:MAX_SHOWN]), remark


def _recipe(run: RunRecord) -> Recipe:
    return recipe_from(Source(run.recipe, f"recipe of the run '{run.name}'"))


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


def _runs(results: Results) -> list[dict[str, Any]]:
    stages = Stages(results.plan.root)
    rows = []
    for run in results.plan.runs:
        manifests = {name: stages.manifest(*address.split("/")) or {} for name, address in run.stages.items()}
        with_versions = next(iter(manifests.values()), {})
        said = results.attributes(run)
        rows.append(
            {
                "name": run.name,
                "recipe": yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True),
                "stages": [(name, address, manifests[name].get("seconds")) for name, address in run.stages.items()],
                "version": with_versions.get("code_version", ""),
                "created": with_versions.get("created_at", ""),
                "libraries": json.loads(said.get("biorep_libraries", "{}")),
                "report": json.loads(said.get("report", "{}")),
            }
        )
    return rows
