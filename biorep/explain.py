"""From a pydantic error to one line that a user can act on: where, what was found, what is allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic_core import InitErrorDetails, PydanticCustomError

from biorep.errors import did_you_mean
from biorep.source import KeyPath, Source

#: What pydantic calls things, and what people write in a document.
WORDS = {"valid tuple": "list", "valid list": "list", "valid dictionary": "group of 'key: value' lines"}


def informed(item: Mapping[str, Any], fields: Mapping[str, Any]) -> InitErrorDetails:
    """Return one error of a group of keys that knows the fields of the group: pydantic does not say which there are."""
    field = fields.get(str(item["loc"][0])) if len(item["loc"]) == 1 else None
    own = {"known": sorted(fields), "wanted": (field and field.description) or ""}
    kind = PydanticCustomError(item["type"], "{said}", {**own, **item.get("ctx", {}), "said": item["msg"]})
    return InitErrorDetails(type=kind, loc=item["loc"], input=item["input"])


def explain(item: Mapping[str, Any], source: Source) -> str:
    """Return one line about one `informed` error."""
    path, about = _in_document(item["loc"], source.data), item["ctx"]
    dotted, where = ".".join(map(str, (*source.prefix, *path))), source.where(path)
    if item["type"] == "extra_forbidden":
        hint = did_you_mean(path[-1], about["known"]) or "."
        found = _short(item["input"])
        return f"{where}: unknown key '{dotted}' (value {found}){hint} Allowed here: {', '.join(about['known'])}."
    if item["type"] == "missing":
        return f"{where}: key '{dotted}' is missing: {about['wanted']}".rstrip(": ") + "."
    if item["type"] in ("value_error", "table_error"):
        return ": ".join(part for part in (where, dotted, str(about["error"])) if part)
    hint = did_you_mean(item["input"], re.findall("'([^']*)'", about["expected"])) if "expected" in about else ""
    message = item["msg"][0].lower() + item["msg"][1:]
    if item["type"] == "string_type" and item["input"] is not None:
        message += ": put it in quotes"
    for word, plain in WORDS.items():
        message = message.replace(word, plain)
    return f"{where}: '{dotted}' is {_short(item['input'])}, but {message}{hint}"


def _short(value: Any) -> str:
    """Return a value for a message, whatever its size."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _in_document(loc: KeyPath, data: Any) -> KeyPath:
    """Return the part of a location that is in the document: pydantic names members of unions in it as well."""
    path: list[str | int] = []
    for key in loc:
        if isinstance(data, Mapping) and (key in data or key == loc[-1]):
            data = data.get(key)
        elif isinstance(data, list | tuple) and isinstance(key, int) and key < len(data):
            data = data[key]
        else:
            continue
        path.append(key)
    return tuple(path)
