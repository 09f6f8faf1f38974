"""The patch dataset: a Zarr v3 group with everything that ``train`` needs, and nothing outside it.

::

    image      float32 (N, *patch, channels)   normalised; one chunk per patch
    label      uint8/16 (N, *patch)            class index; the largest value: ignore
    start      int64   (N, spatial)            first voxel of the tile, in its case
    case       int32   (N,)                    index into attributes["cases"]
    split      uint8   (N,)                    0 training, 1 validation, 2 test, 255 not used
    histogram  int64   (N, classes)            voxels of each class in the patch
    held/<i>   one held-out region as the source has it: values, valid, labels

Rows that are not used (on the border of a held-out region, or without a labelled voxel) are
never written and take no room. Every patch and every region is one exclusive write.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from seg_batch.geometry import Blocks, Box, Shape
from seg_batch.normalise import Pixels
from seg_batch.recipe import PARTS

FORMAT, VERSION = "segbatch-patches", 1
UNUSED = 255
CODES = {name: code for code, name in enumerate(PARTS)}
REGION_CHUNK = {2: 512, 3: 64}


def label_dtype(classes: int) -> np.dtype:
    """The type of class indices; its largest value means ignore."""
    return np.dtype(np.uint8 if classes < 255 else np.uint16)


def ignore_label(classes: int) -> int:
    return int(np.iinfo(label_dtype(classes)).max)


@dataclass(frozen=True)
class Layout:
    """The shapes of a dataset: ``n`` rows, patches of ``patch`` voxels, tiles in ``spatial`` axes."""

    n: int
    patch: Shape
    channels: int
    classes: int
    spatial: int


@dataclass(frozen=True)
class Index:
    """The small columns of a range of rows, known once the rows are cut."""

    start: np.ndarray
    case: np.ndarray
    split: np.ndarray
    histogram: np.ndarray


def create(path: Path, layout: Layout, attributes: dict[str, Any]) -> None:
    """An empty dataset at ``path``; attributes must be plain JSON."""
    attributes = {"format": FORMAT, "version": VERSION, **attributes}
    group = zarr.create_group(path, overwrite=True, attributes=attributes)
    n, patch = layout.n, layout.patch
    axes = [*"zyx"[-len(patch) :]]
    _array(group, "image", (n, *patch, layout.channels), "float32", 1, ["patch", *axes, "channel"])
    labels = label_dtype(layout.classes)
    fill = ignore_label(layout.classes)
    _array(group, "label", (n, *patch), labels, 1, ["patch", *axes], fill)
    _array(group, "start", (n, layout.spatial), "int64", n, ["patch", "axis"])
    _array(group, "case", (n,), "int32", n, ["patch"])
    _array(group, "split", (n,), "uint8", n, ["patch"], UNUSED)
    _array(group, "histogram", (n, layout.classes), "int64", n, ["patch", "class"])
    group.create_group("held")


def _array(
    group: Any, name: str, shape: Shape, dtype: Any, rows: int, axes: list[str], fill: int = 0
) -> None:
    group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=(rows, *shape[1:]),
        compressors=ZstdCodec(level=3, checksum=True),
        fill_value=fill,
        dimension_names=axes,
    )


def write_index(path: Path, index: Index, cases: list[dict[str, Any]]) -> None:
    """The columns of all rows at once, and the cases they come from."""
    group = zarr.open_group(path, mode="r+")
    for name in ("start", "case", "split", "histogram"):
        group[name][:] = getattr(index, name)
    group.attrs["cases"] = cases


class Writer:
    """Writes the rows and regions of one task; any number of them may write at once."""

    def __init__(self, path: Path) -> None:
        self._group = zarr.open_group(path, mode="r+", use_consolidated=False)
        self._image, self._label = self._group["image"], self._group["label"]

    def patch(self, row: int, image: np.ndarray, label: np.ndarray) -> None:
        self._image[row] = image
        self._label[row] = label

    def region(
        self, name: str, window: Box, dtype: str, channels: int, facts: dict[str, Any]
    ) -> Region:
        """Room for the voxels of ``window``; what is there from an earlier try is replaced."""
        group = self._group["held"].create_group(
            name, overwrite=True, attributes={"start": list(window.start), **facts}
        )
        return Region.create(group, window, dtype, channels, int(self._label.fill_value))


class Region:
    """One held-out region being written, piece by piece, in the file's own values."""

    def __init__(self, group: Any, window: Box, chunk: Shape) -> None:
        self._group, self.window, self._chunk = group, window, chunk

    @classmethod
    def create(cls, group: Any, window: Box, dtype: str, channels: int, ignore: int) -> Region:
        side = REGION_CHUNK[len(window.shape)]
        chunk = tuple(min(side, n) for n in window.shape)
        zstd = ZstdCodec(level=3, checksum=True)
        for name, kind, fill in (("values", dtype, 0), ("valid", "bool", True)):
            group.create_array(
                name,
                shape=(*window.shape, channels),
                dtype=kind,
                chunks=(*chunk, channels),
                compressors=zstd,
                fill_value=fill,
            )
        label_kind = np.uint8 if ignore == 255 else np.uint16
        group.create_array(
            "labels",
            shape=window.shape,
            dtype=label_kind,
            chunks=chunk,
            compressors=zstd,
            fill_value=ignore,
        )
        return cls(group, window, chunk)

    def boxes(self) -> Iterator[Box]:
        """The pieces to write, in voxels of the case."""
        for block in Blocks(self.window.shape, self._chunk):
            yield block.box.shift(self.window.start)

    def write(self, box: Box, pixels: Pixels, labels: np.ndarray) -> None:
        where = box.slices(self.window.start)
        self._group["values"][where] = pixels.values
        if pixels.valid is not None:
            self._group["valid"][where] = pixels.valid
        self._group["labels"][where] = labels
