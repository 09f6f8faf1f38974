"""From a work store to a product: written beside, read back and checked, moved into place."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from seg_batch.errors import DamagedError, OutputError
from seg_batch.geometry import Blocks, Box
from seg_batch.georef import Georef
from seg_batch.sinks.publish import publish_folder, publishing, require_writable
from seg_batch.sinks.spec import ProductSpec
from seg_batch.sinks.store import WorkStore
from seg_batch.sources import open_source

FORMATS = {
    "raster": {".tif": "cog", ".tiff": "cog", ".zarr": "zarr"},
    "volume": {".nii": "nifti", ".nii.gz": "nifti", ".zarr": "zarr"},
}


@dataclass(frozen=True)
class Product:
    """What ``export`` made: path, bytes, sha256, and how many voxels carry each label value."""

    path: Path
    bytes: int
    sha256: str
    counts: dict[int, int]


def format_of(path: Path, kind: str) -> str:
    """The format that the name asks for, or OutputError with what is possible."""
    formats = FORMATS[kind]
    for ending in sorted(formats, key=len, reverse=True):
        if path.name.lower().endswith(ending):
            return formats[ending]
    raise OutputError(
        f"{path.name} can't hold the labels of a {kind}: name it {', '.join(formats)}"
    )


def check_output(path: Path, kind: str) -> None:
    """Before any work: the name must make sense and the folder be writable."""
    if format_of(path, kind) != "zarr" and path.is_dir():
        raise OutputError(f"{path} is a folder: use another -o")
    require_writable(path.parent)


class Counter:
    """Reads labels through to the writer, and counts them on the way; each box once."""

    def __init__(self, store: WorkStore) -> None:
        self._store = store
        self._bins = np.zeros(1 << 16, np.int64)

    def __call__(self, box: Box) -> np.ndarray:
        labels = self._store.read_labels(box)
        self._bins += np.bincount(labels.reshape(-1), minlength=1 << 16)
        return labels

    @property
    def counts(self) -> dict[int, int]:
        return {int(i): int(self._bins[i]) for i in np.flatnonzero(self._bins)}


def export(store: WorkStore, path: Path, spec: ProductSpec) -> Product:
    """Labels (or probabilities) of the store as the file that ``path`` names, checked, in place."""
    kind = format_of(path, "raster" if len(spec.extent) == 2 else "volume")
    if kind == "zarr":
        return _export_zarr(store, path, spec)
    counter = Counter(store)
    read = store.read_probabilities if spec.is_probabilities else counter
    with publishing(path) as part:
        if kind == "cog":
            from seg_batch.sinks.cog import check_cog, write_cog

            write_cog(part, spec, read)
            plain = store.read_probabilities if spec.is_probabilities else store.read_labels
            check_cog(part, spec, plain)
        else:
            from seg_batch.sinks.nifti import check_nifti, write_nifti

            crc = write_nifti(part, spec, read, compress=path.name.lower().endswith(".gz"))
            check_nifti(part, spec, crc)
        if counter.counts and sum(counter.counts.values()) != math.prod(spec.extent):
            raise DamagedError(f"{part} holds another number of voxels than {spec.extent}")
    return Product(path, path.stat().st_size, digest(path), counter.counts)


def _export_zarr(store: WorkStore, path: Path, spec: ProductSpec) -> Product:
    counter = Counter(store)
    for block in Blocks(spec.extent, store.spec.chunk):
        counter(block.box)
    store.finish(spec.tags)
    publish_folder(store.path, path)
    return Product(path, size(path), digest(path), counter.counts)


def _files(path: Path) -> Iterator[Path]:
    """A file, or the files of a folder in a fixed order, without locks and leftovers."""
    if path.is_file():
        yield path
        return
    for folder, names, files in os.walk(path):
        names.sort()
        for name in sorted(files):
            if name != ".lock" and not name.endswith(".partial"):
                yield Path(folder) / name


def digest(path: Path) -> str:
    """sha256 of a file; of a folder, over the names and contents of its files."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    total = hashlib.sha256()
    for file_path in _files(path):
        total.update(str(file_path.relative_to(path)).encode())
        with file_path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def size(path: Path) -> int:
    return sum(file.stat().st_size for file in _files(path))


def read_georef(path: Path) -> Georef:
    """The geometry of a finished product, read back."""
    source = open_source(path)
    try:
        return source.info.georef
    finally:
        source.close()


def count_labels(path: Path) -> dict[int, int]:
    """Voxels per label value of a finished product, read anew, piece by piece."""
    from seg_batch.sources import pieces

    bins = np.zeros(1 << 16, np.int64)
    source = open_source(path)
    try:
        for pixels in pieces(source):
            bins += np.bincount(pixels.values.reshape(-1), minlength=1 << 16)
    finally:
        source.close()
    return {int(i): int(bins[i]) for i in np.flatnonzero(bins)}


def probabilities_spec(spec: ProductSpec) -> ProductSpec:
    return replace(spec, is_probabilities=True, dtype="uint8", nodata=None)
