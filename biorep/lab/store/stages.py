"""Finished stages: one immutable netCDF file and its manifest, under ``stages/<kind>/<key>/``.

The manifest is written last: a stage is done if and only if its manifest is there and its file has the stated
size and checksum. Stages are shared by all runs of a store root, so nothing is computed twice.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biorep import atomic
from biorep.errors import StoreError
from biorep.lab.store.encoding import encoding_for
from biorep.lab.store.provenance import code_version, provenance

if TYPE_CHECKING:
    import xarray as xr


class Stages:
    """The finished stages of a store.

    Parameters
    ----------
    root : Path
        Root of the store; created when the first stage is saved.
    """

    def __init__(self, root: Path):
        self.root = Path(root)
        #: Files whose checksum was right, with size and time of change: each is read once.
        self._checked: dict[tuple[str, str], tuple[int, int]] = {}

    def folder(self, kind: str, key: str) -> Path:
        """Return the folder of a stage."""
        return self.root / "stages" / kind / key

    def path(self, kind: str, key: str) -> Path:
        """Return the netCDF file of a stage."""
        return self.folder(kind, key) / f"{kind}.nc"

    def manifest(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return the manifest of a stage, or None if the stage is not finished."""
        path = self.folder(kind, key) / "manifest.json"
        try:
            manifest = dict(json.loads(path.read_text(encoding="utf-8")))
            if missing := {"bytes", "sha256"} - set(manifest):
                raise ValueError(f"it has no {' and no '.join(sorted(missing))}")
            return manifest
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(
                f"{path} cannot be read ({error}). Remove the folder {path.parent} and run again."
            ) from error

    def done(self, kind: str, key: str) -> bool:
        """Return whether a stage is finished; a damaged one is an error, never a result. Checked once per file.

        Raises
        ------
        StoreError
            If the manifest is there but its file is missing, has another size or another checksum.
        """
        manifest = self.manifest(kind, key)
        if manifest is None:
            return False
        path = self.path(kind, key)
        looks = (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None
        if looks is not None and self._checked.get((kind, key)) == looks:
            return True
        found = (looks[0], atomic.sha256(path)) if looks is not None else None
        if looks is not None and found == (manifest["bytes"], manifest["sha256"]):
            self._checked[kind, key] = looks
        if found != (manifest["bytes"], manifest["sha256"]):
            raise StoreError(
                f"{path} is damaged: expected {manifest['bytes']} bytes with SHA-256 {manifest['sha256']}, found "
                f"{'no file' if found is None else f'{found[0]} bytes with SHA-256 {found[1]}'}. Remove the folder "
                f"{path.parent} and run the command again: this stage alone is repeated."
            )
        return True

    def finished(self, kind: str, key: str) -> bool:
        """Return whether a stage has a manifest and a file of the stated size: quicker than `done`, no checksum."""
        manifest = self.manifest(kind, key)
        try:
            return manifest is not None and self.path(kind, key).stat().st_size == manifest["bytes"]
        except OSError:
            return False

    @contextlib.contextmanager
    def making(self, kind: str, key: str) -> Iterator[None]:
        """Be the only process on this machine that makes a stage; others wait and then find it done."""
        folder = self.folder(kind, key)
        with atomic.locked(folder / ".making"):
            self._claim(kind, key)
            yield

    def _claim(self, kind: str, key: str) -> None:
        """Say what a folder is, before anything else is in it and whatever happens to the stage."""
        path = self.folder(kind, key) / "stage.json"
        if not path.is_file():
            atomic.write_json(path, {"kind": kind, "key": key}, durable=False)

    def save(
        self,
        kind: str,
        key: str,
        result: xr.Dataset | xr.DataTree,
        *,
        config: dict[str, Any],
        seconds: float,
        facts: dict[str, Any] | None = None,
    ) -> xr.Dataset | xr.DataTree:
        """Write a result and then its manifest, and return it with its provenance, as it is in the file.

        Parameters
        ----------
        kind, key : str
        result : xr.Dataset or xr.DataTree
        config : dict
            What the key was made from.
        seconds : float
            How long the stage took.
        facts : dict, optional
            What the manifest says as well, so that the file need not be opened: ``numbers`` and ``warnings``.

        Raises
        ------
        StoreError
            If the file cannot be written; no manifest is left then.
        """
        path = self.path(kind, key)
        result = result.copy()
        result.attrs = {**result.attrs, **provenance(kind, key, config)}
        stated: dict[str, Any] = dict(facts or {})

        def write(temporary: Path) -> None:
            _write(result, temporary)
            stated.update(bytes=temporary.stat().st_size, sha256=atomic.sha256(temporary))

        with atomic.locked(path.with_name(".lock")):
            self._claim(kind, key)
            if self.manifest(kind, key) is not None:  # another process has finished it meanwhile
                return self.result(kind, key)
            atomic.write_with(path, write)
            self._conclude(kind, key, stated, config, seconds)
        return result

    def _conclude(self, kind: str, key: str, facts: dict[str, Any], config: dict[str, Any], seconds: float) -> None:
        """Write the manifest: from now on the stage is done."""
        manifest = {
            "kind": kind,
            "key": key,
            "file": self.path(kind, key).name,
            **facts,
            "seconds": round(seconds, 3),
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "code_version": code_version(),
            "config": config,
        }
        atomic.write_json(self.folder(kind, key) / "manifest.json", manifest)

    def _require(self, kind: str, key: str) -> None:
        if not self.done(kind, key):
            raise StoreError(f"the stage {self.folder(kind, key)} is gone; run the recipe again to make it anew")

    def result(self, kind: str, key: str) -> xr.Dataset | xr.DataTree:
        """Return a finished stage, in memory: a tree if it has groups."""
        tree = self.load_tree(kind, key)
        return tree if tree.children else tree.to_dataset()

    def load(self, kind: str, key: str) -> xr.Dataset:
        """Return a finished stage, in memory (the root group, if it has several)."""
        import xarray as xr

        self._require(kind, key)
        with xr.open_dataset(self.path(kind, key), engine="netcdf4") as result:
            return result.load()

    def load_tree(self, kind: str, key: str) -> xr.DataTree:
        """Return a finished stage with all its groups, in memory."""
        import xarray as xr

        self._require(kind, key)
        with xr.open_datatree(self.path(kind, key), engine="netcdf4") as result:
            return result.load()


def _write(result: xr.Dataset | xr.DataTree, path: Path) -> None:
    import xarray as xr

    if isinstance(result, xr.DataTree):
        encoding = {node.path: encoding_for(node.to_dataset(inherit=False)) for node in result.subtree}
        result.to_netcdf(path, engine="netcdf4", encoding=encoding)
    else:
        result.to_netcdf(path, engine="netcdf4", encoding=encoding_for(result))
