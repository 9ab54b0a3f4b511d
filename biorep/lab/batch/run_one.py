"""One run of a plan, executed: the same whether alone, in a sweep, in a worker or in a child process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from biorep.context import RunContext
from biorep.lab.graph import Node, graph, stages
from biorep.lab.perform import Performer, Say
from biorep.lab.plan import Planned
from biorep.lab.recipe import Recipe, user_code
from biorep.lab.store.provenance import code_version
from biorep.lab.store.runs import RunRecord
from biorep.lab.store.stages import Stages


def run_one(
    planned: Planned, store: Stages, context: RunContext, say: Say, nodes: Mapping[str, Node] | None = None
) -> RunRecord:
    """Make what is missing of a run, one line about each stage, and return its record; `nodes` are its graph if known.

    Device and engine of the context are resolved.
    """
    start = time.perf_counter()
    nodes = nodes or graph(planned.recipe, context)
    Performer(store, context, say).finish(nodes)
    return record_of(planned, stages(nodes), store, time.perf_counter() - start)


def record_of(planned: Planned, made: Mapping[str, Node], store: Stages, seconds: float) -> RunRecord:
    """Return the record of a run whose stages are all there, from their manifests."""
    numbers: dict[str, float | str] = {}
    warnings: list[str] = []
    for name, node in made.items():
        manifest = store.manifest(node.kind, node.key) or {}
        numbers |= {f"{name}.{column}": value for column, value in manifest.get("numbers", {}).items()}
        warnings += manifest.get("warnings", [])
    return RunRecord(
        planned.name,
        planned.recipe.document(),
        planned.coordinates,
        {name: node.address for name, node in made.items()},
        numbers,
        list(dict.fromkeys(warnings)),
        round(seconds, 3),
        code_version(),
        user_code(planned.recipe),
    )


def columns_of(recipes: list[Recipe]) -> list[dict[str, Any]]:
    """Return the columns of a plan's table: of its measures in the order of the table, then of its networks."""
    found: dict[str, dict[str, Any]] = {}
    notes: dict[str, dict[str, str]] = {}  # networks mean different things by one word: what each of them says
    units: dict[str, dict[str, None]] = {}
    parts = [(*one, one[1].columns_for(recipe)) for recipe in recipes for one in recipe.measures.items()]
    for name, part, columns in [*parts, *(("state", recipe.network, recipe.network.columns) for recipe in recipes)]:
        suffix = name.partition("/")[2]
        for column in columns:
            full, said = f"{name}.{column.name}", notes.setdefault(f"{name}.{column.name}", {})
            said.setdefault(column.note, part.word)
            note = column.note if len(said) == 1 else "; ".join(f"{word}: {text}" for text, word in said.items())
            units.setdefault(full, {})[column.unit] = None
            unit = " or ".join(filter(None, units[full]))
            heading = " ".join([column.heading, *(f"({text})" for text in (suffix, unit) if text)])
            found[full] = asdict(replace(column, name=full, heading=heading, note=note))
    return list(found.values())
