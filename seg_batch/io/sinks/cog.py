"""Cloud-optimised GeoTIFF: labels with their colours, or one band of probabilities per class.

GDAL's COG driver holds a raster that it writes in memory, so plain tiled TIFFs are written first, box
by box: the raster, then each overview from the one below it. GDAL reads ``a.tif.ovr`` as the overview
of ``a.tif`` (and ``a.tif.ovr.ovr`` as the next), and its COG driver copies them.
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
from seg_batch.core.files import require_free_space
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.georef import RasterGeoref
from seg_batch.io.sinks.product_sides import drop_side_files
from seg_batch.io.sinks.spec import PIECE_BYTES, ProductSpec, Read, read_ahead
from seg_batch.io.sources.crs import crs_options
from seg_batch.io.sources.formats.raster import limit_gdal_cache
from seg_batch.io.sources.protocol import one_line
from seg_batch.io.sources.side_files import AUXILIARY

TILE = 512
# DEFLATE, because every program reads it. Level 6 instead of 1 would make label maps a third smaller
# and take four to nine times as long, which would be most of a run with a light model.
_PACKING = {"COMPRESS": "DEFLATE", "LEVEL": 1, "NUM_THREADS": "ALL_CPUS", "BIGTIFF": "IF_SAFER"}
# GDAL 3.12 moves control points by half a pixel when it creates a file whose pixels are points, and in
# the same direction again when it reads it. If that is fixed, check_cog fails.
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
def without_georef_warning() -> Iterator[None]:
    """No warning of rasterio about a missing georeference: the plan has warned of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@contextmanager
def _small_cache(spec: ProductSpec) -> Iterator[None]:
    """A small GDAL cache: whole tiles are written once and read once, so a large one gains nothing."""
    tiles_bytes = _CACHED_TILES * spec.bands * TILE * TILE * np.dtype(spec.dtype).itemsize
    limit_gdal_cache(max(_CACHE_BYTES, tiles_bytes))
    try:
        yield
    finally:
        limit_gdal_cache()


