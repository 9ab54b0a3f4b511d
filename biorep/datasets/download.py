"""Downloads from the mirrors of the registry, with pooch, into the user's cache; checksums always checked."""

from __future__ import annotations

from pathlib import Path

from biorep.datasets.registry import DataFile, Entry, cache_folder, missing
from biorep.errors import DataError


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
                    path=cache_folder() / entry.folder,
                )
            )
        except Exception as error:  # every mirror fails in its own way; all reasons are reported together
            problems.append(f"{mirror}: {type(error).__name__}")
    raise missing(entry, file, root, f"No mirror could serve it ({'; '.join(problems)}).")


def _from_archive(entry: Entry, file: DataFile) -> Path:
    import pooch

    assert entry.archive is not None
    folder = cache_folder()
    try:
        pooch.retrieve(
            url=entry.archive,
            known_hash=f"sha256:{entry.archive_sha256}",
            fname=entry.archive.rsplit("/", 1)[-1],
            path=folder,
            processor=pooch.Untar(extract_dir="."),
        )
    except Exception as error:
        reason = f"The mirror could not serve it ({entry.archive}: {type(error).__name__})."
        raise missing(entry, file, None, reason) from error
    path = folder / entry.folder / file.name
    if not path.is_file():
        raise DataError(f"the archive {entry.archive} does not hold {entry.folder}/{file.name}")
    return path
