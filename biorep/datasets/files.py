"""The files of data sets: where they are, whether they are the right ones, and their download into the user's cache."""

from __future__ import annotations

import errno
import gzip
import hashlib
import lzma
import os
import time
import warnings
from pathlib import Path

from biorep import resources
from biorep.atomic import sha256
from biorep.datasets.registry import DataFile, Entry
from biorep.errors import ConfigError, DataError

#: A file that changed less than so many nanoseconds ago may change again without its time showing it.
FRESH = 2_000_000_000

#: Numbers of errors in writing a file.
_OF_THIS_MACHINE = (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EEXIST)

_DIGESTS: dict[tuple[Path, int, int], str] = {}


def digest(path: Path) -> str:
    """Return the SHA-256 of a file; one that stays as it is (path, size, time) is read once per process."""
    facts = path.stat()
    key = (path.resolve(), facts.st_size, facts.st_mtime_ns)
    if key in _DIGESTS:
        return _DIGESTS[key]
    found = sha256(path)
    if time.time_ns() - facts.st_mtime_ns > FRESH:
        _DIGESTS[key] = found
    return found


def search_folders(root: str | Path | None = None) -> list[Path]:
    """Return the folders that may hold data sets, in the order in which they are searched.

    A root that is given replaces the others: whoever names a folder means that folder.
    """
    if root is not None:
        if not isinstance(root, str | Path):
            raise ConfigError(f"root must be a folder, got {root!r}")
        return [Path(os.path.expanduser(root))]
    folders = []
    if named := os.environ.get("BIOREP_DATA"):
        folders.append(Path(os.path.expanduser(named)))
        if not folders[0].is_dir():
            warnings.warn(f"BIOREP_DATA names {named}, which is no folder: other folders are searched", stacklevel=2)
    checkout = resources.checkout()
    if checkout is not None:
        folders.append(checkout.parent / "shared" / "data")
    return [*folders, resources.cache_folder()]


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
        if path.parent.name == entry.folder or digest(path) == expected:
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


def download(entry: Entry, file: DataFile, root: str | Path | None = None) -> Path:
    """Download one file and return its path.

    Parameters
    ----------
    entry, file
        What to download.
    root : path, optional
        If the user named a folder, nothing is downloaded: the file should have been there.

    Raises
    ------
    DataError
        If there is no mirror, no mirror answers, or what they serve has another checksum.
    """
    if root is not None:
        raise missing(entry, file, root, "A folder was named, so nothing was downloaded.")
    if entry.archive:
        return _from_archive(entry, file)
    if not entry.mirrors:
        raise missing(entry, file, root, "This data set has no mirror.")
    import pooch

    form = next((form for form in (".gz", ".xz") if form in file.checksums), "")
    problems = []
    for mirror in entry.mirrors:
        try:
            return Path(
                pooch.retrieve(
                    url=mirror + file.name + form,
                    known_hash="sha256:" + file.checksums[form],
                    fname=file.name + form,
                    path=resources.cache_folder() / entry.folder,
                )
            )
        except Exception as error:  # every mirror fails in its own way; all reasons are reported together
            problems.append(f"{mirror}: {_reason(error)}")
    raise missing(entry, file, root, f"No mirror could serve it ({'; '.join(problems)}).")


def _reason(error: Exception) -> str:
    """Return why a mirror could not serve; raise if this machine could not keep what it served."""
    if getattr(error, "errno", None) in _OF_THIS_MACHINE:
        raise DataError(
            f"the cache {resources.cache_folder()} cannot be written: {error}. Name another folder for it with "
            "XDG_CACHE_HOME=FOLDER, or make room"
        ) from error
    return type(error).__name__


def _from_archive(entry: Entry, file: DataFile) -> Path:
    import pooch

    assert entry.archive is not None
    folder = resources.cache_folder()
    try:
        pooch.retrieve(
            url=entry.archive,
            known_hash=f"sha256:{entry.archive_sha256}",
            fname=entry.archive.rsplit("/", 1)[-1],
            path=folder,
            processor=pooch.Untar(extract_dir="."),
        )
    except Exception as error:
        reason = f"The mirror could not serve it ({entry.archive}: {_reason(error)})."
        raise missing(entry, file, None, reason) from error
    path = folder / entry.folder / file.name
    if not path.is_file():
        raise DataError(f"the archive {entry.archive} does not hold {entry.folder}/{file.name}")
    return path


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
