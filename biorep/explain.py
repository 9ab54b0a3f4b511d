"""From a pydantic error to one line that a user can act on: where, what was found, what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from biorep.errors import did_you_mean

if TYPE_CHECKING:
    from biorep.config import KeyPath, Source


def explain(item: Mapping[str, Any], source: Source, model: type[BaseModel]) -> str:
    """Return one line about one pydantic error."""
    path = tuple(item["loc"])
    dotted = ".".join(map(str, path))
    where = source.where(path)
    if item["type"] == "extra_forbidden":
        known = _fields_at(model, item["loc"][:-1])
        hint = did_you_mean(path[-1], known) or "."
        return (
            f"{where}: unknown key '{dotted}' (value {item['input']!r}){hint} Allowed here: {', '.join(sorted(known))}."
        )
    if item["type"] == "missing":
        return f"{where}: key '{dotted}' is missing: {_describe(model, item['loc'])}".rstrip(": ") + "."
    if item["type"] == "value_error":
        return f"{where}: {dotted or 'the document'}: {item['ctx']['error']}"
    hint = ""
    if item["type"] in ("literal_error", "enum"):
        allowed = _literals(model, item["loc"])
        hint = did_you_mean(item["input"], [str(value) for value in allowed])
    message = item["msg"][0].lower() + item["msg"][1:]
    return f"{where}: '{dotted}' is {item['input']!r}, but {message}{hint}"


def _annotation(model: type[BaseModel], loc: KeyPath) -> Any:
    """Return the field that a location leads to, following nested models only."""
    current: Any = model
    field = None
    for key in loc:
        fields = getattr(current, "model_fields", None)
        if fields is None or key not in fields:
            return field
        field = fields[key]
        current = _model_in(field.annotation)
    return field


def _model_in(annotation: Any) -> Any:
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _fields_at(model: type[BaseModel], loc: KeyPath) -> list[str]:
    current: Any = model
    for key in loc:
        if isinstance(key, int):
            continue
        fields = getattr(current, "model_fields", {})
        if key in fields:
            current = _model_in(fields[key].annotation)
    return list(getattr(current, "model_fields", {}))


def _literals(model: type[BaseModel], loc: KeyPath) -> list[Any]:
    field = _annotation(model, loc)
    return list(getattr(getattr(field, "annotation", None), "__args__", ()))


def _describe(model: type[BaseModel], loc: KeyPath) -> str:
    field = _annotation(model, loc)
    return (getattr(field, "description", None) or "").strip()
