"""What `data/registry.toml` says about the known data sets: files, checksums, mirrors, licence, citation."""

from __future__ import annotations

import functools
import hashlib
import tomllib
from dataclasses import dataclass
from typing import Any

from biorep import resources


@dataclass(frozen=True)
class DataFile:
    """One file of a data set; `checksums` maps the suffix of a form ("" plain, ".gz", ".xz") to its SHA-256."""

    name: str
    checksums: dict[str, str]


@dataclass(frozen=True)
class Entry:
    """What the registry says about a data set."""

    name: str
    title: str
    licence: str
    citation: str
    folder: str
    files: tuple[DataFile, ...]
    mirrors: tuple[str, ...]
    archive: str | None
    archive_sha256: str | None
    extra: dict[str, Any]

    @property
    def checksum(self) -> str:
        """Checksum of the whole data set, whichever form its files have."""
        if not self.files:
            return str(self.extra["sha256"])
        return hashlib.sha256("".join(file.checksums[""] for file in self.files).encode()).hexdigest()


@functools.cache
def entries() -> dict[str, Entry]:
    """Return all entries, by name."""
    with open(resources.folder("data") / "registry.toml", "rb") as file:
        table = tomllib.load(file)
    return {name: _entry(name, dict(row)) for name, row in table.items()}


def _entry(name: str, row: dict[str, Any]) -> Entry:
    files = tuple(
        DataFile(f["name"], {"": f["sha256"], **{f".{form}": f[form] for form in ("gz", "xz") if form in f}})
        for f in row.pop("files", [])
    )
    return Entry(
        name=name,
        files=files,
        title=row.pop("title"),
        licence=row.pop("licence"),
        citation=row.pop("citation"),
        folder=row.pop("folder", name),
        mirrors=tuple(row.pop("mirrors", ())),
        archive=row.pop("archive", None),
        archive_sha256=row.pop("archive_sha256", None),
        extra=row,
    )
