"""Cloud-optimised GeoTIFF: labels with their colours, or one band of probabilities per class.

A COG opened for writing holds the whole raster in memory, so plain tiled TIFFs are written first,
box by box: the raster, then each overview from the one below it. GDAL takes a file ``a.tif.ovr``
for the overview of ``a.tif`` (and ``a.tif.ovr.ovr`` for the next), and its COG driver copies them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.rpc import RPC
from rasterio.transform import Affine
from rasterio.windows import Window

from seg_batch.core.errors import OutputError
from seg_batch.core.files import require_room
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.georef import RasterGeoref
from seg_batch.io.sinks.cog_overviews import majority_overview, mean_overview
from seg_batch.io.sinks.spec import PIECE_BYTES, ProductSpec, Read, ahead
from seg_batch.io.sources.formats.raster import limit_gdal_cache

TILE = 512
# DEFLATE, because everything reads it. Level 1: level 6 makes label maps a third smaller and takes
# four to nine times as long, which would be most of a run with a light model.
_PACKING = {"COMPRESS": "DEFLATE", "LEVEL": 1, "NUM_THREADS": "ALL_CPUS", "BIGTIFF": "IF_SAFER"}
# GDAL 3.12 moves control points by half a pixel when it creates a file whose pixels are points, and
# in the same direction again when it reads it. Should that be mended, check_cog will not pass.
_POINT_SHIFT = 1.0
_CACHE_BYTES = 16 << 20
_CACHED_TILES = 8
_PLAIN = {
    "driver": "GTiff",
    "tiled": True,
    "blockxsize": TILE,
    "blockysize": TILE,
    "compress": "zstd",
    "zstd_level": 1,
    "interleave": "band",
    "num_threads": "all_cpus",
    "bigtiff": "if_safer",
}


@contextmanager
def quiet() -> Iterator[None]:
    """A raster without a place is no reason to warn: the plan did that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@contextmanager
def _small_cache(spec: ProductSpec) -> Iterator[None]:
    """Whole tiles are written once and read once: GDAL's cache has nothing to gain from size."""
    tiles_bytes = _CACHED_TILES * spec.bands * TILE * TILE * np.dtype(spec.dtype).itemsize
    limit_gdal_cache(max(_CACHE_BYTES, tiles_bytes))
    try:
        yield
    finally:
        limit_gdal_cache()


def write_cog(part: Path, spec: ProductSpec, read: Read) -> None:
    """Write ``part``; ``read`` is asked for each box once, top to bottom. Files beside ``part``
    with names that begin with ``.plain`` are left to whoever owns the folder.

    OutputError when GDAL fails, OSError when the disk is full: libtiff would tell that to standard
    error and go on, so the room is looked at before.
    """
    plain = part.with_name(".plain.tif")
    try:
        with quiet(), rasterio.Env(), _small_cache(spec):
            with rasterio.open(plain, "w", **_profile(spec), **_placement(spec)) as file:
                _describe(file, spec)
                _fill(file, spec.boxes(TILE), read)
            _write_overviews(plain, spec)
            written = sum(path.stat().st_size for path in part.parent.glob(".plain*"))
            require_room(part.parent, written * 3 // 2 + PIECE_BYTES)
            rasterio.shutil.copy(
                plain, part, driver="COG", BLOCKSIZE=TILE, OVERVIEWS="AUTO", **_PACKING
            )
    except (RasterioError, CPLE_BaseError, SystemError) as error:  # the last without a reason
        raise OutputError(
            f"can't write {part} ({error}); check the disk, then run the same command again"
        ) from error


def _profile(spec: ProductSpec) -> dict[str, Any]:
    height, width = spec.extent
    shape = {"height": height, "width": width, "count": spec.bands}
    return {**_PLAIN, **shape, "dtype": spec.dtype, "nodata": spec.nodata}


def _fill(file: Any, boxes: list[Box], read: Read) -> None:
    for box, values in ahead(read, boxes):
        require_room(Path(file.name).parent, 2 * values.nbytes)
        file.write(values.reshape(file.count, *box.shape), window=window_of(box))


def window_of(box: Box) -> Window:
    (y, x), (rows, columns) = box.start, box.shape
    return Window(x, y, columns, rows)


def _write_overviews(plain: Path, spec: ProductSpec) -> None:
    """One file for each halving, until it fits one tile."""
    smaller = mean_overview if spec.is_probabilities else majority_overview
    while max(spec.extent) > TILE:
        overview = plain.with_name(plain.name + ".ovr")
        half = spec.halved()
        with rasterio.open(plain) as below, rasterio.open(overview, "w", **_profile(half)) as file:
            boxes = half.boxes(TILE, PIECE_BYTES // 4)  # each is made from four times as much
            _fill(file, boxes, partial(_half, below, spec.extent, smaller))
        plain, spec = overview, half


def _half(below: Any, extent: Shape, smaller: Any, box: Box) -> np.ndarray:
    """The box of an overview, made from the box of twice the size below it."""
    stop = tuple(min(2 * b, n) for b, n in zip(box.stop, extent, strict=True))
    twice = Box(tuple(2 * a for a in box.start), stop)
    return np.asarray(smaller(below.read(window=window_of(twice))))


def _placement(spec: ProductSpec) -> dict[str, Any]:
    """Transform, control points or RPCs, whichever the input has."""
    georef = spec.georef
    assert isinstance(georef, RasterGeoref)
    found: dict[str, Any] = {}
    wkt = georef.gcps_crs_wkt if georef.gcps else georef.crs_wkt
    if wkt:
        found["crs"] = CRS.from_wkt(wkt)
    if georef.gcps:
        by = _POINT_SHIFT if georef.pixel_is_point else 0.0
        found["gcps"] = [
            GroundControlPoint(row=r - by, col=c - by, x=x, y=y, z=z)
            for r, c, x, y, z in georef.gcps
        ]
    elif georef.transform != RasterGeoref().transform:
        found["transform"] = Affine(*georef.transform)
    if georef.rpcs:
        found["rpcs"] = RPC.from_gdal(dict(georef.rpcs))
    return found


def _describe(file: Any, spec: ProductSpec) -> None:
    """Names, colours and provenance; before any pixel, or GDAL puts them into a side file."""
    assert isinstance(spec.georef, RasterGeoref)
    point = {"AREA_OR_POINT": "Point"} if spec.georef.pixel_is_point else {}
    file.update_tags(**spec.tags, **point)
    if spec.is_probabilities:
        file.scales = (1 / 255,) * spec.bands
        for band, c in enumerate(spec.classes, 1):
            file.set_band_description(band, c.name)
        return
    file.set_band_description(1, "class")
    if colours := palette(spec):
        file.write_colormap(1, colours)
        file.colorinterp = [ColorInterp.palette]


def palette(spec: ProductSpec) -> dict[int, tuple[int, int, int, int]]:
    """Label to red, green, blue, alpha; nothing for probabilities and for labels above 255."""
    if spec.is_probabilities or spec.dtype != "uint8":
        return {}
    colours = {c.id: (*c.colour, 255) for c in spec.classes}
    return colours if spec.nodata is None else {**colours, spec.nodata: (0, 0, 0, 0)}
