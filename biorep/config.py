"""Configuration: frozen pydantic models, YAML with line numbers, hashes of what changes a result.

The recipe model itself is put together in `biorep.batch.recipe`, from the tables of networks and penalties;
here live only the base class and the rules that all of them share.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from biorep.errors import ConfigError
from biorep.explain import explain

#: Bumped when the meaning of a stored result changes; part of every hash.
SCHEMA_VERSION = 1

KeyPath = tuple[str | int, ...]
C = TypeVar("C", bound="Config")


class Config(BaseModel):
    """Base of all configurations: immutable, and an unknown key is an error.

    Numbers are read leniently, because YAML calls ``1e-3`` a string. Use `setting` for fields whose hash rules
    differ from the default ("hashed, always").
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    def hash_payload(self, stage: str | None = None) -> dict[str, Any]:
        """Return the fields that change the result, as plain JSON values.

        Parameters
        ----------
        stage : {"fit", "encode"}, optional
            Only the fields that matter for this stage of a network; all by default.
        """
        payload = {}
        for name, field in type(self).model_fields.items():
            value, rules = getattr(self, name), field.json_schema_extra or {}
            assert isinstance(rules, dict)
            if rules.get("hashed") is False or ("neutral" in rules and plain(value) == rules["neutral"]):
                continue
            if stage is not None and rules.get("stage", "fit") != stage:
                continue
            payload[name] = plain(value)
        return payload


def setting(
    default: Any = ..., *, neutral: Any = ..., hashed: bool = True, stage: str | None = None, **rules: Any
) -> Any:
    """Declare a field of a `Config` with its hash rules.

    Parameters
    ----------
    default
        The default value; none makes the field compulsory.
    neutral
        For a field that was added after results had been stored: the value with which nothing changes. The
        field is left out of the hash while it has this value, so that old results stay valid.
    hashed : bool
        False for fields that never change a result (names, comments, numbers of workers).
    stage : {"encode"}, optional
        For a field of a network that does not matter for its training, only for its responses.
    **rules
        Passed to `pydantic.Field` (``gt=0``, ``description=...``).
    """
    extra: dict[str, Any] = {} if neutral is ... else {"neutral": neutral}
    if not hashed:
        extra["hashed"] = False
    if stage is not None:
        extra["stage"] = stage
    return Field(default, json_schema_extra=extra or None, **rules)


#: A whole number of at least 1, for lists of widths.
Count = Annotated[int, Field(ge=1)]


def plain(value: Any) -> Any:
    """Return a value as JSON-ready built-in types; nested configurations follow their own hash rules."""
    if isinstance(value, Config):
        return value.hash_payload()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def digest(payload: Mapping[str, Any]) -> str:
    """Return the key of a payload: 16 hexadecimal digits of the SHA-256 of its canonical JSON form.

    Keys are sorted; ``1`` and ``1.0`` differ, as they do in JSON. The code version is not part of it.
    """
    canonical = json.dumps(
        {"schema_version": SCHEMA_VERSION, **plain(payload)}, sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


# --------------------------------------------------------------------------------------------- YAML with lines


class Source:
    """A parsed YAML document that remembers where every key path stands, as ``file:line``."""

    def __init__(self, data: dict[str, Any], name: str, lines: dict[KeyPath, str]):
        self.data, self.name, self.lines = data, name, lines

    def where(self, path: KeyPath) -> str:
        """Return ``file:line`` of the nearest key that the document contains."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return self.name

    def part(self, path: KeyPath) -> Source:
        """Return the mapping at a key path as a document of its own."""
        data: Any = self.data
        for key in path:
            data = data[key]
        lines = {key[len(path) :]: where for key, where in self.lines.items() if key[: len(path)] == path}
        return Source(data, self.name, lines)

    def changed(self, path: KeyPath, value: Any, lines: Mapping[KeyPath, str], where: str) -> Source:
        """Return a copy in which `value` stands at `path`; `lines` say where its keys stand, relative to it."""
        data = copy.deepcopy(self.data)
        set_path(data, path, copy.deepcopy(value), where)
        # Lists are numbered in the document and addressed by words on the command line.
        exact = tuple(int(step) if str(step).isdecimal() else step for step in path)
        kept = {key: place for key, place in self.lines.items() if key[: len(path)] not in (path, exact)}
        added = {(*start, *key): place for start in (path, exact) for key, place in lines.items()}
        return Source(data, self.name, {**kept, path: where, exact: where, **added})


def read_yaml(path: Path) -> Source:
    """Read a YAML mapping.

    Raises
    ------
    ConfigError
        If the file is missing, is not YAML, is not a mapping or holds a key twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> Source:
    """Parse a YAML mapping from a string; see `read_yaml`."""
    lines: dict[KeyPath, str] = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _note_lines(node, (), lines, name)
        data = yaml.safe_load(text) if node is not None else {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{name}{line}: not valid YAML: {getattr(error, 'problem', None) or error}") from error
    except ValueError as error:
        raise ConfigError(f"{name}: a value cannot be read: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: an anchor refers to itself") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: expected 'key: value' lines at the top, found {type(data).__name__}")
    return Source(cast(dict[str, Any], data), name, lines)


def _note_lines(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, str], name: str) -> None:
    lines.setdefault(path, f"{name}:{node.start_mark.line + 1}")
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"{name}:{key.start_mark.line + 1}: a key must be a word or a number")
            if key.value in seen:
                where = ".".join(map(str, (*path, key.value)))
                raise ConfigError(f"{name}:{key.start_mark.line + 1}: key '{where}' stands here a second time")
            seen.add(key.value)
            lines[(*path, key.value)] = f"{name}:{key.start_mark.line + 1}"
            _note_lines(value, (*path, key.value), lines, name)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note_lines(item, (*path, index), lines, name)


# -------------------------------------------------------------------------------------------------- validation


def validate[C: "Config"](model: type[C], source: Source) -> C:
    """Validate a document against a configuration.

    Parameters
    ----------
    model : subclass of Config
    source : Source
        The document.

    Raises
    ------
    ConfigError
        One message with every mistake: file and line, key path, the value found, what is allowed, and the
        nearest known key.
    """
    try:
        return model.model_validate(source.data)
    except ValidationError as error:
        lines = [explain(item, source, model) for item in error.errors()]
        raise ConfigError("\n".join(lines)) from None


# ------------------------------------------------------------------------------------------------- overrides


def parse_override(text: str) -> tuple[KeyPath, Any]:
    """Return the key path and the value of ``key.path=value``; the value is read as YAML.

    Raises
    ------
    ConfigError
        If the text has no ``=`` or its value is not YAML.
    """
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise ConfigError(f"--set {text!r}: expected key=value, for example --set network.units=500")
    try:
        parsed = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"--set {text!r}: the value is not valid YAML") from error
    return tuple(key.strip().split(".")), parsed


def set_path(data: dict[str, Any], path: KeyPath, value: Any, where: str) -> None:
    """Set ``data[a][b][c] = value`` for the path ``(a, b, c)``, creating mappings on the way."""
    current: Any = data
    for depth, step in enumerate(path):
        if isinstance(current, list):
            if not str(step).isdecimal() or int(step) >= len(current):
                raise ConfigError(f"{where}: the list has {len(current)} entries, no entry {step!r}")
            step = int(step)
        elif not isinstance(current, dict):
            raise ConfigError(f"{where}: '{path[depth - 1]}' is {current!r}, not a group of keys")
        if depth == len(path) - 1:
            current[step] = value
            return
        if isinstance(current, dict) and current.get(step) is None:
            current[step] = {}
        current = current[step]
