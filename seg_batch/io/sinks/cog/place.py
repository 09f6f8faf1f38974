"""Whether a GeoTIFF holds the place of its pixels: one tile is written and read back as the file that is
kept.

GeoTIFF has no keys for some projections, reads prime meridians in grads twice, and GDAL replaces codes
that are deprecated. What the file alone can't hold is left out of it and written as GDAL does where
a format can't hold a CRS, in ``<product>.aux.xml``, which is then part of the product.
"""

from __future__ import annotations

import tempfile
import uuid
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from seg_batch.core.errors import OutputError
from seg_batch.core.files import translate_os_errors
from seg_batch.core.georef import RasterGeoref, crs_name
from seg_batch.core.registry.formats import PRODUCTS
from seg_batch.io.sinks.cog.check import place_changes
from seg_batch.io.sinks.cog.write import (
    copy_as_cog,
    create_plain,
    placement_by_crs,
    without_georef_warning,
    written_whole,
)
from seg_batch.io.sinks.spec import ProductSpec
from seg_batch.io.sources.crs import WHOLE_CRS
from seg_batch.io.sources.formats.raster_georef import raster_georef
from seg_batch.io.sources.side_files import AUXILIARY

_SIDE = 2  # pixels of the tile
_POINT, _END = '  <Metadata><MDI key="AREA_OR_POINT">Point</MDI></Metadata>\n', "</PAMDataset>"
_FAILURES = (RasterioError, CPLE_BaseError, SystemError, AttributeError, ValueError)


def placed(spec: ProductSpec) -> ProductSpec:
    """``spec`` with the side file that its place needs, if any. OutputError where a GeoTIFF can't hold
    the place with one either."""
    georef = spec.georef
    assert isinstance(georef, RasterGeoref)
    alone = _lost(georef, "", spec)
    if not alone:
        return spec
    text = _side_file(georef)
    if text and not _lost(georef, text, spec):
        return replace(spec, side_file=text)
    raise OutputError(
        f"GeoTIFF can't hold the place of the input ({'; '.join(alone)}), so the map would lie "
        f"elsewhere: use a name that ends in {PRODUCTS['zarr'].endings[0]}, which holds it"
    )


def place_warnings(spec: ProductSpec, name: str) -> list[str]:
    """A line about the side file, where one belongs to the product of this name. OutputError as above."""
    georef = spec.georef
    assert isinstance(georef, RasterGeoref)
    if not placed(spec).side_file:
        return []
    crs = crs_name(georef.crs_wkt or georef.gcps_crs_wkt)
    return [
        f"GeoTIFF can't hold the CRS {crs}: it is kept in {name}{AUXILIARY}, which is a part of the "
        "product and must stay beside it"
    ]


def _lost(georef: RasterGeoref, side_file: str, spec: ProductSpec) -> list[str]:
    """What of the place is not read back, in words."""
    actual = _read_back(georef, side_file)
    if isinstance(actual, str):
        return [actual]
    return place_changes(georef, actual, spec.extent)


@lru_cache(256)
def _read_back(georef: RasterGeoref, side_file: str) -> RasterGeoref | str:
    """The place in a tile with that of ``georef``, or why there is no such tile."""
    spec = ProductSpec((_SIDE, _SIDE), "uint8", None, (), georef, side_file=side_file)
    try:
        with without_georef_warning(), written_whole(spec):
            return _opened(_tile(spec), side_file)
    except _FAILURES as error:
        return " ".join(str(error).split()) or type(error).__name__


def _tile(spec: ProductSpec) -> bytes:
    """The bytes of a product of one tile."""
    with MemoryFile(ext="tif") as plain, MemoryFile(ext="tif") as cog:
        with create_plain(plain.name, spec):
            pass  # what is not written is 0
        copy_as_cog(plain.name, cog.name)
        return bytes(cog.read())


def _opened(tile: bytes, side_file: str) -> RasterGeoref:
    """The georeference of a file with these bytes and that side file and nothing else beside it."""
    folder, name = str(uuid.uuid4()), "tile"
    with ExitStack() as opened:
        memory = opened.enter_context(MemoryFile(tile, dirname=folder, filename=name))
        if side_file:
            beside = MemoryFile(side_file.encode(), dirname=folder, filename=name + AUXILIARY)
            opened.enter_context(beside)
        return raster_georef(opened.enter_context(memory.open()))


@lru_cache(256)
def _side_file(georef: RasterGeoref) -> str:
    """What GDAL itself writes beside a TIFF without geographic keys; empty if it writes nothing.
    OutputError where there is no place for temporary files."""
    with (
        translate_os_errors(Path(tempfile.gettempdir())),
        tempfile.TemporaryDirectory() as folder,
        suppress(*_FAILURES),
    ):
        text = _written_beside(Path(folder, "tile"), georef)
        return text.replace(_END, _POINT + _END) if georef.pixel_is_point else text
    return ""


def _written_beside(path: Path, georef: RasterGeoref) -> str:
    shape = {"width": _SIDE, "height": _SIDE, "count": 1, "dtype": "uint8"}
    with without_georef_warning(), rasterio.Env(**WHOLE_CRS):
        place = placement_by_crs(georef)
        rasterio.open(path, "w", driver="GTiff", PROFILE="BASELINE", **shape, **place).close()
    beside = path.with_name(path.name + AUXILIARY)
    return beside.read_text(encoding="utf-8") if beside.exists() else ""
