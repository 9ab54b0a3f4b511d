"""Plans: a base recipe and what is varied.

A plan is a YAML file with ``recipe:`` (inline, or the name or path of another file) and any of

``cases:``
    label -> the keys that this case sets; the labels become the dim `model`. Groups of keys are merged with the
    recipe's, but a group with a `kind` (a network) replaces it.
``grid:``
    dotted key -> list of values, or ``{range: 10}``; every combination is run.
``zip:``
    dotted key -> list of values, taken together, first with first.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from biorep import resources
from biorep.context import RunContext
from biorep.errors import ConfigError, did_you_mean
from biorep.lab.graph import graph
from biorep.lab.recipe import Recipe, recipe_from
from biorep.resources import safe_name
from biorep.source import KeyPath, Source, parse_override, read_yaml
from biorep.table import beside

PLAN_KEYS = ("name", "about", "reference", "expected", "time", "shrunk", "recipe", "cases", "grid", "zip")
MARKS = ("recipe", "cases", "grid", "zip")


@dataclass(frozen=True)
class Planned:
    """One run of a plan: its name, its recipe, and the values of what the plan varies."""

    name: str
    recipe: Recipe
    coordinates: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """A plan, expanded; a single recipe is a plan with one run and no dims."""

    name: str
    dims: list[str]
    runs: list[Planned]
    about: dict[str, str]
    #: Words of the command line that name it, overrides among them; without overrides it is what its file says.
    command: tuple[str, ...] = ()
    overridden: bool = False


#: What one key is set to, where the keys inside the value stand, and where it stands itself, see `Source.changed`.
Setting = tuple[KeyPath, Any, Mapping[KeyPath, str], str]
#: One variation: the values of dims, and what it sets.
Change = tuple[dict[str, Any], list[Setting]]


def find(name: str | Path) -> Path:
    """Return the file of a recipe or plan: a path, or the name of a published model.

    Raises
    ------
    ConfigError
        If there is neither a file nor a published model of that name.
    """
    path = Path(name)
    if path.is_file():
        return path
    known = resources.models()
    if str(name) in known:
        return known[str(name)]
    raise ConfigError(
        f"there is no file and no published model {str(name)!r}{did_you_mean(name, known) or '.'} "
        f"Published models: {', '.join(known)}."
    )


def read(name: str | Path, overrides: Sequence[str] = (), *, shrunk: bool = False) -> Plan:
    """Read a recipe or a plan, a file or a published model, and expand it.

    The overrides are ``key=value``, one or several; in a plan, keys under ``recipe``, ``cases``, ``grid`` and ``zip``
    change the plan, all others every run. Before them, `shrunk` applies the keys under ``shrunk``, which make the file
    run in seconds.

    Raises
    ------
    ConfigError
        With file, line and key path of every mistake.
    """
    overrides = [overrides] if isinstance(overrides, str) else overrides
    path = find(name)
    source = read_yaml(path)
    command = (str(name), *(["--shrunk"] if shrunk else []), *(["--set", *overrides] if overrides else []))
    changes = [*(_shrinking(source) if shrunk else []), *map(_override, overrides)]
    is_plan = any(mark in source.data for mark in MARKS)
    for change in changes:
        if not is_plan or change[0][0] in PLAN_KEYS:
            source = source.changed(*change)
    if "name" not in source.data:
        source = source.changed(("name",), path.stem, {}, source.name)
    if is_plan:
        plan = _expand(source, path, [change for change in changes if change[0][0] not in PLAN_KEYS])
    else:
        plan = _single(_checked(source, path))
    return replace(plan, command=command, overridden=bool(overrides))


def _override(text: str) -> Setting:
    """Return what ``key=value`` sets; what grid and zip hold are dotted keys themselves."""
    key, value = parse_override(text)
    if len(key) > 1 and key[0] in ("grid", "zip"):
        key = (key[0], ".".join(map(str, key[1:])))
    return key, value, {}, f"--set {text}"


def _shrinking(source: Source) -> list[Setting]:
    """Return the changes that make a file run in seconds, its name among them, so that results stay apart."""
    keys = _mapping(source, "shrunk")
    if not keys:
        raise ConfigError(f"{source.name}: this file has no keys under 'shrunk' that say how to make it small")
    name = source.data.get("name", Path(source.name).stem)
    renamed: Setting = (("name",), f"{name}-shrunk", {}, source.where(("name",)))
    return [renamed, *((tuple(str(k).split(".")), v, {}, source.where(("shrunk", k))) for k, v in keys.items())]


def _single(recipe: Recipe) -> Plan:
    about = {key: getattr(recipe, key) for key in ("about", "reference", "expected", "time")}
    return Plan(recipe.name, [], [Planned(f"seed{recipe.seed}", recipe, {})], about)


def _expand(source: Source, path: Path, every: list[Setting]) -> Plan:
    unknown = [key for key in source.data if key not in PLAN_KEYS]
    if unknown:
        raise ConfigError(
            f"{source.where((unknown[0],))}: unknown key '{unknown[0]}' in a plan"
            f"{did_you_mean(unknown[0], PLAN_KEYS) or '.'} Allowed here: {', '.join(PLAN_KEYS)}."
        )
    base = _base(source, path)
    grid = [_together(source, "grid", {key: values}) for key, values in _mapping(source, "grid").items()]
    axes = [axis for axis in (_cases(source), *grid, _together(source, "zip", _mapping(source, "zip"))) if axis]
    names = _dim_names([dim for axis in axes for dim in axis[0][0]])
    _refuse_varied_twice(axes)
    _refuse_swept(every, [change for axis in axes for _, changes in axis for change in changes])
    runs = []
    for combination in itertools.product(*axes):
        document = base
        name: Setting = (("name",), source.data["name"], {}, source.where(("name",)))
        for change in (*(change for _, changes in combination for change in changes), *every, name):
            document = document.changed(*change)
        coordinates = {names[dim]: value for values, _ in combination for dim, value in values.items()}
        recipe = _checked(document, path)
        runs.append(Planned(_run_name(coordinates) or f"seed{recipe.seed}", recipe, coordinates))
    named = {name for run in runs for name in run.recipe.measures}
    if mixed := sorted(name for name in named if "/" in name and name.partition("/")[0] in named):
        word = mixed[0].partition("/")[0]
        raise ConfigError(
            f"{source.name}: some runs have '{word}' and others '{mixed[0]}'; give it a name in all of them"
        )
    _refuse_equal(runs, source)
    about = {key: str(source.data.get(key, "")) for key in ("about", "reference", "expected", "time")}
    return Plan(source.data["name"], list(names.values()), runs, about)


def _refuse_varied_twice(axes: list[list[Change]]) -> None:
    """Refuse two axes that set one key: the later would win, and runs would not be what their labels say."""
    for one, other in itertools.combinations(axes, 2):
        for first in (change for _, changes in one for change in changes):
            for key, _, _, where in (change for _, changes in other for change in changes):
                if _sets(first, key):
                    raise ConfigError(
                        f"{where}: '{_dotted(key)}' is set twice, here and by '{_dotted(first[0])}' ({first[3]}): a "
                        "plan varies a key once"
                    )


def _refuse_swept(every: list[Setting], varied: list[Setting]) -> None:
    """Refuse overrides of keys that the plan varies: the runs would not be what their labels say."""
    for key, _, _, where in every:
        for setting in varied:
            if _sets(setting, key):
                raise ConfigError(
                    f"{where}: the plan varies '{_dotted(setting[0])}' itself; change it under grid, zip or cases, for "
                    "example --set grid.seed=[7]"
                )


def _sets(setting: Setting, key: KeyPath) -> bool:
    """Return whether a variation says what stands under a key: it sets the key, something in it, or a group with it."""
    path, value = setting[:2]
    if path[: len(key)] == key:
        return True
    inside = key[len(path) :] if key[: len(path)] == path else None
    while inside and isinstance(value, dict) and inside[0] in value:
        value, inside = value[inside[0]], inside[1:]
    return inside == ()


def _refuse_equal(runs: list[Planned], source: Source) -> None:
    """Refuse runs that are the same experiment, or the same folder: they would be counted as independent."""
    for what in ("name", "settings"):
        seen: dict[str, Planned] = {}
        for run in runs:
            label = run.coordinates.get("model", "")
            same = run.name if what == "name" else json.dumps([label, run.recipe.document()], sort_keys=True)
            if (other := seen.setdefault(same, run)) is not run:
                both = f"{other.coordinates} and {run.coordinates}"
                raise ConfigError(f"{source.name}: two runs of the plan have the same {what}: {both}")


def _dotted(key: KeyPath) -> str:
    return ".".join(map(str, key))


def _checked(source: Source, path: Path) -> Recipe:
    """Return a recipe whose measures find in it what they need."""
    with beside(path.parent):
        recipe = recipe_from(source)
    try:
        graph(recipe, RunContext())
    except ConfigError as error:
        raise ConfigError(f"{source.where(())}: {error}") from None
    return recipe


def _base(source: Source, path: Path) -> Source:
    chosen = source.data.get("recipe")
    if isinstance(chosen, dict):
        return source.part(("recipe",))
    if isinstance(chosen, str):
        beside = path.parent / chosen
        return read_yaml(beside if beside.is_file() else find(chosen))
    raise ConfigError(
        f"{source.where(('recipe',))}: a plan needs 'recipe': keys of a recipe, or the name or path of one; "
        f"found {chosen!r}"
    )


def _cases(source: Source) -> list[Change]:
    axis: list[Change] = []
    for label, keys in _mapping(source, "cases").items():
        place = ("cases", label)
        if not isinstance(keys, dict | None):
            raise ConfigError(f"{source.where(place)}: case '{label}' must be 'key: value' lines, found {keys!r}")
        changes = [setting for key in keys or {} for setting in _settings(source, place, (key,))]
        axis.append(({"model": str(label)}, changes))
    return axis


def _settings(source: Source, place: KeyPath, path: KeyPath) -> list[Setting]:
    """Return what the group of keys at ``place + path`` sets: its members one by one, unless it has a `kind`."""
    value: Any = source.data
    for key in (*place, *path):
        value = value[key]
    if isinstance(value, dict) and value and "kind" not in value:
        return [setting for key in value for setting in _settings(source, place, (*path, key))]
    lines = source.part((*place, *path)).lines if isinstance(value, dict) else {}
    dotted = tuple(step for key in path for step in (key.split(".") if isinstance(key, str) else [key]))
    return [(dotted, value, lines, source.where((*place, *path)))]


def _together(source: Source, word: str, table: Mapping[Any, Any]) -> list[Change]:
    """Return the variation of keys that change together, first with first."""
    listed = {key: _values(values, source.where((word, key)), key) for key, values in table.items()}
    lengths = {key: len(values) for key, values in listed.items()}
    if len(set(lengths.values())) > 1:
        raise ConfigError(f"{source.where((word,))}: the lists of '{word}' must be equally long, found {lengths}")
    paths = {key: (tuple(str(key).split(".")), source.where((word, key))) for key in listed}
    labels = zip(*map(_labels, listed.values()), strict=True)
    return [
        (
            dict(zip(map(str, listed), label, strict=True)),
            [(path, value, {}, where) for (path, where), value in zip(paths.values(), row, strict=True)],
        )
        for row, label in zip(zip(*listed.values(), strict=True), labels, strict=True)
    ]


def _mapping(source: Source, key: str) -> dict[Any, Any]:
    value = source.data.get(key) or {}
    if not isinstance(value, dict):
        raise ConfigError(f"{source.where((key,))}: '{key}' must be 'key: value' lines, found {value!r}")
    return value


def _values(values: Any, where: str, key: object) -> list[Any]:
    if isinstance(values, dict) and set(values) == {"range"} and isinstance(values["range"], int):
        values = list(range(values["range"]))
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{where}: '{key}' must be a list of values or {{range: n}}, found {values!r}")
    return values


def _labels(values: list[Any]) -> list[Any]:
    """Return the coordinates of values: numbers if all of them are (YAML calls 1e-3 a word), else words."""
    try:
        numbers = [v if isinstance(v, int | float) else float(v) for v in values]
        if not any(isinstance(v, bool) for v in values):
            return numbers
    except (TypeError, ValueError):
        pass
    return [value if isinstance(value, str) else json.dumps(value, default=str) for value in values]


#: Names that the results use themselves.
RESERVED = {"linf", "l2", "noise", "epsilon", "attack", "component", "presentation", "class", "neuroid", "run", "label",
            "split", "model", "repeat", "seed", "epoch", "alpha", "convention", "layer"}  # fmt: skip


def _dim_names(keys: list[str]) -> dict[str, str]:
    """Return short names for dotted keys: the last part where that is unique and means nothing else."""
    unique = dict.fromkeys(keys)
    last = [key.rsplit(".", 1)[-1] for key in unique]
    return {
        key: short
        if key == short or (last.count(short) == 1 and short not in RESERVED)
        else key.replace(".", "_").replace("/", "_")
        for key, short in zip(unique, last, strict=True)
    }


def _run_name(coordinates: dict[str, Any]) -> str:
    text = "-".join(str(v) if k == "model" else f"{k}{v}" for k, v in coordinates.items())
    name = safe_name(text)
    # "a b" and "a_b" are two cases, and so are two labels that differ in characters that no folder can have.
    return name if name == text else safe_name(f"{text}-{hashlib.sha256(text.encode()).hexdigest()[:8]}")
