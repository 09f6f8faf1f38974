"""Which tiles or strips of a TIFF are stored, from the tables of its first directory alone.

GDAL answers for one block at a time; a scene of 100 000 x 100 000 pixels has 40 000 and more for each band.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from seg_batch.core.geometry import Box, Shape

_TABLES = ((324, 325), (273, 279))  # tags of offsets and of byte counts: of tiles, of strips
_TYPES = {3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}  # SHORT, LONG, IFD, LONG8, IFD8
_MOST_BLOCKS = 1 << 26
_MOST_ENTRIES = 4096


@dataclass(frozen=True, eq=False)
class TiffIndex:
    """``stored``: bool ``(planes, down, across)``, one plane for all bands that are interleaved by pixel; ``block``: the
    shape of each."""

    stored: np.ndarray
    block: Shape

    def is_hole(self, box: Box) -> bool:
        """Whether no block of a box is stored."""
        axes = zip(box.start, box.stop, self.block, strict=True)
        blocks = tuple(slice(a // side, -(-b // side)) for a, b, side in axes)
        return not self.stored[:, *blocks].any()

    def of_planes(self, planes: list[int]) -> TiffIndex:
        """The same of these planes alone."""
        return TiffIndex(self.stored[planes], self.block)


def tiff_index(path: Path, extent: Shape, block: Shape, planes: int) -> TiffIndex | None:
    """The index of a TIFF of this layout; None where it is no local file, or its tables are others than expected."""
    shape = (planes, *(-(-n // side) for n, side in zip(extent, block, strict=True)))
    try:
        with path.open("rb") as file:
            stored = _stored(file, math.prod(shape))
    except (OSError, ValueError, struct.error):
        return None
    return None if stored is None else TiffIndex(stored.reshape(shape), block)


def _stored(file: IO[bytes], count: int) -> np.ndarray | None:
    """bool ``(count,)``; None where the first directory has no tables of so many blocks."""
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or count > _MOST_BLOCKS:
        return None
    big = struct.unpack_from(f"{order}H", head, 2)[0] == 43
    offset, number, size = (f"{order}Q", f"{order}Q", 20) if big else (f"{order}I", f"{order}H", 12)
    file.seek(struct.unpack_from(offset, head, 8 if big else 4)[0])
    entries = struct.unpack(number, file.read(struct.calcsize(number)))[0]
    if entries > _MOST_ENTRIES:
        return None
    directory = file.read(entries * size)
    at = {struct.unpack_from(f"{order}H", directory, n * size)[0]: n * size for n in range(entries)}
    for tags in _TABLES:
        if all(tag in at for tag in tags):
            offsets, counts = (
                _table(file, directory, at[tag], order, offset, count) for tag in tags
            )
            if offsets is None or counts is None:
                return None
            # With one of both something is wrong there, which a read is to find.
            return np.asarray((offsets != 0) | (counts != 0))
    return None


def _table(
    file: IO[bytes], directory: bytes, at: int, order: str, offset: str, count: int
) -> np.ndarray | None:
    """The numbers of an entry; None unless there are ``count``."""
    kind = _TYPES.get(struct.unpack_from(f"{order}H", directory, at + 2)[0])
    if kind is None or struct.unpack_from(offset, directory, at + 4)[0] != count:
        return None
    room, place = struct.calcsize(offset), at + 4 + struct.calcsize(offset)
    nbytes = count * int(kind[1])
    data = directory[place : place + nbytes]
    if nbytes > room:
        file.seek(struct.unpack_from(offset, directory, place)[0])
        data = file.read(nbytes)
    return np.frombuffer(data, order + kind, count)
