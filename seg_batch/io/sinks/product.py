"""From a work store to a product: written beside, read back and checked, moved into place."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from seg_batch.core.errors import OutputError
from seg_batch.core.files import files_in
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.georef import Georef, RasterGeoref, VolumeGeoref, georef_differences
from seg_batch.core.registry.formats import PRODUCTS, products_of
from seg_batch.io.sinks.publish import publishing, require_writable
from seg_batch.io.sinks.spec import ProductSpec, Read
from seg_batch.io.sinks.work_store import WorkStore
from seg_batch.io.sources import open_source, pieces

_COUNTED = 1 << 20
_FLOAT32 = 1e-6  # NIfTI headers keep their matrices in float32


@dataclass(frozen=True)
class Product:
    """What ``export`` made: path, bytes, sha256, and how many voxels carry each label value."""

    path: Path
    bytes: int
    sha256: str
    counts: dict[int, int]


def format_of(path: Path, kind: str) -> str:
    """The format that the name asks for, or OutputError with what is possible."""
    endings = {e: p.name for p in products_of(kind) for e in (*p.endings, *p.aliases)}
    for ending in sorted(endings, key=len, reverse=True):
        if path.name.lower().endswith(ending):
            return endings[ending]
    raise OutputError(
        f"{path.name} can't hold the labels of a {kind}: name it {', '.join(sorted(endings))}"
    )


def check_output(path: Path, kind: str) -> None:
    """Before any work: the name must make sense and the folder be writable."""
    if not PRODUCTS[format_of(path, kind)].is_folder and path.is_dir():
        raise OutputError(f"{path} is a folder: use another output")
    require_writable(path.parent)


class Counter:
    """Reads labels through to the writer, and counts them on the way; each box once."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._bins = np.zeros(1 << 16, np.int64)

    def __call__(self, box: Box) -> np.ndarray:
        labels = self._read(box)
        count_into(self._bins, labels)
        return labels

    @property
    def counts(self) -> dict[int, int]:
        return _counts(self._bins)


def count_into(bins: np.ndarray, labels: np.ndarray) -> None:
    """Add the voxels of each label to 65536 bins. Bytes are counted in pairs, which halves the
    time; a piece at a time, since NumPy counts in 64 bits."""
    flat = np.ascontiguousarray(labels).reshape(-1)
    for start in range(0, flat.size, _COUNTED):
        piece = flat[start : start + _COUNTED]
        if piece.dtype == np.uint8 and piece.size % 2 == 0:
            pairs = np.bincount(piece.view(np.uint16), minlength=1 << 16).reshape(256, 256)
            bins[:256] += pairs.sum(0) + pairs.sum(1)
        else:
            bins += np.bincount(piece, minlength=1 << 16)


def _counts(bins: np.ndarray) -> dict[int, int]:
    return {int(i): int(bins[i]) for i in np.flatnonzero(bins)}


def export_product(
    store: WorkStore, path: Path, spec: ProductSpec, labels: str = "labels"
) -> Product:
    """Labels (or probabilities) of the store as the file that ``path`` names, checked, in place.
    ``labels``: which of the store's maps.

    The store stays as it is. OutputError when the disk refuses, DamagedError when the store or
    the closed product does not read back; what stood at ``path`` is then untouched.
    """
    form = PRODUCTS[format_of(path, "raster" if len(spec.extent) == 2 else "volume")]
    spec = replace(spec, chunk=store.spec.chunk)
    plain: Read = partial(store.read_labels, name=labels)
    if spec.is_probabilities:
        plain = store.read_probabilities
    counter = Counter(plain)
    read = plain if spec.is_probabilities else counter
    with publishing(path) as part:
        form.write(part, store, spec, read, plain, labels)
        sha256 = digest(part)
        store.remember(sha256)
    return Product(path, size(path), sha256, counter.counts)


def digest(path: Path) -> str:
    """sha256 of a file; of a folder, over the names and contents of its files."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    total = hashlib.sha256()
    for file_path in files_in(path):
        total.update(str(file_path.relative_to(path)).encode())
        with file_path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def size(path: Path) -> int:
    return sum(file.stat().st_size for file in files_in(path))


def geometry_changes(path: Path, expected: Georef, extent: Shape) -> list[str]:
    """What a finished product, read back, says otherwise than ``expected``; empty when nothing.

    A NIfTI whose input had no code at all may say so or carry the affine as its sform.
    """
    with closing(open_source(path)) as source:
        found = source.info.georef
    if isinstance(expected, RasterGeoref) and isinstance(found, RasterGeoref):
        from seg_batch.io.sinks.cog_check import place_changes

        return place_changes(expected, found, extent)
    plain = georef_differences(expected, found, _FLOAT32)
    if isinstance(expected, VolumeGeoref) and not (expected.sform_code or expected.qform_code):
        coded = replace(expected, sform=expected.affine, sform_code=1)
        plain = min(plain, georef_differences(coded, found, _FLOAT32), key=len)
    return plain


def count_labels(path: Path) -> dict[int, int]:
    """Voxels per label value of a finished product, read anew, piece by piece."""
    bins = np.zeros(1 << 16, np.int64)
    with closing(open_source(path)) as source:
        for pixels in pieces(source):
            count_into(bins, pixels.values)
    return _counts(bins)


def probabilities_spec(spec: ProductSpec) -> ProductSpec:
    return replace(spec, is_probabilities=True, dtype="uint8", nodata=None)
