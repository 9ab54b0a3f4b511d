"""From a pydantic error to one line that a user can act on: where, what was found, what is allowed.

The place of an error is followed through the annotations of the settings, beside the document: models, lists, mappings,
optional values, and settings whose class a word chooses (`biorep.table.Choice`).
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from biorep.errors import did_you_mean
from biorep.source import KeyPath, Source

#: What pydantic calls things, and what people write in a document.
WORDS = {"valid tuple": "list", "valid list": "list", "valid dictionary": "group of 'key: value' lines"}


def explain(item: Mapping[str, Any], source: Source, model: type[BaseModel]) -> str:
    """Return one line about one pydantic error."""
    path, annotation, parent = _follow(item["loc"], source.data, model)
    dotted, where = ".".join(map(str, (*source.prefix, *path))), source.where(path)
    if item["type"] == "extra_forbidden":
        known = list(parent.model_fields) if parent is not None else []
        hint = did_you_mean(path[-1], known) or "."
        found = _short(item["input"])
        return f"{where}: unknown key '{dotted}' (value {found}){hint} Allowed here: {', '.join(sorted(known))}."
    if item["type"] == "missing":
        wanted = annotation.description if isinstance(annotation, FieldInfo) else ""
        return f"{where}: key '{dotted}' is missing: {wanted or ''}".rstrip(": ") + "."
    if item["type"] in ("value_error", "table_error"):
        return f"{where}: {dotted or 'the document'}: {item['ctx']['error']}"
    hint = ""
    if item["type"] in ("literal_error", "enum"):
        hint = did_you_mean(item["input"], [str(word) for word in _literals(annotation)])
    message = item["msg"][0].lower() + item["msg"][1:]
    for word, plain in WORDS.items():
        message = message.replace(word, plain)
    return f"{where}: '{dotted}' is {_short(item['input'])}, but {message}{hint}"


def _short(value: Any) -> str:
    """Return a value for a message, whatever its size."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _follow(loc: KeyPath, data: Any, model: type[BaseModel]) -> tuple[KeyPath, Any, type[BaseModel] | None]:
    """Return the part of a location that is in the document, its annotation, and the model around its last key.

    Pydantic names members of unions in its locations as well; the document has no such keys.
    """
    path: list[str | int] = []
    annotation: Any = model
    parent: type[BaseModel] | None = None
    for key in loc:
        inside = _model(annotation, data)
        if inside is not None:
            field = inside.model_fields.get(str(key))
            parent, annotation = inside, field
            data = data.get(key) if isinstance(data, Mapping) else None
        elif isinstance(data, Mapping) and (key in data or (key == loc[-1] and not path[len(loc) :])):
            annotation, data = _member(annotation, 1), data.get(key)
        elif isinstance(data, Sequence) and not isinstance(data, str) and isinstance(key, int) and key < len(data):
            annotation, data = _member(annotation, 0), data[key]
        else:
            continue
        path.append(key)
    return tuple(path), annotation, parent


def _members(annotation: Any) -> list[Any]:
    """Return the alternatives of an annotation, without wrappers."""
    if isinstance(annotation, FieldInfo):
        return _members(
            Annotated[annotation.annotation, *annotation.metadata] if annotation.metadata else annotation.annotation
        )
    if get_origin(annotation) in (Union, types.UnionType):
        return [found for member in get_args(annotation) for found in _members(member)]
    return [annotation]


def _model(annotation: Any, data: Any) -> type[BaseModel] | None:
    """Return the model that a value is validated with, or None if it is no group of keys."""
    for member in _members(annotation):
        if get_origin(member) is Annotated:
            inner, *metadata = get_args(member)
            for mark in metadata:
                if hasattr(mark, "class_of"):
                    chosen: type[BaseModel] | None = mark.class_of(data)
                    return chosen
            member = inner
            found = _model(inner, data)
            if found is not None:
                return found
        if isinstance(member, type) and not isinstance(member, types.GenericAlias) and issubclass(member, BaseModel):
            return member
    return None


def _member(annotation: Any, number: int) -> Any:
    """Return the annotation of the values of a list (0) or mapping (1)."""
    for member in _members(annotation):
        if get_origin(member) is Annotated:
            member = get_args(member)[0]
        arguments = [argument for argument in get_args(member) if argument is not Ellipsis]
        if arguments and get_origin(member) not in (Literal,):
            return arguments[min(number, len(arguments) - 1)]
    return None


def _literals(annotation: Any) -> list[Any]:
    words: list[Any] = []
    for member in _members(annotation):
        inner = get_args(member)[0] if get_origin(member) is Annotated else member
        if get_origin(inner) is Literal:
            words += get_args(inner)
    return words
