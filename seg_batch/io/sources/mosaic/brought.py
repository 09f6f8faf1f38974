"""A piece of a mosaic that lies off its grid, brought over by GDAL: nearest or linear."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import RasterGeoref, shifted
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.mosaic.grid import require_placed
from seg_batch.io.sources.protocol import Source, SourceInfo, read_error, require_inside
from seg_batch.io.sources.valid_mask import exactly, valid_mask

_TOLERANCE = 1e-6  # of a pixel; GDAL takes 1/8 by default, and can't make a dataset with 0
_SIDE = 256  # pixels that are always warped together, so that none depends on the box that is read
_ALONG = 21  # points along each side


def footprint(info: SourceInfo, grid: SourceInfo) -> Box:
    """The box on the grid of another raster that a raster lies in. ``InputError`` where no transform is known."""
    from rasterio.errors import CRSError, RasterioError
    from rasterio.warp import transform as transformed

    from seg_batch.io.sources.formats.raster_opening import RASTERS

    here, there = require_placed(info), require_placed(grid)
    if info.format not in RASTERS:
        raise InputError(f"{info.path} can't be brought over as {info.format}: warp it first")
    if here.crs_wkt is None or there.crs_wkt is None:
        missing = info.path if here.crs_wkt is None else grid.path
        raise InputError(f"{missing} has no CRS, so nothing can be brought over to it: set one")
    x, y = _border(here, info.extent)
    try:
        xs, ys = transformed(here.crs_wkt, there.crs_wkt, x.tolist(), y.tolist())
        columns, rows, _ = np.linalg.solve(there.matrix, [xs, ys, np.ones(len(xs))])
        ends = np.floor([rows.min(), columns.min()]), np.ceil([rows.max(), columns.max()])
        start, stop = (tuple(int(n) for n in end) for end in ends)
    except (CRSError, RasterioError, np.linalg.LinAlgError, ValueError, OverflowError) as error:
        raise InputError(
            f"{info.path} can't be brought over to the grid of {grid.path} ({error}): leave it out"
        ) from None
    return Box(start, stop)


def _border(georef: RasterGeoref, extent: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along the border of a raster."""
    height, width = extent
    along = np.linspace(0, 1, _ALONG)
    none, every = np.zeros(_ALONG), np.ones(_ALONG)
    columns = np.concatenate([along, along, none, every]) * width
    rows = np.concatenate([none, every, along, along]) * height
    x, y, _ = georef.matrix @ np.array([columns, rows, np.ones(columns.size)])
    return x, y


class Brought:
    """A raster on the grid of its mosaic, in its box there. Where it has no data, and outside of it, nothing is valid; linear
    values are of valid pixels alone."""

    def __init__(self, source: Source, georef: RasterGeoref, box: Box, align: str) -> None:
        """``georef``: of the mosaic; ``box``: in it."""
        self._source, self._align = source, align
        own = shifted(georef, box.start)
        assert isinstance(own, RasterGeoref)
        self._georef, self._lock, self._opened = own, threading.Lock(), list[Any]()
        self.info = replace(source.info, extent=box.shape, georef=own, chunk=(_SIDE, _SIDE))

    def read(self, box: Box) -> Pixels:
        """Whole squares are warped, and cut."""
        require_inside(self.info, box)
        shape = (*box.shape, len(self.info.channels))
        values, valid = np.zeros(shape, self.info.dtype), np.zeros(shape, bool)
        for square in _squares(box, self.info.extent):
            part = square.intersection(box)
            seen, sure = self._warped(square)
            here, there = part.slices(box.start), part.slices(square.start)
            values[here], valid[here] = seen[there], sure[there]
        return Pixels(values, valid, self.info.scale, self.info.offset)

    def _warped(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        from rasterio.errors import CRSError, RasterioError
        from rasterio.windows import Window

        (y, x), (height, width) = box.start, box.shape
        place = {"window": Window(x, y, width, height)}
        bands = list(range(1, len(self.info.channels) + 1))
        try:
            with self._lock:
                seen = self._opened[0] if self._opened else self._open()
                values = seen.read(bands, **place).transpose(1, 2, 0)
                opaque = seen.dataset_mask(**place) != 0
        except (CRSError, RasterioError, OSError) as error:
            raise read_error(self._source.info, box, error) from error
        nodata = tuple(exactly(value, values.dtype) for value in self.info.nodata)
        valid = valid_mask(values, nodata, opaque[..., None])
        return values, np.ones(values.shape, bool) if valid is None else np.broadcast_to(
            valid, values.shape
        )

    def _open(self) -> Any:
        """The file and its warp, which stay open."""
        import rasterio
        from affine import Affine
        from rasterio.enums import ColorInterp, Resampling
        from rasterio.vrt import WarpedVRT

        from seg_batch.io.sources.formats.raster_opening import RASTERS

        info = self._source.info
        file = rasterio.open(info.path, driver=RASTERS[info.format], sharing=False)
        height, width = self.info.extent
        seen = WarpedVRT(
            file,
            crs=self._georef.crs_wkt,
            transform=Affine(*self._georef.transform),
            width=width,
            height=height,
            resampling=Resampling.nearest if self._align == "nearest" else Resampling.bilinear,
            tolerance=_TOLERANCE,
            add_alpha=ColorInterp.alpha not in file.colorinterp,
        )
        self._opened = [seen, file]
        return seen

    def close(self) -> None:
        with self._lock:
            for dataset in self._opened:
                dataset.close()
            self._opened = []
        self._source.close()


def _squares(box: Box, extent: tuple[int, ...]) -> list[Box]:
    whole = Box.whole(extent)
    rows, columns = (
        range(a // _SIDE * _SIDE, b, _SIDE) for a, b in zip(box.start, box.stop, strict=True)
    )
    return [Box.at((y, x), (_SIDE, _SIDE)).intersection(whole) for y in rows for x in columns]
