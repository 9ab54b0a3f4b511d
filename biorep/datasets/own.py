"""Your own data: an `.npz`, a netCDF file, or a folder of images. Known by what it holds, never by where it lies."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from biorep.contracts import Dataset
from biorep.datasets.files import digest
from biorep.datasets.folders import folder_digest, read_folder
from biorep.datasets.layout import LAYOUT
from biorep.datasets.named import read_netcdf, read_npz
from biorep.datasets.splits import check_part, select
from biorep.errors import DataError, NumericalError
from biorep.schema import subset

if TYPE_CHECKING:
    import xarray as xr

#: What draws and results of all files are named by.
WORD = "own"
#: What numpy, zlib and netCDF4 raise at files that are damaged or hold something else.
_UNREADABLE = (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)


class File(Dataset):
    """A file or a folder of your own; its suffix says how it is read."""

    versions: ClassVar[Mapping[str, int]] = {"own-file": 2}

    @property
    def word(self) -> str:
        """The same for all files: draws are not named by paths."""
        return WORD

    @property
    def path(self) -> Path:
        """Where it lies."""
        return Path(os.path.expanduser(self.name))

    def content(self) -> dict[str, Any]:
        """Return the digest of the file; of a folder, the digest of its images with their splits and classes."""
        path = self.path
        _reader(path)
        try:
            return {"sha256": folder_digest(path) if path.is_dir() else digest(path)}
        except OSError as error:
            raise DataError(f"cannot read {path}: {error}") from error

    def load(self, split: str) -> xr.Dataset:
        """Return the images of a split, ``image(presentation, ...)``."""
        check_part(split)
        return subset(select(read_path(self.path), split, self.name), self.limit)


def read_path(path: Path) -> xr.Dataset:
    """Read all splits of a user's data set from a file or a folder.

    Raises
    ------
    DataError
        If the path does not exist or does not have the expected layout; the message says what that is.
    """
    reader = _reader(path)
    try:
        dataset = reader(path)
    except (DataError, NumericalError) as error:
        raise (
            error if str(path) in str(error) else type(error)(f"{path}: {str(error).rstrip('.')}. {LAYOUT}")
        ) from error
    except _UNREADABLE as error:
        raise DataError(f"cannot read {path}: {str(error).rstrip('.')}. {LAYOUT}") from error
    # Two copies of one file are one dataset: what is made of them must not tell their names apart.
    dataset.attrs["dataset"] = WORD
    return dataset


def _reader(path: Path) -> Callable[[Path], xr.Dataset]:
    if not path.exists():
        raise DataError(f"{path} does not exist. {LAYOUT}")
    if path.is_dir():
        return read_folder
    if "-ubyte" in path.name or ".idx" in path.name:
        raise DataError(
            f"{path} is an IDX file, which holds images or labels alone: biorep.datasets.idx.parse_idx reads the bytes "
            "of either, biorep.datasets.from_arrays takes both, and np.savez makes one .npz of them for a recipe"
        )
    if path.suffix.lower() not in READERS:
        raise DataError(f"{path}: files ending in {path.suffix!r} are not understood. {LAYOUT}")
    return READERS[path.suffix.lower()]


#: Suffix -> reader of a file.
READERS: dict[str, Callable[[Path], xr.Dataset]] = {
    ".npz": read_npz,
    **dict.fromkeys((".nc", ".nc4", ".netcdf", ".h5"), read_netcdf),
}
