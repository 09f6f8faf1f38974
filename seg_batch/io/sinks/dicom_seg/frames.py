"""The pixels of a segmentation, appended to its header a few planes at a time."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np

from seg_batch.core.errors import OutputError
from seg_batch.core.geometry import Box, Shape
from seg_batch.io.sinks.dicom_seg.origin import USUAL
from seg_batch.io.sinks.dicom_seg.rle import rle

Planes = Callable[[Box], np.ndarray]
_PIXELS, _ITEM, _END = b"\xe0\x7f\x10\x00", b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_MOST = (1 << 32) - 2
_SLAB_BYTES = 32 << 20


def slabs(extent: Shape, chunk: Shape | None, itemsize: int) -> list[Box]:
    """The extent in whole planes: a layer of chunks, or as much of one as may be held."""
    depth, rows, columns = extent
    fits = max(1, _SLAB_BYTES // (rows * columns * itemsize))
    step = min(chunk[0] if chunk else fits, fits)
    return [Box((z, 0, 0), (min(z + step, depth), rows, columns)) for z in range(0, depth, step)]


def append_map(
    part: Path, read: Planes, order: Sequence[int], boxes: Sequence[Box], dtype: np.dtype
) -> None:
    """Frames of a label map, each compressed as RLE Lossless (PS3.5 A.4), in the order of these planes. ``read``: segment
    numbers."""
    with part.open("r+b") as file:
        file.seek(0, 2)
        file.write(_PIXELS + b"OB\0\0\xff\xff\xff\xff")
        table, offsets = file.tell() + 8, list[int]()
        file.write(_ITEM + struct.pack("<I", 4 * len(order)) + bytes(4 * len(order)))
        begin = file.tell()
        for _, planes in _by_slab(read, order, boxes):
            for plane in planes:
                offsets.append(file.tell() - begin)
                _put_item(file, rle(plane.astype(dtype)))
        file.write(_END + bytes(4))
        if offsets[-1] <= _MOST:
            file.seek(table)
            file.write(struct.pack(f"<{len(offsets)}I", *offsets))
        else:
            raise OutputError(f"a segmentation of more than 4 GiB can't be indexed: use {USUAL}")


def _put_item(file: BinaryIO, data: bytes) -> None:
    data += b"\0" * (len(data) % 2)
    file.write(_ITEM + struct.pack("<I", len(data)) + data)


def _by_slab(
    read: Planes, order: Sequence[int], boxes: Sequence[Box]
) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Planes in this order; neighbours that lie in one slab are read together."""
    slab = {k: box for box in boxes for k in range(box.start[0], box.stop[0])}
    for box, planes in groupby(order, key=slab.__getitem__):
        these, values = list(planes), read(box)
        yield these, [values[k - box.start[0]] for k in these]


def append_bits(
    part: Path, read: Planes, frames: Sequence[tuple[int, int]], boxes: Sequence[Box]
) -> None:
    """Frames of one segment on one plane each, a bit for each voxel (PS3.5 8.1.1): frame after frame without a gap, the
    lowest bit first. ``frames``: plane and segment number of each."""
    _, rows, columns = (boxes[-1].stop[0], *boxes[0].shape[1:])
    size = -(-len(frames) * rows * columns // 8)
    size += size % 2
    if size > _MOST:
        raise OutputError(
            "these segments take more than 4 GiB as single bits, which a file can't hold: "
            f"use --seg labelmap, or {USUAL}"
        )
    with part.open("r+b") as file:
        file.seek(0, 2)
        file.write(_PIXELS + b"OB\0\0" + struct.pack("<I", size))
        begin = file.tell()
        file.truncate(begin + size)
    bits = np.memmap(part, np.uint8, "r+", begin, (size,))
    wanted: dict[int, list[tuple[int, int]]] = {}
    for index, (plane, number) in enumerate(frames):
        wanted.setdefault(plane, []).append((index, number))
    for these, planes in _by_slab(read, sorted(wanted), boxes):
        for k, values in zip(these, planes, strict=True):
            for index, number in wanted[k]:
                _put_bits(bits, index * rows * columns, values == number)
    bits.flush()


def _put_bits(bits: np.ndarray, first: int, mask: np.ndarray) -> None:
    flat = np.concatenate([np.zeros(first % 8, bool), mask.reshape(-1)])
    packed = np.packbits(flat, bitorder="little")
    bits[first // 8 : first // 8 + len(packed)] |= packed
