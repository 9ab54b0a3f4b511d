"""The registry of known data sets (`data/registry.toml`) and the search for their files."""

from __future__ import annotations

import functools
import gzip
import hashlib
import lzma
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biorep import resources
from biorep.atomic import sha256
from biorep.errors import DataError


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


def search_folders(root: str | Path | None = None) -> list[Path]:
    """Return the folders that may hold data sets, in the order in which they are searched.

    A root that is given replaces the others: whoever names a folder means that folder.
    """
    if root is not None:
        return [Path(root)]
    folders = []
    if os.environ.get("BIOREP_DATA"):
        folders.append(Path(os.environ["BIOREP_DATA"]))
    checkout = resources.checkout()
    if checkout is not None:
        folders.append(checkout.parent / "shared" / "data")
    return [*folders, cache_folder()]


def cache_folder() -> Path:
    """Return the user's cache folder for data (``~/.cache/biorep`` on Linux)."""
    import pooch

    return Path(pooch.os_cache("biorep"))


def candidates(entry: Entry, file: DataFile, root: str | Path | None = None) -> list[Path]:
    """Return the files that may be the one looked for, in any of its forms, in the order of the search."""
    places = [place for folder in search_folders(root) for place in (folder / entry.folder, folder)]
    paths = [place / (file.name + form) for place in places for form in file.checksums]
    return [path for path in paths if path.is_file()]


def find(entry: Entry, file: DataFile, root: str | Path | None = None) -> Path | None:
    """Return the path of a file in any of its forms, or None; nothing is downloaded.

    Other data sets have files of the same name (MNIST and Fashion-MNIST do), so a file outside the data set's own
    folder counts only if its checksum is right.
    """
    for path in candidates(entry, file, root):
        expected = file.checksums[path.name.removeprefix(file.name)]
        if path.parent.name == entry.folder or sha256(path) == expected:
            return path
    return None


def read(entry: Entry, file: DataFile, root: str | Path | None = None) -> bytes:
    """Return the uncompressed bytes of a file whose checksum agrees with the registry.

    Raises
    ------
    DataError
        If the file is nowhere to be found and cannot be downloaded, or if it is damaged.
    """
    problems = []
    for path in candidates(entry, file, root):
        content, problem = _checked(file, path)
        if content is not None:
            return content
        problems.append(problem)
        if path.parent.name == entry.folder:
            break
    else:
        from biorep.datasets.download import download

        try:
            path = download(entry, file, root)
        except DataError as error:
            raise DataError("\n".join([*problems, str(error)])) from error
        content, problem = _checked(file, path)
        if content is not None:
            return content
        problems.append(problem)
    raise DataError("\n".join(problems))


def _checked(file: DataFile, path: Path) -> tuple[bytes | None, str]:
    """Return the uncompressed bytes of a good file and no words, or None and what is wrong with it."""
    form = path.name.removeprefix(file.name)
    raw = path.read_bytes()
    found, expected = hashlib.sha256(raw).hexdigest(), file.checksums[form]
    if found == expected:
        openers = {"": lambda data: data, ".gz": gzip.decompress, ".xz": lzma.decompress}
        return openers[form](raw), ""
    return None, (
        f"{path} is damaged or is another file: {len(raw)} bytes with SHA-256 {found}, expected {expected}. "
        f"Remove it and run the command again, or put a good copy of '{path.name}' in its place."
    )


def missing(entry: Entry, file: DataFile, root: str | Path | None, reason: str) -> DataError:
    """Return the error for a file that is not there: names, checksums, folders searched, what to do."""
    forms = [f"  {file.name + form}  sha256 {checksum}" for form, checksum in file.checksums.items()]
    folders = [f"  {folder / entry.folder}" for folder in search_folders(root)]
    return DataError(
        "\n".join(
            [
                f"data set '{entry.name}': the file '{file.name}' was not found. Any of these forms will do:",
                *forms,
                "Folders searched (the files may also lie directly in the parent folder):",
                *folders,
                f"{reason} Put the file into one of these folders, or name the folder above with BIOREP_DATA=FOLDER.",
            ]
        )
    )
