"""Boxes of a volume out of an uncompressed file, by reads and not through a memory map.

Mapped pages count as memory of the process, and would grow with the extent.
"""

from __future__ import annotations

import os

import numpy as np

from seg_batch.core.geometry import Box, Shape

_GAP_BYTES = 4 << 10  # an unwanted part of a row up to this size is read too: cheaper than a call


def read_box(file: int, first: int, dtype: np.dtype, shape: Shape, box: Box) -> np.ndarray:
    """The box of a volume of ``shape`` ``(z, y, x)``, whose voxels follow byte ``first`` in C order, in native
    byte order, by as few and as large reads as waste little. EOFError where the file ends before."""
    out = np.empty(box.shape, dtype)
    (_, ny, nx), (_, y0, x0), (_, y1, x1) = shape, box.start, box.stop
    gap = (nx - (x1 - x0)) * out.itemsize

    def fill(part: np.ndarray, start: Shape) -> None:
        _fill(file, part, first + int(np.ravel_multi_index(start, shape)) * out.itemsize)

    if y1 - y0 == ny and gap == 0:
        fill(out, box.start)
    elif gap == 0:
        for n, z in enumerate(range(box.start[0], box.stop[0])):
            fill(out[n], (z, y0, 0))
    elif gap <= _GAP_BYTES:
        rows = np.empty((y1 - y0, nx), out.dtype)
        for n, z in enumerate(range(box.start[0], box.stop[0])):
            fill(rows, (z, y0, 0))
            out[n] = rows[:, x0:x1]
    else:
        for n, m in np.ndindex(*box.shape[:2]):
            fill(out[n, m], (box.start[0] + n, y0 + m, x0))
    if out.dtype.isnative:
        return out
    return out.byteswap(inplace=True).view(out.dtype.newbyteorder("="))


def _fill(file: int, out: np.ndarray, offset: int) -> None:
    """Fill a contiguous array with the bytes from ``offset`` on."""
    buffer = memoryview(out.reshape(-1).view(np.uint8))
    while buffer:
        count = os.preadv(file, [buffer], offset)
        if count == 0:
            raise EOFError("the file ends before its voxels do")
        buffer, offset = buffer[count:], offset + count
