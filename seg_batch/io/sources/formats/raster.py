"""GeoTIFF, COG, BigTIFF, PNG, JPEG and JPEG 2000, through rasterio with the driver pinned.

What is valid: ``raster_validity``. Values stay as stored; scale and offset are kept beside them.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from rasterio.enums import Interleaving
from rasterio.errors import RasterioError

from seg_batch.core.errors import ReadError
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.georef import RasterGeoref
from seg_batch.core.hardware import cores
from seg_batch.core.normalise import Pixels
from seg_batch.io.remote.as_path import (
    AnyPath,
    RemotePath,
    close_dataset,
    telling_faults,
)
from seg_batch.io.remote.tiff_ranges import ranges_of
from seg_batch.io.sources.formats import raster_checks as checks
from seg_batch.io.sources.formats.raster_facts import facts_of
from seg_batch.io.sources.formats.raster_opening import RASTERS, Opening, opened
from seg_batch.io.sources.formats.raster_validity import Bands
from seg_batch.io.sources.formats.tiff_index import TiffIndex, tiff_index
from seg_batch.io.sources.protocol import (
    AlphaOption,
    SourceInfo,
    read_error,
    require_inside,
)
from seg_batch.io.sources.tolerant_read import RetryLimit
from seg_batch.io.sources.valid_mask import valid_mask

_MOST_THREADS = 8  # that decode one read; readers of several blocks are the caller's threads


class RasterSource:
    """One raster; ``read`` gives ``(y, x, channels)``, a view of the band-first array, or of one pixel where
    the file stores nothing."""

    def __init__(self, opening: Opening, info: SourceInfo, bands: Bands) -> None:
        self.info, self.opening, self.bands = info, opening, bands
        self._idle: list[Any] = []
        # Workers end with their sources open; closed at the end of Python, rasterio prints errors.
        weakref.finalize(self, _close_all, self._idle)
        self._lock, self._again = threading.Lock(), RetryLimit()
        self._closed = False
        self._holes_are_empty: bool | None = None

    def read(self, box: Box) -> Pixels:
        """``Pixels`` of shape ``(*box.shape, channels)``; ``ReadError`` where data is damaged."""
        require_inside(self.info, box)
        return self._pixels(box, tuple(zip(box.start, box.stop, strict=True)))

    def reduced(self, shape: Shape) -> Pixels:
        """The whole raster as ``(*shape, channels)``: nearest voxels, from overviews if it has
        them; ``ReadError`` where data is damaged."""
        return self._pixels(Box.whole(self.info.extent), None, shape)

    def _pixels(self, box: Box, window: Any, shape: Shape | None = None) -> Pixels:
        try:
            with self._handle() as dataset:
                if window is not None:
                    self._fetch(dataset, box)
                if shape is None and self.bands.is_hole(dataset, box):
                    first = self._valid(dataset, tuple((start, start + 1) for start in box.start))
                    if first.valid is not None and not first.valid.any():
                        return first.map(
                            lambda pixel: np.broadcast_to(pixel, (*box.shape, pixel.size))
                        )
                return self._valid(dataset, window, shape)
        except (RasterioError, OSError) as error:
            raise read_error(self.info, box, error) from error

    def _fetch(self, dataset: Any, box: Box) -> None:
        """The tiles of a remote GeoTIFF, in parallel: GDAL would ask for one after the other."""
        if isinstance(self.opening.path, RemotePath) and self.info.format == "geotiff":
            most = box.size * int(self.info.facts["held_bytes"]) + self.info.facts["block_bytes"]
            dataset.held.fetch(ranges_of(dataset, self.bands.stored_in(dataset), box, most))

    def known_empty(self, box: Box) -> bool:
        """Whether the file stores nothing in a box, and what it stands for is not valid."""
        index = self._index
        return index is not None and index.is_hole(box) and self._is_empty_at(box)

    @cached_property
    def _index(self) -> TiffIndex | None:
        """Of the blocks of these bands; None where they do not say what is valid."""
        if (
            self.bands.masks
            or self.info.format != "geotiff"
            or isinstance(self.opening.path, RemotePath)
        ):
            return None
        with self._handle() as dataset:
            by_pixel = dataset.interleaving == Interleaving.pixel
            planes = 1 if by_pixel else dataset.count
            index = tiff_index(self.opening.path, self.info.extent, dataset.block_shapes[0], planes)
        if by_pixel or index is None:
            return index
        return index.of_planes([band - 1 for band in (*self.bands.data, *self.bands.alpha)])

    def _is_empty_at(self, hole: Box) -> bool:
        """What pixels stand for that are not stored, which is the same everywhere: read once."""
        if self._holes_are_empty is None:
            try:
                pixel = self.read(Box.at(hole.start, (1,) * len(hole.start)))
            except ReadError:
                return False
            self._holes_are_empty = pixel.valid is not None and not pixel.valid.any()
        return self._holes_are_empty

    def _valid(self, dataset: Any, window: Any, shape: Shape | None = None) -> Pixels:
        values, opaque = self._again(lambda: self.bands.read(dataset, window, shape))
        valid = valid_mask(values, self.bands.nodata, opaque)
        return Pixels(values, valid, self.info.scale, self.info.offset)

    def only(self, indices: Sequence[int], line: str = "") -> RasterSource | None:
        """A source that reads these bands only; this one is closed. None where all must be read."""
        if (bands := self.bands.only(indices)) is None:
            return None
        self.close()
        return type(self)(self.opening, self.info.of_channels(indices, line), bands)

    @contextlib.contextmanager
    def _handle(self) -> Iterator[Any]:
        """A dataset handle for this thread alone; there are as many as readers."""
        with self._lock:
            if self._closed:
                raise ValueError(f"{self.info.path}: read after close")
            dataset = self._idle.pop() if self._idle else None
        dataset = dataset or self.opening()
        try:
            with telling_faults(dataset):
                yield dataset
        except BaseException:
            # Read by several threads, a tile that can't be decoded stays in the handle's cache as if it were read.
            close_dataset(dataset)
            raise
        with self._lock:
            self._idle.append(dataset)
            if self._closed:
                _close_all(self._idle)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            _close_all(self._idle)


def _close_all(datasets: list[Any]) -> None:
    with contextlib.suppress(IndexError):  # another thread may have taken the last one
        while True:
            close_dataset(datasets.pop())


def open_raster(path: AnyPath, name: str, alpha: AlphaOption = "auto") -> RasterSource:
    """Open a raster of format ``name`` (a key of ``RASTERS``), or ``InputError`` in one line.

    ``alpha``: how bands marked as alpha are read; ``auto``: as the file says, and as data where it does not.
    """
    checks.check_directory(path, name)
    options = {"NUM_THREADS": min(cores(), _MOST_THREADS)} if name == "geotiff" else {}
    opening = Opening(path, name, RASTERS[name], options=tuple(options.items()))
    with opened(opening) as dataset:
        return described(opening, dataset, alpha)


def described(
    opening: Opening,
    dataset: Any,
    option: AlphaOption = "auto",
    placed: Callable[[RasterGeoref], RasterGeoref] = lambda georef: georef,
) -> RasterSource:
    """The source of an open dataset; ``InputError`` for what can't be read whole. ``placed``: of the place that GDAL tells, the
    one that is meant."""
    return RasterSource(opening, *facts_of(opening, dataset, option, placed))
