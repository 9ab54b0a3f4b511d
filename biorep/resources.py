"""Where things are: `models/` and `data/`, in an installed wheel or a checkout; the user's cache; names of files."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from biorep.errors import BiorepError

PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """Return the folder `models` or `data`, from a wheel (``biorep/_models``) or a checkout (``models``).

    Raises
    ------
    BiorepError
        If the installation has neither.
    """
    for candidate in (PACKAGE / f"_{name}", PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise BiorepError(f"this installation of biorep has no folder '{name}'; install it again")


def models() -> dict[str, Path]:
    """Return the published models, name -> YAML file."""
    return {path.stem: path for path in sorted(folder("models").glob("*.yaml"))}


def safe_name(text: str) -> str:
    """Return a text as the name of a file or folder: letters, digits and ``._-``, at most 80, never hidden."""
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in text)
    if name.startswith("."):
        name = f"_{name[1:]}"
    if len(name) > 80:
        name = f"{name[:70]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return name


def checkout() -> Path | None:
    """Return the root of the checkout that this package runs from, or None if it is installed."""
    root = PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "models").is_dir() else None


def cache_folder() -> Path:
    """Return the user's cache folder, for data sets and compiled programs (``~/.cache/biorep`` on Linux)."""
    import pooch

    return Path(pooch.os_cache("biorep"))


def shown(path: Path) -> Path:
    """Return a path as people write it here: relative if it is below the working directory."""
    with contextlib.suppress(ValueError, OSError):
        return path.relative_to(Path.cwd())
    return path
