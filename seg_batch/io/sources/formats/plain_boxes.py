"""Boxes of a volume that lies plainly in a file: its voxels in order, uncompressed.

Reads go to the file descriptor, not through a memory map: mapped pages count as memory.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from seg_batch.core.geometry import Box, Shape

_GAP_BYTES = 4 << 10  # an unwanted part of a row up to this size is read too: cheaper than a call


@dataclass(frozen=True)
class PlainBoxes:
    """``dtype``: as stored, maybe big-endian; ``shape``: ``(z, y, x)``; ``first``: the byte at which the volume begins."""

    dtype: np.dtype
    shape: Shape
    first: int = 0

    def read(self, file: int, box: Box) -> np.ndarray:
        """The box of the file with this descriptor, in native byte order, by as few and as large reads as waste little.
        ``EOFError`` where the file ends before it does."""
        out = np.empty(box.shape, self.dtype)
        (_, ny, nx), (_, y0, x0), (_, y1, x1) = self.shape, box.start, box.stop
        gap = (nx - (x1 - x0)) * out.itemsize
        if y1 - y0 == ny and gap == 0:
            self._fill(file, out, box.start)
        elif gap == 0:
            for n, z in enumerate(range(box.start[0], box.stop[0])):
                self._fill(file, out[n], (z, y0, 0))
        elif gap <= _GAP_BYTES:
            rows = np.empty((y1 - y0, nx), out.dtype)
            for n, z in enumerate(range(box.start[0], box.stop[0])):
                self._fill(file, rows, (z, y0, 0))
                out[n] = rows[:, x0:x1]
        else:
            for n, m in np.ndindex(*box.shape[:2]):
                self._fill(file, out[n, m], (box.start[0] + n, y0 + m, x0))
        if out.dtype.isnative:
            return out
        return out.byteswap(inplace=True).view(out.dtype.newbyteorder("="))

    def _fill(self, file: int, out: np.ndarray, start: Shape) -> None:
        """Fill a contiguous array with the bytes from voxel ``start`` on."""
        voxel = np.ravel_multi_index(start, self.shape)
        offset = self.first + int(voxel) * out.itemsize
        buffer = memoryview(out.reshape(-1).view(np.uint8))
        while buffer:
            count = os.preadv(file, [buffer], offset)
            if count == 0:
                raise EOFError("the file ends before its voxels do")
            buffer, offset = buffer[count:], offset + count
