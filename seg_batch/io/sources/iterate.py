"""A whole source in pieces of bounded size, for statistics; and a check of its corners."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from seg_batch.core.errors import ReadError
from seg_batch.core.geometry import Blocks, Box, Shape
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.protocol import Source, SourceInfo

PIECE_BYTES = 64 << 20
_FLOAT_BYTES = 9  # a value as float64, as statistics see it, and its mask
_CORNER = 4


def pieces(source: Source, max_bytes: int = PIECE_BYTES) -> Iterator[Pixels]:
    """Every voxel of the source exactly once, in row-major order of the pieces."""
    return (source.read(box) for box in piece_boxes(source.info, max_bytes))


def piece_boxes(info: SourceInfo, max_bytes: int = PIECE_BYTES) -> Iterator[Box]:
    """The boxes of the pieces: they do not overlap, and together they are the extent."""
    return (block.box for block in Blocks(info.extent, _slab(info, max_bytes)))


def _slab(info: SourceInfo, max_bytes: int) -> Shape:
    """A piece of whole chunks, grown from the last axis to the first while it fits.

    Sizes are those of float64 with a mask. Where not even one chunk fits, its first axes are cut.
    """
    voxels = max(1, max_bytes // (_FLOAT_BYTES * len(info.channels)))
    slab = list(info.chunk)
    for axis in range(len(slab)):
        rest = int(np.prod(slab)) // slab[axis]
        slab[axis] = max(1, min(slab[axis], voxels // rest))
    for axis in reversed(range(len(slab))):
        rest = int(np.prod(slab)) // slab[axis]
        times = max(1, voxels // rest // slab[axis])
        slab[axis] = min(info.extent[axis], slab[axis] * times)
    return tuple(slab)


_MOST_CHANNELS = 1024  # more take longer to look at than a command that reads headers should


def corner_warnings(source: Source) -> tuple[str, ...]:
    """A warning for each channel whose corners hold one suspicious value that no tag declares.

    A collar of -9999 without a nodata tag would be segmented as if it were ground. Only values that no
    sensor measures are suspicious: a common fill value or an extreme of the type, filling at least two
    corners. Reads four small boxes.
    """
    info = source.info
    if info.kind != "raster" or not 0 < len(info.channels) <= _MOST_CHANNELS:
        return ()
    # Fewer than four corners where the extent is too small to have several.
    sides = [{(0, min(_CORNER, n)), (max(0, n - _CORNER), n)} for n in info.extent]
    corners = []
    for (top, bottom), (left, right) in itertools.product(*sides):
        with suppress(ReadError):  # a damaged corner is reported when its block is read
            corners.append(source.read(Box((top, left), (bottom, right))))
    warnings = (_suspect(info, corners, c) for c in range(len(info.channels)))
    return tuple(filter(None, warnings))


def _suspect(info: SourceInfo, corners: list[Pixels], channel: int) -> str | None:
    dtype = np.dtype(info.dtype)
    flat = Counter(
        p.values.flat[channel].item()
        for p in corners
        if (p.values[..., channel] == p.values.flat[channel]).all()
        and (p.valid is None or p.valid[..., channel].all())
    )
    for value, count in flat.items():
        if count >= 2 and _impossible(value, dtype):
            return (
                f"{info.channels[channel]} is {value:g} at {count} of {len(corners)} corners, which "
                "looks like nodata without a tag; set it (gdal_edit.py -a_nodata) if so"
            )
    return None


def _impossible(value: float, dtype: np.dtype) -> bool:
    """Fill values in common use; the top of 16 bits and more, the bottom of signed types."""
    if value in (-9999, -99999, -999, -32767, 9999, 99999):
        return True
    if dtype.kind == "f":
        return abs(value) > 1e30
    limits = np.iinfo(dtype)
    return dtype.itemsize > 1 and value in ({limits.max, limits.min} - {0})
