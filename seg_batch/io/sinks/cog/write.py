"""Cloud-optimised GeoTIFF: labels with their colours, or one band of probabilities per class.

GDAL's COG driver would write everything a second and a third time. So it makes a strip of the raster, which
has the place and the meaning of all of it (``layout``), and the tiles are encoded box by box (``tiles``).
The bytes are those that the driver itself would write.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from contextvars import copy_context
from dataclasses import replace
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
from seg_batch.core.geometry import Box
from seg_batch.core.georef import RasterGeoref
from seg_batch.core.hardware import cores
from seg_batch.core.spells import spell
from seg_batch.io.sinks.cog.layout import TILE, head, is_big, strip
from seg_batch.io.sinks.cog.overviews import majority_overview, mean_overview
from seg_batch.io.sinks.cog.tiles import PACKING, CogTiles
from seg_batch.io.sinks.product_sides import drop_side_files
from seg_batch.io.sinks.spec import ProductSpec, Read
from seg_batch.io.sources.crs import crs_options
from seg_batch.io.sources.protocol import one_line
from seg_batch.io.sources.side_files import AUXILIARY

_THREADS, _BOXES_BYTES = 4, 32 << 20  # boxes at work at once, at most; one if it is larger
# GDAL 3.12 moves control points by half a pixel when it creates a file whose pixels are points, and in
# the same direction again when it reads it. If that is fixed, check_cog fails.
_POINT_SHIFT = 1.0
_PLAIN = {
    "driver": "GTiff",
    "tiled": True,
    "blockxsize": TILE,
    "blockysize": TILE,
    "interleave": "band",
    "sparse_ok": True,
}


@contextmanager
def without_georef_warning() -> Iterator[None]:
    """No warning of rasterio about a missing georeference: the plan has warned of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def begin_cog(spec: ProductSpec, folder: Path) -> CogTiles:
    """The tiles of a product, to which boxes may be added before ``write_cog``. They wait in ``folder``, and are gone
    when closed."""
    return CogTiles(spec, folder, mean_overview if spec.is_probabilities else majority_overview)


def write_cog(part: Path, spec: ProductSpec, read: Read, begun: CogTiles | None = None) -> None:
    """Write ``part``; ``read`` is called once for each box that is not yet in ``begun``, from several threads. Files
    ``.strip*`` stay beside ``part``; the caller removes the folder.

    OutputError when GDAL fails, OSError when the disk is full.
    """
    with (
        _translated(part),
        nullcontext(begun) if begun else closing(begin_cog(spec, part.parent)) as tiles,
    ):
        fit = _BOXES_BYTES // (math.prod(tiles.boxes.shape) * tiles.pixel_bytes)
        threads = ThreadPoolExecutor(max(1, min(cores(), _THREADS, fit)))
        context = copy_context()

        @spell("product")
        def make(box: Box) -> None:
            tiles.add(box, read(box))

        try:
            for _ in threads.map(lambda box: context.copy().run(make, box), tiles.missing):
                pass
        finally:
            threads.shutdown(cancel_futures=True)
        tiles.finish()
        with part.open("wb") as file:
            file.write(head(_strip(part, spec), spec.extent, tiles.sizes))
            tiles.write(file)
        _write_side_file(part, spec)


@contextmanager
def _translated(part: Path) -> Iterator[None]:
    try:
        yield
    except (RasterioError, CPLE_BaseError, SystemError) as error:  # the last without a reason
        raise OutputError(
            f"can't write {part} ({one_line(error)}); run the same command again, and check the disk if it "
            "stays"
        ) from error


def _strip(part: Path, spec: ProductSpec) -> bytes:
    """A COG of one row or column of the raster, with all its overviews; none has pixels of meaning."""
    plain, cog = part.with_name(".strip.tif"), part.with_name(".strip.cog.tif")
    big = is_big(spec.extent, spec.bands * np.dtype(spec.dtype).itemsize)
    with without_georef_warning(), written_whole(spec):
        level, path = replace(spec, extent=strip(spec.extent)), plain
        with create_plain(path, level):
            pass
        while max(level.extent) > TILE:
            level, path = level.halved(), path.with_name(path.name + ".ovr")
            rasterio.open(path, "w", **_profile(level)).close()
        copy_as_cog(plain, cog, "YES" if big else "NO", spec.compress)
    return cog.read_bytes()


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


def copy_as_cog(
    plain: Path | str, part: Path | str, big: str = "IF_SAFER", compress: str = "auto"
) -> None:
    name, level = PACKING[compress]
    layout = {"BLOCKSIZE": TILE, "OVERVIEWS": "AUTO", "BIGTIFF": big, "COMPRESS": name}
    layout |= {} if level is None else {"LEVEL": level}
    rasterio.shutil.copy(plain, part, driver="COG", **layout)


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


def window_of(box: Box) -> Window:
    (y, x), (rows, columns) = box.start, box.shape
    return Window(x, y, columns, rows)


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
