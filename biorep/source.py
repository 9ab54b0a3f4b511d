"""Documents that remember where each of their keys stands, and the words that change them from the command line."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from biorep.errors import ConfigError

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """A parsed YAML document that remembers where every key path stands, as ``file:line``."""

    data: dict[str, Any]
    name: str
    lines: dict[KeyPath, str] = field(default_factory=dict)
    prefix: KeyPath = ()  # place of the document in the one that people know, for messages

    def where(self, path: KeyPath) -> str:
        """Return ``file:line`` of the nearest key that the document contains."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return self.name

    def part(self, path: KeyPath, *, named: bool = False) -> Source:
        """Return the mapping at a key path as a document of its own; if `named`, messages speak of the whole path."""
        data: Any = self.data
        for key in path:
            data = data[key]
        lines = {key[len(path) :]: where for key, where in self.lines.items() if key[: len(path)] == path}
        return Source(data, self.name, lines, (*self.prefix, *path) if named else self.prefix)

    def changed(self, path: KeyPath, value: Any, lines: Mapping[KeyPath, str], where: str) -> Source:
        """Return a copy in which `value` stands at `path`; `lines` say where its keys stand, relative to it."""
        data = copy.deepcopy(self.data)
        set_path(data, path, copy.deepcopy(value), where)
        # Lists are numbered in the document and addressed by words on the command line.
        exact = tuple(int(step) if str(step).isdecimal() else step for step in path)
        kept = {key: place for key, place in self.lines.items() if key[: len(path)] not in (path, exact)}
        added = {(*start, *key): place for start in (path, exact) for key, place in lines.items()}
        return Source(data, self.name, {**kept, path: where, exact: where, **added})


class Loader(yaml.SafeLoader):
    """Keys are words, as they are written: else ``on``, ``010`` and ``2026-01-01`` would be true, 8 and a date."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping whose keys are text."""
        self.flatten_mapping(node)  # first, because `<<` is no word
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


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
        node = yaml.compose(text, Loader=Loader)
        if node is not None:
            _note_lines(node, (), lines, name)
        data = yaml.load(text, Loader) if node is not None else {}
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
        parsed = yaml.load(value, Loader)
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
