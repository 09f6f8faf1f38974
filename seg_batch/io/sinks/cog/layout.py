"""The bytes of a cloud-optimised GeoTIFF before its tiles, and where each tile lies.

GDAL writes all that is said of a raster, in a strip of it that is one pixel high or wide and has the same
overviews. Only the short side, and where tiles lie, are then other numbers, and both are set here. The order
is that of GDAL's COG driver: directories, tables of tiles, tiles from the smallest overview to the raster,
each between its length and a copy of its last four bytes. A tile of length 0 is not there: its place is 0, and readers
take it for nodata.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from seg_batch.core.geometry import Shape

TILE = 512
AROUND_BYTES = 4  # before a tile its length, behind it its last bytes again
_WIDTH, _HEIGHT, _OFFSETS, _COUNTS = 256, 257, 324, 325
_TYPES = {3: "<u2", 4: "<u4", 16: "<u8"}  # SHORT, LONG, LONG8
_SHORT, _LONG = 3, 4
_BIG_BYTES = 2e9  # GDAL's BIGTIFF=IF_SAFER


def extents(extent: Shape) -> list[Shape]:
    """Those of the raster and of its overviews, down to the first of a single tile."""
    levels = [extent]
    while max(levels[-1]) > TILE:
        levels.append(tuple(-(-n // 2) for n in levels[-1]))
    return levels


def tiles_of(extent: Shape) -> Shape:
    """Down and across."""
    return tuple(-(-n // TILE) for n in extent)


def strip(extent: Shape) -> Shape:
    """The longer side of it alone: it has as many overviews."""
    return (1, extent[1]) if extent[1] >= extent[0] else (extent[0], 1)


def is_big(extent: Shape, pixel_bytes: int) -> bool:
    """Whether GDAL would make it a BigTIFF."""
    return sum(h * w for h, w in extents(extent)) * pixel_bytes > _BIG_BYTES


@dataclass(frozen=True)
class _Entry:
    """One value of a directory. ``at``: byte of its type; ``count_code``: of its count and of what follows."""

    tag: int
    at: int
    code: str

    @property
    def room(self) -> int:
        return struct.calcsize(self.code)

    @property
    def value_at(self) -> int:
        return self.at + 2 + self.room


def directories(data: bytes | bytearray | memoryview) -> Iterator[dict[int, _Entry]]:
    """The entries of each directory of a little-endian TIFF, by tag."""
    big = data[2] == 43
    code, entry_bytes = ("<Q", 20) if big else ("<I", 12)
    count_code = "<Q" if big else "<H"
    (at,) = struct.unpack_from(code, data, 8 if big else 4)
    while at:
        (count,) = struct.unpack_from(count_code, data, at)
        first = at + struct.calcsize(count_code)
        places = range(first, first + count * entry_bytes, entry_bytes)
        entries = (_Entry(struct.unpack_from("<H", data, p)[0], p + 2, code) for p in places)
        yield {entry.tag: entry for entry in entries}
        (at,) = struct.unpack_from(code, data, first + count * entry_bytes)


def table(data: bytes | bytearray | memoryview, entry: _Entry) -> tuple[np.ndarray, int | None]:
    """The numbers of an entry, and the byte where they lie if not in the entry itself."""
    (kind,) = struct.unpack_from("<H", data, entry.at)
    (count,) = struct.unpack_from(entry.code, data, entry.at + 2)
    at, elsewhere = entry.value_at, None
    if count * np.dtype(_TYPES[kind]).itemsize > entry.room:
        (at,) = (elsewhere,) = struct.unpack_from(entry.code, data, at)
    return np.frombuffer(data, _TYPES[kind], count, at), elsewhere


def tile_places(data: bytes | memoryview) -> tuple[np.ndarray, np.ndarray]:
    """Where the tiles of a TIFF of one directory lie, and how long they are."""
    entries = next(directories(data))
    return table(data, entries[_OFFSETS])[0], table(data, entries[_COUNTS])[0]


def head(strip_cog: bytes, extent: Shape, sizes: Sequence[np.ndarray]) -> bytes:
    """All bytes of a COG of ``extent`` before its first tile. ``strip_cog``: one of ``strip(extent)``;
    ``sizes``: the bytes of each tile, row by row, of the raster and of each overview."""
    found = list(directories(strip_cog))
    end = min(_tables_at(strip_cog, entries) for entries in found)
    data = bytearray(strip_cog[:end])
    sides = dict(zip((_HEIGHT, _WIDTH), zip(*extents(extent), strict=True), strict=True))
    tables = []  # entry, type, count, byte in what follows
    for level, entries in enumerate(found):
        for tag, lengths in sides.items():
            _set_side(data, entries[tag], lengths[level])
        for tag in (_OFFSETS, _COUNTS):
            (kind,) = struct.unpack_from("<H", data, entries[tag].at)
            struct.pack_into(entries[tag].code, data, entries[tag].at + 2, len(sizes[level]))
            nbytes = len(sizes[level]) * np.dtype(_TYPES[kind]).itemsize
            place = entries[tag].value_at
            if nbytes > entries[tag].room:
                struct.pack_into(entries[tag].code, data, place, len(data))
                place = len(data)
                data += bytes(nbytes)
            tables.append((level, tag, kind, place))
    places = _places(len(data), sizes)
    for level, tag, kind, place in tables:
        numbers = (places if tag == _OFFSETS else sizes)[level].astype(_TYPES[kind]).tobytes()
        data[place : place + len(numbers)] = numbers
    return bytes(data)


def _tables_at(data: bytes, entries: dict[int, _Entry]) -> int:
    """The first byte of a directory's tables of tiles, or where they are in it of its tiles."""
    offsets, place = table(data, entries[_OFFSETS])
    places = [place, table(data, entries[_COUNTS])[1], int(offsets.min()) - AROUND_BYTES]
    return min(at for at in places if at is not None)


def _set_side(data: bytearray, entry: _Entry, length: int) -> None:
    struct.pack_into("<H", data, entry.at, _SHORT if length < 1 << 16 else _LONG)
    struct.pack_into(entry.code, data, entry.value_at, length)


def _places(first: int, sizes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Where each tile begins, if the first bytes of the smallest overview lie at ``first``."""
    places = []
    for each in reversed(sizes):
        ends = first + np.cumsum(each.astype(np.int64) + 2 * AROUND_BYTES * (each > 0))
        places.append((ends - each - AROUND_BYTES) * (each > 0))
        first = int(ends[-1])
    return places[::-1]
