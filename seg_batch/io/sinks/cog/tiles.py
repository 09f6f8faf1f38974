"""The encoded tiles of a raster and of its overviews: each is made once, as soon as its pixels are known.

Boxes come in any order and from any threads, and with a box all its tiles and those of the overviews that lie
in it. They wait in a file without a name, which is gone with the process, until all are there and are
written in one order (``layout``). So the bytes of a product depend on pixels alone.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
import zlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import rasterio
from rasterio.io import MemoryFile

from seg_batch.core.geometry import Blocks, Box, Shape
from seg_batch.io.sinks.cog.layout import AROUND_BYTES, TILE, extents, tile_places, tiles_of
from seg_batch.io.sinks.spec import PIECE_BYTES, ProductSpec
from seg_batch.io.sources.constant import constant, is_constant, value_of

# By ``ProductSpec.compress``, as GDAL names it, with its level. DEFLATE, because every program reads it. Level 6, GDAL's own,
# instead of 1 makes label maps a third smaller and takes four to nine times as long, which would be most of a run with a
# light model; ZSTD at 9, which is GDAL's, too, is smaller again, and older programs can't read it.
PACKING: dict[str, tuple[str, int | None]] = {
    "auto": ("DEFLATE", 1),
    "deflate": ("DEFLATE", 6),
    "zstd": ("ZSTD", 9),
    "lzw": ("LZW", None),
    "none": ("NONE", None),
}
_LEVELS = {"DEFLATE": "zlevel", "ZSTD": "zstd_level"}
_ENCODED_BYTES = (
    4 << 20
)  # of pixels at a time, and one tile at least: GDAL's file of them is in memory
_PLACED = rasterio.Affine.scale(2)  # any place: without one each file of tiles would be warned of


class CogTiles:
    """The tiles of a raster of ``spec``. ``smaller``: ``(bands, y, x)`` to half of it, rounded up.

    OSError where the disk is full, an error of rasterio where GDAL fails.
    """

    def __init__(
        self, spec: ProductSpec, folder: Path, smaller: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        self._spec, self._smaller = spec, smaller
        self.extents = extents(spec.extent)
        counts = [int(np.prod(tiles_of(extent))) for extent in self.extents]
        self._places = [np.zeros(n, np.int64) for n in counts]
        self.sizes = [np.zeros(n, np.uint32) for n in counts]
        self._same: dict[tuple[Shape, bytes], tuple[int, int]] = {}  # tiles of one value,
        self._values: dict[int, np.generic] = {}  # and the value by place
        self._deflated: dict[
            tuple[int, int], tuple[int, int]
        ] = {}  # beside those of other encodings
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._end, self._lock = 0, threading.Lock()
        self._added: set[Box] = set()

    def close(self) -> None:
        self._file.close()

    @property
    def pixel_bytes(self) -> int:
        return self._spec.bands * np.dtype(self._spec.dtype).itemsize

    @cached_property
    def _depth(self) -> int:
        """How many overviews have whole tiles in a box."""
        chunk, depth = max(self._spec.chunk or (0,)), 0
        while TILE << depth < chunk or (TILE << depth + 1) ** 2 * self.pixel_bytes <= PIECE_BYTES:
            depth += 1
        return min(depth, len(self.extents) - 1)

    @cached_property
    def boxes(self) -> Blocks:
        """What is to be added, each once."""
        side = TILE << self._depth
        return Blocks(self._spec.extent, (side, side))

    @property
    def missing(self) -> list[Box]:
        """Those that were not added."""
        return [block.box for block in self.boxes if block.box not in self._added]

    def add(self, box: Box, values: np.ndarray) -> None:
        """All tiles within one of ``boxes``: values ``(y, x)`` or ``(bands, y, x)``."""
        values = values.reshape(-1, *box.shape)
        tiles: list[tuple[int, Shape, np.ndarray]] = []
        for level in range(self._depth + 1):
            first = tuple((start >> level) // TILE for start in box.start)
            tiles += [
                (level, (first[0] + y, first[1] + x), _tile(values, y, x))
                for y, x in np.ndindex(*tiles_of(values.shape[1:]))
            ]
            if level < self._depth:
                values = self._half(values)
        self._put(tiles)
        self._added.add(box)

    def _half(self, values: np.ndarray) -> np.ndarray:
        if is_constant(values):
            sides = (-(-n // 2) for n in values.shape[1:])
            return constant(value_of(values), (len(values), *sides))
        return np.stack([self._smaller(band) for band in values])  # of all, it takes twice as much

    def finish(self) -> None:
        """The tiles of further overviews, each from the four below it."""
        for level in range(self._depth + 1, len(self.extents)):
            for y, x in np.ndindex(*tiles_of(self.extents[level])):
                tile = self._half(self._read_four(level - 1, 2 * y, 2 * x))
                self._put([(level, (y, x), tile)])

    def _read_four(self, level: int, y: int, x: int) -> np.ndarray:
        """The pixels of up to four tiles."""
        down, across = tiles_of(self.extents[level])
        rows = [
            [self._read(level, i, j) for j in range(x, min(x + 2, across))]
            for i in range(y, min(y + 2, down))
        ]
        tiles = [tile for row in rows for tile in row]
        if all(map(is_constant, tiles)) and len({value_of(tile) for tile in tiles}) == 1:
            sides = sum(row[0].shape[1] for row in rows), sum(tile.shape[2] for tile in rows[0])
            return constant(value_of(tiles[0]), (self._spec.bands, *sides))
        return np.concatenate([np.concatenate(row, axis=2) for row in rows], axis=1)

    def _read(self, level: int, y: int, x: int) -> np.ndarray:
        """The pixels of a tile inside the extent, ``(bands, y, x)``."""
        height, width = self.extents[level]
        n = y * tiles_of(self.extents[level])[1] + x
        place, size = int(self._places[level][n]), int(self.sizes[level][n])
        sides = min(TILE, height - y * TILE), min(TILE, width - x * TILE)
        if not size:
            nodata = np.dtype(self._spec.dtype).type(self._spec.nodata or 0)
            return constant(nodata, (self._spec.bands, *sides))
        if (value := self._values.get(place)) is not None:
            return constant(value, (self._spec.bands, *sides))
        place, size = self._deflated.get((level, n), (place, size))
        pixels = zlib.decompress(os.pread(self._file.fileno(), size, place))
        tile = np.frombuffer(pixels, self._spec.dtype).reshape(TILE, TILE, self._spec.bands)
        return np.moveaxis(tile[: height - y * TILE, : width - x * TILE], -1, 0)

    def _put(self, tiles: Sequence[tuple[int, Shape, np.ndarray]]) -> None:
        """Encode these tiles; those of one value once for each shape."""
        new = []
        for level, index, tile in tiles:
            if self._is_sparse(tile):
                continue
            key = (tile.shape, value_of(tile).tobytes()) if is_constant(tile) else None
            if key is None or key not in self._same:
                new.append((level, index, tile, key))
            else:
                self._note(level, index, self._same[key])
        for few in itertools.batched(new, max(1, _ENCODED_BYTES // (TILE**2 * self.pixel_bytes))):
            self._put_new(few)

    def _is_sparse(self, tile: np.ndarray) -> bool:
        """Whether a tile is nodata alone: it is not stored, and its length stays 0."""
        nodata = self._spec.nodata
        if nodata is None or tile[0, 0, 0] != nodata:
            return False
        return is_constant(tile) or bool((tile == nodata).all())

    def _put_new(self, new: Sequence[tuple[int, Shape, np.ndarray, Any]]) -> None:
        """Encode these tiles in one file. The key of one of a single value is the last of each."""
        encoded = self._encoded([tile for *_, tile, _ in new])
        if PACKING[self._spec.compress][0] != "DEFLATE":
            for level, index, tile, _ in new:
                self._keep(level, index, tile)
        with self._lock:
            first, self._end = self._end, self._end + sum(map(len, encoded))
        for (level, index, tile, key), data in zip(new, encoded, strict=True):
            _write_at(self._file, data, first)
            self._note(level, index, (first, len(data)))
            if key is not None:
                self._same[key], self._values[first] = (first, len(data)), value_of(tile)
            first += len(data)

    def _keep(self, level: int, index: Shape, tile: np.ndarray) -> None:
        """A tile of which an overview is still to be made, in a form that is read back without GDAL."""
        if level < self._depth:
            return
        whole = np.zeros((TILE, TILE, self._spec.bands), self._spec.dtype)
        whole[: tile.shape[1], : tile.shape[2]] = np.moveaxis(tile, 0, -1)
        data = zlib.compress(whole, 1)
        with self._lock:
            first, self._end = self._end, self._end + len(data)
        _write_at(self._file, data, first)
        n = index[0] * tiles_of(self.extents[level])[1] + index[1]
        self._deflated[level, n] = first, len(data)

    def _note(self, level: int, index: Shape, place: tuple[int, int]) -> None:
        n = index[0] * tiles_of(self.extents[level])[1] + index[1]
        self._places[level][n], self.sizes[level][n] = place

    def _encoded(self, tiles: Sequence[np.ndarray]) -> list[bytes]:
        """The tiles as GDAL encodes them, in a column of whole tiles; pixels beyond the extent are 0."""
        column = np.zeros((self._spec.bands, len(tiles) * TILE, TILE), self._spec.dtype)
        for n, tile in enumerate(tiles):
            column[:, n * TILE : n * TILE + tile.shape[1], : tile.shape[2]] = tile
        shape = {"count": len(column), "height": column.shape[1], "width": TILE}
        tiling = {"tiled": True, "blockxsize": TILE, "blockysize": TILE, "interleave": "pixel"}
        name, level = PACKING[self._spec.compress]
        packing: dict[str, Any] = {"compress": name, "dtype": self._spec.dtype}
        packing |= {} if level is None else {_LEVELS[name]: level}
        with MemoryFile(ext="tif") as memory:
            with rasterio.open(
                memory.name, "w", driver="GTiff", transform=_PLACED, **shape, **tiling, **packing
            ) as file:
                file.write(column)
            data = bytes(memory.read())
        return [data[at : at + size] for at, size in zip(*tile_places(data), strict=True)]

    def write(self, file: IO[bytes]) -> None:
        """All tiles from the smallest overview to the raster, each between its length and its last bytes."""
        for places, sizes in zip(reversed(self._places), reversed(self.sizes), strict=True):
            for place, size in zip(places.tolist(), sizes.tolist(), strict=True):
                if not size:
                    continue
                data = os.pread(self._file.fileno(), size, place)
                file.write(size.to_bytes(AROUND_BYTES, "little"))
                file.write(data)
                file.write(data[-AROUND_BYTES:])


def _tile(values: np.ndarray, y: int, x: int) -> np.ndarray:
    return values[:, y * TILE : (y + 1) * TILE, x * TILE : (x + 1) * TILE]


def _write_at(file: IO[bytes], data: bytes, place: int) -> None:
    buffer = memoryview(data)
    while buffer:
        count = os.pwrite(file.fileno(), buffer, place)
        buffer, place = buffer[count:], place + count
