"""The patch dataset: a Zarr v3 group that holds everything that ``train`` needs.

::

    image      float32 (N, *patch, channels)   normalised; one chunk per patch
    label      uint8/16 (N, *patch)            class index; the largest value: ignore (not valid)
    start      int64   (N, spatial)            first voxel of the tile, in its case
    case       int32   (N,)                    index into attributes["cases"]
    split      uint8   (N,)                    0 training, 1 validation, 2 test, 255 not used
    histogram  int64   (N, classes)            voxels of each class in the patch
    valid      float32 (N,)                    share of the patch's voxels that have a class
    held/<i>   one held-out region in the source's own values: values, valid, labels

Rows that are not used (on the border of a held-out region, in the gap around it, or without a
labelled voxel) are never written and take no space. Every patch and every piece of a region is one
exclusive write. Attributes: recipe, normaliser, cases (with the digests of their files), split
(:class:`split.Split`), fingerprint, versions.

Version 2: chunks lie in one folder per array; ``valid``, ``split`` and ``fingerprint`` were added.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from seg_batch.config.recipe import PARTS
from seg_batch.core.errors import StoreError
from seg_batch.core.files import flush, translate_os_errors
from seg_batch.core.geometry import Blocks, Box, Shape
from seg_batch.core.normalise import Pixels

FORMAT, VERSION = "segbatch-patches", 2
UNUSED = 255
CODES = {name: code for code, name in enumerate(PARTS)}
REGION_CHUNK = {2: 512, 3: 64}
# One flat folder per array: a patch is one file to flush, not a file and as many folders as axes.
_KEYS = {"name": "default", "separator": "."}


def label_dtype(classes: int) -> np.dtype:
    """The type of class indices; its largest value means ignore."""
    return np.dtype(np.uint8 if classes < 255 else np.uint16)


def ignore_label(classes: int) -> int:
    return int(np.iinfo(label_dtype(classes)).max)


@dataclass(frozen=True)
class DatasetLayout:
    """The shapes of a dataset: ``n`` rows, patches of ``patch`` voxels, tiles in ``spatial`` axes."""

    n: int
    patch: Shape
    channels: int
    classes: int
    spatial: int

    @property
    def patch_bytes(self) -> int:
        """Of one patch and its label, before compression."""
        label = label_dtype(self.classes).itemsize
        return math.prod(self.patch) * (4 * self.channels + label)


@dataclass(frozen=True)
class RowIndex:
    """The small columns of all rows, whose names and types the module says."""

    start: np.ndarray
    case: np.ndarray
    split: np.ndarray
    histogram: np.ndarray
    valid: np.ndarray


@dataclass(frozen=True)
class RegionSpec:
    """A held-out region to be written: ``window`` in voxels of the case, values of type ``dtype``."""

    name: str
    window: Box
    dtype: str
    facts: dict[str, Any]

    @property
    def chunk(self) -> Shape:
        side = REGION_CHUNK[len(self.window.shape)]
        return tuple(min(side, n) for n in self.window.shape)

    @property
    def layers(self) -> int:
        """Rows of chunks along the first axis."""
        return -(-self.window.shape[0] // self.chunk[0])

    def boxes(self, first: int, last: int) -> Iterator[Box]:
        """The chunks of the rows ``first <= row < last``, in voxels of the case."""
        for block in Blocks(self.window.shape, self.chunk):
            if first <= block.index[0] < last:
                yield block.box.shift(self.window.start)

    def bytes(self, channels: int, classes: int) -> int:
        """Of values, mask and labels, before compression."""
        voxel = channels * (np.dtype(self.dtype).itemsize + 1) + label_dtype(classes).itemsize
        return self.window.size * voxel


def create(path: Path, layout: DatasetLayout, regions: list[RegionSpec]) -> None:
    """An empty dataset at ``path``, with room for its regions."""
    group = zarr.create_group(
        path, overwrite=True, attributes={"format": FORMAT, "version": VERSION}
    )
    n, patch, classes = layout.n, layout.patch, layout.classes
    axes = [*"zyx"[-len(patch) :]]
    labels, fill = label_dtype(classes), ignore_label(classes)
    image = (*patch, layout.channels)
    _array(group, "image", (n, *image), "float32", (1, *image), axes=["patch", *axes, "channel"])
    _array(group, "label", (n, *patch), labels, (1, *patch), fill, ["patch", *axes])
    _array(group, "start", (n, layout.spatial), "int64", axes=["patch", "axis"])
    _array(group, "histogram", (n, classes), "int64", axes=["patch", "class"])
    for name, dtype, unset in (
        ("case", "int32", 0),
        ("split", "uint8", UNUSED),
        ("valid", "float32", 0),
    ):
        _array(group, name, (n,), dtype, fill=unset, axes=["patch"])
    held = group.create_group("held")
    for region in regions:
        attributes = {"start": list(region.window.start), **region.facts}
        part = held.create_group(region.name, attributes=attributes)
        shape, chunk, c = region.window.shape, region.chunk, layout.channels
        _array(part, "values", (*shape, c), region.dtype, (*chunk, c))
        _array(part, "valid", (*shape, c), "bool", (*chunk, c), True)
        _array(part, "labels", shape, labels, chunk, fill)


def _array(
    group: Any,
    name: str,
    shape: Shape,
    dtype: Any,
    chunks: Shape | None = None,
    fill: int = 0,
    axes: list[str] | None = None,
) -> None:
    """``chunks``: None: one."""
    group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=chunks or shape,
        compressors=ZstdCodec(level=3, checksum=True),
        fill_value=fill,
        dimension_names=axes,
        chunk_key_encoding=_KEYS,
    )


def finish(path: Path, index: RowIndex, attributes: dict[str, Any]) -> None:
    """Write the columns of all rows, and the dataset's attributes (plain JSON)."""
    group = zarr.open_group(path, mode="r+")
    for name, column in vars(index).items():
        group[name][:] = column
    group.attrs.update(attributes)