def write_cog(part: Path, spec: ProductSpec, read: Read) -> None:
    """Write ``part``; ``read`` is called once for each box, top to bottom. Files ``.plain*`` stay beside
    ``part``; the caller removes the folder.

    OutputError when GDAL fails, OSError when the disk is full. libtiff would only print that and go on,
    so the free space is checked before.
    """
    plain = part.with_name(".plain.tif")
    try:
        with without_georef_warning(), written_whole(spec), _small_cache(spec):
            with create_plain(plain, spec) as file:
                _fill(file, spec.boxes(TILE), read)
            _write_overviews(plain, spec)
            written = sum(path.stat().st_size for path in part.parent.glob(".plain*"))
            require_free_space(part.parent, written * 3 // 2 + PIECE_BYTES)
            copy_as_cog(plain, part)
            _write_side_file(part, spec)
    except (RasterioError, CPLE_BaseError, SystemError) as error:  # the last without a reason
        raise OutputError(
            f"can't write {part} ({one_line(error)}); run the same command again, and check the disk if it "
            "stays"
        ) from error


@contextmanager
def create_plain(path: Path | str, spec: ProductSpec) -> Iterator[Any]:
    """A new tiled TIFF with the place and the meaning of ``spec``, to be filled."""
    with rasterio.open(path, "w", **_profile(spec), **_placement(spec)) as file:
        _describe(file, spec)
        yield file


def written_whole(spec: ProductSpec) -> rasterio.Env:
    georef = spec.georef
    assert isinstance(georef, RasterGeoref)
    return rasterio.Env(**crs_options(georef.crs_wkt or georef.gcps_crs_wkt))


def copy_as_cog(plain: Path | str, part: Path | str) -> None:
    rasterio.shutil.copy(plain, part, driver="COG", BLOCKSIZE=TILE, OVERVIEWS="AUTO", **_PACKING)


def _write_side_file(part: Path, spec: ProductSpec) -> None:
    """``<part>.aux.xml``: ours or none, whatever GDAL has left beside ``part``."""
    drop_side_files(part)
    if spec.side_file:
        part.with_name(part.name + AUXILIARY).write_text(spec.side_file, encoding="utf-8")


def _profile(spec: ProductSpec) -> dict[str, Any]:
    height, width = spec.extent
    shape = {"height": height, "width": width, "count": spec.bands}
    # GDAL would mark the fourth of four classes as alpha, which hides where it is improbable.
    more = {"alpha": "UNSPECIFIED"} if spec.bands == 4 else {}
    return {**_PLAIN, **shape, **more, "dtype": spec.dtype, "nodata": spec.nodata}


def _fill(file: Any, boxes: list[Box], read: Read) -> None:
    for box, values in read_ahead(read, boxes):
        require_free_space(Path(file.name).parent, 2 * values.nbytes)
        file.write(values.reshape(file.count, *box.shape), window=window_of(box))


def window_of(box: Box) -> Window:
    (y, x), (rows, columns) = box.start, box.shape
    return Window(x, y, columns, rows)


def _write_overviews(plain: Path, spec: ProductSpec) -> None:
    """One file for each halving, until one tile holds it."""
    smaller = mean_overview if spec.is_probabilities else majority_overview
    while max(spec.extent) > TILE:
        overview = plain.with_name(plain.name + ".ovr")
        half = spec.halved()
        with rasterio.open(plain) as below, rasterio.open(overview, "w", **_profile(half)) as file:
            # Each is made from four times as many pixels.
            boxes = half.boxes(TILE, PIECE_BYTES // 4)
            _fill(file, boxes, partial(_half, below, spec.extent, smaller))
        plain, spec = overview, half


def _half(below: Any, extent: Shape, smaller: Any, box: Box) -> np.ndarray:
    """A box of an overview, from the box of twice the size in the raster below it."""
    stop = tuple(min(2 * b, n) for b, n in zip(box.stop, extent, strict=True))
    twice = Box(tuple(2 * a for a in box.start), stop)
    return np.asarray(smaller(below.read(window=window_of(twice))))


def _placement(spec: ProductSpec) -> dict[str, Any]:
    """Transform, control points or RPCs, whichever the input has, without what the side file holds."""
    georef = spec.georef
    assert isinstance(georef, RasterGeoref)
    placement: dict[str, Any] = {}
    if not spec.side_file:
        placement = placement_by_crs(georef, _POINT_SHIFT if georef.pixel_is_point else 0.0)
    if not georef.gcps and georef.transform != RasterGeoref().transform:
        placement["transform"] = Affine(*georef.transform)
    if georef.rpcs:
        placement["rpcs"] = RPC.from_gdal(dict(georef.rpcs))
    return placement


def placement_by_crs(georef: RasterGeoref, shift: float = 0.0) -> dict[str, Any]:
    """The CRS, and control points in it, which are moved up and left by ``shift`` pixels."""
    wkt = georef.gcps_crs_wkt if georef.gcps else georef.crs_wkt
    placement: dict[str, Any] = {"crs": CRS.from_wkt(wkt) if wkt else CRS()}
    if georef.gcps:
        placement["gcps"] = [
            GroundControlPoint(row=r - shift, col=c - shift, x=x, y=y, z=z)
            for r, c, x, y, z in georef.gcps
        ]
    return placement


def _describe(file: Any, spec: ProductSpec) -> None:
    """Names, colours and provenance. Written before any pixel: else GDAL puts them into a side file."""
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
    """Label -> red, green, blue, alpha; empty for probabilities and for 16-bit labels."""
    if spec.is_probabilities or spec.dtype != "uint8":
        return {}
    colours = {c.id: (*c.colour, 255) for c in spec.classes}
    return colours if spec.nodata is None else {**colours, spec.nodata: (0, 0, 0, 0)}


# GDAL's MODE resampling takes twice the time of the rest of a COG. Here, on whole arrays and without
# branches, a majority costs no more than NEAREST, and thin lines do not flicker between levels.
def majority_overview(labels: np.ndarray) -> np.ndarray:
    """``(..., y, x)`` labels to ``(..., ceil(y/2), ceil(x/2))``: the most frequent label of
    each 2 x 2, where nodata counts as a label. Ties are resolved always in the same way."""
    p, q, r, s = _quarters(labels)
    out = _where(q == r, q, p)
    return _where((q == s) | (r == s), s, out)


def mean_overview(values: np.ndarray) -> np.ndarray:
    """``(..., y, x)`` uint8 to ``(..., ceil(y/2), ceil(x/2))``: the rounded mean of each 2 x 2."""
    total = np.full((), 2, np.uint16)
    for quarter in _quarters(values):
        total = total + quarter
    return (total >> 2).astype(values.dtype)


def _quarters(a: np.ndarray) -> list[np.ndarray]:
    """Top left, top right, bottom left, bottom right of each 2 x 2; odd edges are repeated."""
    rows, columns = a.shape[-2] % 2, a.shape[-1] % 2
    if rows or columns:
        a = np.pad(a, [(0, 0)] * (a.ndim - 2) + [(0, rows), (0, columns)], mode="edge")
    return [np.ascontiguousarray(a[..., y::2, x::2]) for y in (0, 1) for x in (0, 1)]


def _where(mask: np.ndarray, yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    """``np.where`` for integers, by bits: four times as fast on bytes."""
    ones = np.negative(mask.astype(no.dtype))
    return no ^ ((no ^ yes) & ones)
