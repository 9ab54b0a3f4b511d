"""Recipes: one experiment, as validated settings.

A recipe names a dataset, a network, and measures. A key that is a word of the table of measures is a measure; several
of one kind stand there each with a name, ``spectrum/test`` and ``spectrum/train``; a measure of the user's own has any
name and a `kind`, ``entropy: {kind: "mine.py:Entropy"}``. ``robustness: null`` leaves a standard measure out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field, model_validator

from biorep.config import Config, setting, validate
from biorep.contracts import Dataset, Measure, Network
from biorep.errors import ConfigError, did_you_mean
from biorep.source import Source
from biorep.table import Choice
from biorep.tables import DATASETS, MEASURES, NETWORKS

#: Names of folders in a store, and groups of results that are no measures.
TAKEN = ("stages", "state", "representation", "dataset", "network", "model", "history", "index")
#: What measures may be called.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)?")


class Recipe(Config):
    """One experiment: a dataset, a network, and what is measured of it."""

    name: str = setting(
        hashed=False, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100, description="name of the results' folder"
    )
    about: str = setting("", hashed=False, description="what this is, for people")
    reference: str = setting("", hashed=False, description="who published it")
    expected: str = setting("", hashed=False, description="which numbers to expect")
    time: str = setting("", hashed=False, description="how long it takes")
    shrunk: dict[str, Any] = setting({}, hashed=False, description="keys that make it run in seconds (--shrunk)")
    dataset: Annotated[Dataset, Choice(DATASETS)] = setting(description="the images, for example {name: digits}")
    network: Annotated[Network, Choice(NETWORKS)] = setting(
        description="the network, for example {kind: krotov-hopfield, units: 500}"
    )
    repeats: int | None = setting(
        None, ge=1, description="noisy repeats of each image, for networks that answer with noise"
    )
    seed: int = setting(0, ge=0, lt=2**63, description="seed of everything random")
    measures: dict[str, Annotated[Measure, Choice(MEASURES)]] = Field(default_factory=dict)
    #: Measures that are not to be made, though they are standard.
    without: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.name == "stages":
            raise ValueError("a recipe cannot be called 'stages': that is the folder of the shared results")
        if self.repeats not in (None, 1) and not self.network.noisy:
            raise ValueError(
                f"repeats = {self.repeats}, but '{self.network.word}' answers without noise: they would be equal copies"
            )
        return self

    def document(self) -> dict[str, Any]:
        """Return the recipe as executed, defaults filled in, as a document that `recipe_from` reads."""
        plain = self.model_dump(mode="json", exclude={"measures", "without"})
        return {
            **plain,
            **{name: measure.model_dump(mode="json") for name, measure in self.measures.items()},
            **dict.fromkeys(self.without),
        }


#: Keys of a recipe that are no measures.
FIELDS = tuple(name for name in Recipe.model_fields if name not in ("measures", "without"))


def recipe_from(source: Source) -> Recipe:
    """Validate a document as a recipe.

    Raises
    ------
    ConfigError
        With file, line and key path of every mistake.
    """
    mistakes: list[str] = [
        f"{source.where(())}: a key must be a word, found {name!r}" for name in source.data if not isinstance(name, str)
    ]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    measures: dict[str, Measure] = {}
    for name, value in source.data.items():
        if name in FIELDS or value is None:
            continue
        try:
            measures[name] = _measure(source, str(name), value)
        except ConfigError as error:
            mistakes.append(str(error))
    without = tuple(name for name, value in source.data.items() if value is None and name not in FIELDS)
    mistakes += [_unknown(source, name) for name in without if name not in MEASURES]
    base = {name: value for name, value in source.data.items() if name in FIELDS}
    try:
        recipe = validate(Recipe, replace(source, data=base))
    except ConfigError as error:
        raise ConfigError("\n".join([str(error), *mistakes])) from None
    mistakes += [
        _ambiguous(source, word)
        for word in {name.partition("/")[0] for name in measures if "/" in name}
        if word in measures
    ]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    chosen = {**measures, **_standard(measures, without)}
    recipe = recipe.model_copy(update={"measures": _ordered(chosen), "without": without})
    user_code(recipe)
    return recipe


def user_code(recipe: Recipe) -> dict[str, str]:
    """Return the digests of the classes of a recipe that are not part of biorep, by their names.

    Raises
    ------
    ConfigError
        If two of them have one name: their draws would be the same.
    """
    found: dict[str, str] = {}
    todo: list[Config] = [recipe.dataset, recipe.network, *recipe.measures.values()]
    while todo:
        part = todo.pop()
        todo += part.inside()
        if part.code and found.setdefault(part.word, part.code) != part.code:
            raise ConfigError(f"the recipe has two different classes '{part.word}'; rename one of them")
    return found


def _measure(source: Source, name: str, value: Any) -> Measure:
    word = name.partition("/")[0]
    where = source.where((name,))
    if not isinstance(value, Mapping):
        if word not in MEASURES:
            raise ConfigError(_unknown(source, name))
        raise ConfigError(f"{where}: '{name}' is {value!r}, but it should be a group of keys, or null for none")
    if word not in MEASURES and "kind" not in value:
        raise ConfigError(_unknown(source, name))
    if word in TAKEN or not NAME.fullmatch(name) or "shape_" in name:
        raise ConfigError(f"{where}: a measure cannot be called '{name}': write a word, or KIND/NAME, of letters, "
                          "digits, - and _")  # fmt: skip
    if word in MEASURES and value.get("kind", word) != word:
        raise ConfigError(f"{where}: '{name}' is the word of a measure of its own: call a '{value['kind']}' otherwise")
    return MEASURES.parse({"kind": word, **value}, source.part((name,), named=True))


def _unknown(source: Source, name: object) -> str:
    known = (*FIELDS, *MEASURES)
    hint = did_you_mean(name, known) or "."
    return (
        f"{source.where((str(name),))}: unknown key '{name}'{hint} Allowed here: {', '.join(sorted(known))}, and "
        "measures of your own, NAME: {kind: FILE.py:CLASS}."
    )


def _ambiguous(source: Source, word: str) -> str:
    return (
        f"{source.where((word,))}: '{word}' stands here with and without a name; where there are several of a kind, "
        f"each needs one: {word}/NAME"
    )


def _standard(measures: Mapping[str, Measure], without: tuple[str, ...]) -> dict[str, Measure]:
    """Return the standard measures that the recipe does not mention, with their defaults."""
    mentioned = {name.partition("/")[0] for name in measures} | set(without)
    return {
        word: MEASURES.parse({"kind": word})
        for word in MEASURES
        if word not in mentioned and MEASURES.load(word).standard  # type: ignore[attr-defined]
    }


def _ordered(measures: Mapping[str, Measure]) -> dict[str, Measure]:
    """Return measures in the order of the table, users' own last."""
    place = {word: number for number, word in enumerate(MEASURES)}
    return dict(sorted(measures.items(), key=lambda item: place.get(item[0].partition("/")[0], len(place))))
