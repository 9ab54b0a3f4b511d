"""Where `models/` and `data/` are: inside an installed wheel, or beside the package in a checkout."""

from __future__ import annotations

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


def checkout() -> Path | None:
    """Return the root of the checkout that this package runs from, or None if it is installed."""
    root = PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "models").is_dir() else None