def adopt_finished(path: Path, fingerprint: str, recipe: str) -> bool:
    """Whether ``path`` is a finished dataset of this fingerprint; it gets this recipe, whose other
    parts (fit, loss, ...) may have changed since."""
    if not (path / "zarr.json").is_file():
        return False
    group = zarr.open_group(path, mode="r+")
    if group.attrs.get("format") != FORMAT or group.attrs.get("fingerprint") != fingerprint:
        return False
    if group.attrs["recipe"] != recipe:
        group.attrs["recipe"] = recipe
    return True


def counted(path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Split and histogram of all rows, and the number of cases."""
    group = zarr.open_group(path, mode="r")
    return group["split"][:], group["histogram"][:], len(group.attrs["cases"])


class Writer:
    """Writes the rows and regions of one task. Any number of writers may write at once, and one task
    twice. ``flush`` brings all that was written to the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode = path.stat().st_ino
        self._group = zarr.open_group(path, mode="r+", use_consolidated=False)
        self._image, self._label = self._group["image"], self._group["label"]
        self._written: set[Path] = set()

    def patch(self, row: int, image: np.ndarray, label: np.ndarray) -> None:
        with translate_os_errors(self.path):
            self._require_same()
            self._image[row] = image
            self._label[row] = label
        for name, array in (("image", self._image), ("label", self._label)):
            self._note(name, (row, *(0,) * (array.ndim - 1)))

    def piece(self, region: RegionSpec, box: Box, pixels: Pixels, labels: np.ndarray) -> None:
        """One chunk of a region, in the source's own values."""
        name, where = f"held/{region.name}", box.slices(region.window.start)
        with translate_os_errors(self.path):
            self._require_same()
            group = self._group[name]
            group["values"][where] = pixels.values
            if pixels.valid is not None:
                group["valid"][where] = pixels.valid
            group["labels"][where] = labels
        place = tuple(s.start // c for s, c in zip(where, region.chunk, strict=True))
        self._note(f"{name}/values", (*place, 0))
        self._note(f"{name}/valid", (*place, 0))
        self._note(f"{name}/labels", place)

    def flush(self) -> None:
        """fsync what was written; a chunk equal to the fill value has no file."""
        with translate_os_errors(self.path):
            self._require_same()
            for chunk in self._written:
                if chunk.exists():
                    flush(chunk)
            for folder in {chunk.parent for chunk in self._written}:
                flush(folder)
        self._written.clear()

    def _note(self, array: str, place: Shape) -> None:
        self._written.add(self.path / array / ".".join(("c", *map(str, place))))

    def _require_same(self) -> None:
        """A worker that outlived its run must not write into the dataset of another run."""
        if not self.path.exists() or self.path.stat().st_ino != self._inode:
            raise StoreError(f"{self.path} was replaced while it was being written: run again")
