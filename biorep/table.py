"""One table per kind of thing that a recipe names: words, and the classes of settings behind them.

A table names classes by dotted strings and loads one when its word is used. `Choice` makes a table the type of a field:
the word in the document picks the class. Three ways lead into a table: a line here in `biorep.tables`, an entry point
of an installed package (group ``biorep.<table>``), and ``file.py:Class`` in the recipe itself.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError, create_model
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from biorep import resources, usercode
from biorep.config import Config, validate
from biorep.errors import ConfigError, choose
from biorep.source import Source

#: Folders in which ``file.py:Class`` is looked for, beside the working directory and the published models.
_BESIDE: ContextVar[tuple[Path, ...]] = ContextVar("beside", default=())


@contextmanager
def beside(folder: Path) -> Iterator[None]:
    """Look for users' files in a folder as well while the block runs: that of the recipe which names them."""
    token = _BESIDE.set((folder, *_BESIDE.get()))
    try:
        yield
    finally:
        _BESIDE.reset(token)


class Table(Mapping[str, str]):
    """Words and the classes behind them.

    Parameters
    ----------
    name : str
        Of the table, in the plural: the group of entry points is ``biorep.<name>``.
    what : str
        What one entry is called in messages.
    base : str
        Dotted name, ``module:Class``, of what all classes derive from.
    entries : dict of str to str
        Word -> dotted name.
    tag : str
        The key of a recipe that holds the word.
    other : str, optional
        Dotted name of the class for words that are none of the table: paths of users' files.
    """

    def __init__(
        self, name: str, what: str, base: str, entries: Mapping[str, str], *, tag: str = "kind", other: str = ""
    ):
        self.name, self.what, self.base, self.tag, self.other = name, what, base, tag, other
        self._own = dict(entries)

    @cached_property
    def _entries(self) -> dict[str, tuple[str, str]]:
        """Word -> (dotted name, code), those of installed packages included."""
        found = {word: (dotted, "") for word, dotted in self._own.items()}
        for point in importlib.metadata.entry_points(group=f"biorep.{self.name}"):
            if point.name in found:
                raise ConfigError(
                    f"the installed package {_package(point)} calls a {self.what} '{point.name}', which is the word of "
                    f"{found[point.name][0]}. Remove one of the two packages, or ask its author for another word."
                )
            found[point.name] = (point.value, f"{_package(point)} {point.value}")
        return found

    def __getitem__(self, word: str) -> str:
        return self._entries[word][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def load(self, word: object) -> type[Config]:
        """Return the class of a word, or of ``file.py:Class``, see `find`."""
        return self.find(word)[0]

    def find(self, word: object) -> tuple[type[Config], object]:
        """Return the class of a word, or of ``file.py:Class``; and the word, a file in it with its whole path.

        Raises
        ------
        ConfigError
            If there is no such word, file or class: what there is instead.
        """
        word = os.path.expanduser(word) if isinstance(word, str) else word
        if isinstance(word, str) and ".py:" in word:
            file, _, name = word.rpartition(":")
            path = self._find(file, word)
            return self._from_file(path, name, word), f"{path}:{name}"
        if self.other and isinstance(word, str) and word not in self._entries and _is_path(word):
            places = [folder / word for folder in _BESIDE.get()]
            whole = next((place for place in places if place.exists()), Path(word)).resolve()
            return cast(type[Config], _attribute(self.other)), str(whole)
        dotted, code = self._entries[choose(word, self, self.what)]
        module = dotted.partition(":")[0]
        found = _attribute(dotted)
        if code and not vars(found).get("code"):
            found.code = code if not _is_editable(module) else _text_of(module)
        return cast(type[Config], found), word

    def _from_file(self, path: Path, name: str, word: str) -> type[Config]:
        found, code = usercode.load(path, name)
        base = self.base_class()
        if inspect.isabstract(found) and issubclass(found, base):
            missing = ", ".join(sorted(found.__abstractmethods__))
            raise ConfigError(f"{self.what} {word!r}: {path} defines '{name}' without its methods {missing}")
        if not isinstance(found, type) or not issubclass(found, base):
            there = ", ".join(usercode.classes(path, base)) or "none"
            raise ConfigError(f"{self.what} {word!r}: {path} defines no {self.what} '{name}' (it defines: {there})")
        if name in self:
            raise ConfigError(
                f"{self.what} {word!r}: '{name}' is the word of {self[name]}; give the class another name"
            )
        found = _with_free_word(found, self.tag)
        found.code = code
        return found

    def _find(self, file: str, word: str) -> Path:
        places = [*(folder / file for folder in _BESIDE.get()), Path(file), resources.folder("models") / file]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise ConfigError(f"{self.what} {word!r}: there is no file {' or '.join(map(str, dict.fromkeys(places)))}")
        return path.resolve()

    def base_class(self) -> type[Config]:
        """Return what all classes of the table derive from."""
        return cast(type[Config], _attribute(self.base))

    def parse(self, document: Mapping[str, Any], source: Source | None = None) -> Any:
        """Return the settings that a document describes.

        Raises
        ------
        ConfigError
            With every mistake.
        """
        where = "" if source is None else f"{source.where((self.tag,))}: "
        source = source or Source({}, str(document.get(self.tag, self.what)))
        if self.tag not in document:
            key = ".".join(map(str, (*source.prefix, self.tag)))
            raise ConfigError(f"{where}key '{key}' is missing. Available: {', '.join(sorted(self))}.")
        try:
            cls, word = self.find(document[self.tag])
        except ConfigError as error:
            raise ConfigError(f"{where}{error}") from None
        return validate(cls, replace(source, data={**document, self.tag: word}))


#: Users' classes whose word is fixed -> the same with a word that may be ``file.py:Class``.
_FREE: dict[type[Config], type[Config]] = {}


def _with_free_word(cls: type[Config], tag: str) -> type[Config]:
    """Return a user's class as one that can be named by its file; in a table its word may be a `Literal`."""
    if cls.model_fields[tag].annotation is str:
        return cls
    if cls not in _FREE:
        free: dict[str, Any] = {tag: (str, "")}
        _FREE[cls] = create_model(cls.__name__, __base__=cls, __module__=cls.__module__, __doc__=cls.__doc__, **free)
    return _FREE[cls]


def _attribute(dotted: str) -> Any:
    module, _, name = dotted.partition(":")
    return getattr(importlib.import_module(module), name)


def _is_path(word: str) -> bool:
    return "/" in word or Path(word).suffix != "" or Path(word).exists()


def _package(point: importlib.metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "of unknown origin"


def _is_editable(module: str) -> bool:
    """Return whether a module belongs to a package that is installed from a checkout: its version says nothing."""
    for name in importlib.metadata.packages_distributions().get(module.partition(".")[0], []):
        text = importlib.metadata.distribution(name).read_text("direct_url.json")
        if text and json.loads(text).get("dir_info", {}).get("editable"):
            return True
    return False


def _text_of(module: str) -> str:
    file = importlib.import_module(module).__file__
    assert file is not None
    return usercode.digest(usercode.reached(Path(file)))


class Choice:
    """Makes a table the type of a field: ``penalties: tuple[Annotated[Penalty, Choice(PENALTIES)], ...]``.

    A value is settings of one of the table's classes, a group of keys with a `kind`, or, for all defaults, the word.
    """

    def __init__(self, table: Table):
        self.table = table

    def _validate(self, value: Any) -> Any:
        table = self.table
        if isinstance(value, table.base_class()):
            return value
        if isinstance(value, str):
            value = {table.tag: value}
        if not isinstance(value, Mapping):
            raise ValueError(
                f"expected the word of a {table.what}, or a group of keys with '{table.tag}', found {value!r}"
            )
        if table.tag not in value:
            raise _at(table.tag, value, f"key '{table.tag}' is missing. Available: {', '.join(sorted(table))}.")
        try:
            cls, word = table.find(value[table.tag])
        except ConfigError as error:
            raise _at(table.tag, value, str(error)) from None
        return cls.model_validate(
            {**value, table.tag: word}
        )  # pydantic adds the place of the field to the mistakes inside

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.model_dump(mode="json")),
        )


def _at(key: str, value: Any, text: str) -> ValidationError:
    """Return an error about one key of a group."""
    kind = PydanticCustomError("table_error", "{error}", {"error": text})
    details = InitErrorDetails(type=kind, loc=(key,), input=value)
    return ValidationError.from_exception_data("Choice", [details])
