"""A remote file where readers take a path, and how GDAL opens it.

GDAL gets bytes alone, under a name that says nothing, so that it opens no other file beside it or named in it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from seg_batch.core.privacy.addresses import name_in
from seg_batch.io.remote.cached import Held, Pages, Stream, Tiles
from seg_batch.io.remote.reader import RemoteFile

# What is to replace it knows files by thread, and handles go from one to another here.
warnings.filterwarnings("ignore", message="FilePath is supplanted")


class RemotePath:
    """What readers ask of a path: its name, its size and its bytes. ``str`` of it may be told."""

    def __init__(self, file: RemoteFile) -> None:
        self.file, self.name = file, name_in(file.path)
        self._pages, self._tiles = Pages(file), Tiles(file)

    def __str__(self) -> str:
        return self.file.path

    def open(self, mode: str = "rb") -> Any:
        """A file object, which raises what ``RemoteFile.read`` does."""
        return Stream(Held(self._pages, self._tiles))

    def stat(self) -> Any:
        return SimpleNamespace(st_size=self.file.size)

    def held(self) -> Held:
        """What one more reader holds of the file."""
        return Held(self._pages, self._tiles)


AnyPath = Path | RemotePath


class _ForGdal:
    """The file that rasterio opens once for each handle of GDAL: it asks for ``fs``, ``path``, ``mode``, and ``read``."""

    mode, path = "rb", ""

    def __init__(self, held: Held) -> None:
        self._held, self.fs = held, self

    def open(self, path: str, mode: str) -> Stream:
        return Stream(self._held, for_gdal=True)

    def read(self, size: int = -1) -> bytes:
        raise NotImplementedError  # only its clones are read


def open_dataset(path: RemotePath, driver: str, **options: Any) -> Any:
    """A handle of GDAL, with the attribute ``held``: what it has of the file. Its faults are there, as GDAL keeps no reasons."""
    from rasterio.io import FilePath

    held = path.held()
    registered = FilePath(_ForGdal(held))
    try:
        dataset = registered.open(driver=driver, sharing=False, **options)
    except BaseException:
        registered.close()
        if held.fault is not None:
            raise held.fault from None
        raise
    dataset.held, dataset.registered = held, registered
    return dataset


def close_dataset(dataset: Any) -> None:
    """Close a handle, of a file of this machine or another."""
    dataset.close()
    if (registered := getattr(dataset, "registered", None)) is not None:
        registered.close()


@contextmanager
def telling_faults(dataset: Any) -> Iterator[None]:
    """What kept bytes of a remote file from coming is raised, whether or not GDAL found them missing."""
    held: Held | None = getattr(dataset, "held", None)
    try:
        yield
    except BaseException:
        if held is not None and held.fault is not None:
            raise held.fault from None
        raise
    finally:
        if held is not None:
            held.drop()
    if held is not None and held.fault is not None:
        raise held.fault
