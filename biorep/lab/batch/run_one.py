"""One run of a plan, executed: the same whether alone, in a sweep, in a worker or in a child process."""

from __future__ import annotations

import time
from collections.abc import Mapping
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
    """Make what is missing of a run and return its record.

    Parameters
    ----------
    planned : Planned
    store : Stages
    context : RunContext
        With device and engine resolved.
    say : callable
        Takes one line about each stage.
    nodes : mapping, optional
        The graph of the run, where it is known already.
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
    for recipe in recipes:
        for name, measure in recipe.measures.items():
            _, _, suffix = name.partition("/")
            for column in measure.columns:
                heading = f"{column.heading} ({suffix})" if suffix else column.heading
                found[f"{name}.{column.name}"] = _column(f"{name}.{column.name}", heading, column)
    for recipe in recipes:
        for column in recipe.network.columns:
            found[f"state.{column.name}"] = _column(f"state.{column.name}", column.heading, column)
    return list(found.values())


def _column(name: str, heading: str, column: Any) -> dict[str, Any]:
    return {"name": name, "heading": heading, "digits": column.digits, "note": column.note}
