"""Is the closed COG what was meant? Looked at on the file itself, read back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Shape
from seg_batch.core.georef import Georef, RasterGeoref, georef_differences
from seg_batch.io.sinks.cog import TILE, palette, quiet, window_of
from seg_batch.io.sinks.spec import ProductSpec, Read, damaged, samples
from seg_batch.io.sources.formats.raster import raster_georef
from seg_batch.io.sources.formats.raster_checks import check_complete

# GeoTIFF stores the same doubles, but half a pixel goes to and fro where a pixel is a point.
_PIXELS = 1e-6
_RELATIVE = 1e-9


def check_cog(part: Path, spec: ProductSpec, read: Read) -> None:
    """DamagedError unless layout, geometry, meaning and sampled pixels are those of ``spec``."""
    try:
        with quiet(), rasterio.open(part, driver="GTiff") as file:
            wrong = [*_shape(file, spec), *_place(file, spec), *_pixels(part, file, spec, read)]
    except (RasterioError, CPLE_BaseError, InputError) as error:
        wrong = [str(error)]
    if wrong:
        raise damaged(part, wrong)


def _shape(file: Any, spec: ProductSpec) -> Iterator[str]:
    if file.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") != "COG":
        yield "layout: not a COG"
    expected = (spec.bands, *spec.extent), spec.dtype, spec.nodata
    found = (file.count, file.height, file.width), file.dtypes[0], file.nodata
    if expected != found:
        yield f"shape, type and nodata: {expected} became {found}"
    if max(spec.extent) > TILE and not file.overviews(1):
        yield "overviews: none"
    if (colours := palette(spec)) and not colours.items() <= file.colormap(1).items():
        yield "colours differ"
    if not spec.tags.items() <= file.tags().items():
        yield "tags: provenance is missing"


def _place(file: Any, spec: ProductSpec) -> list[str]:
    assert isinstance(spec.georef, RasterGeoref)
    return place_changes(spec.georef, raster_georef(file), spec.extent)


def place_changes(expected: RasterGeoref, found: RasterGeoref, extent: Shape) -> list[str]:
    """What differs between the place meant and the place found, less what a GeoTIFF says in
    other words; corners may move by a millionth of a pixel."""
    wrong = georef_differences(expected, _same_words(found, expected), _RELATIVE)
    moved = _moved(expected, found, extent)
    return wrong if moved <= _PIXELS else [*wrong, f"transform: corners moved by {moved} pixels"]


def _same_words(found: RasterGeoref, expected: RasterGeoref) -> Georef:
    """``found`` with the CRS and RPCs of ``expected`` where they mean the same in other words."""
    same = {
        name: getattr(expected, name)
        for name in ("crs_wkt", "gcps_crs_wkt")
        if _equal(getattr(expected, name), getattr(found, name))
    }
    if found.rpcs and _close(_numbers(found), _numbers(expected)):
        same["rpcs"] = expected.rpcs
    return replace(found, **same)


def _close(a: dict[str, list[float]], b: dict[str, list[float]]) -> bool:
    """GDAL writes RPCs with 15 digits."""
    return a.keys() == b.keys() and all(
        len(a[key]) == len(b[key]) and np.allclose(a[key], b[key], 1e-12, 0.0) for key in a
    )


def _numbers(georef: RasterGeoref) -> dict[str, list[float]]:
    """RPCs as numbers; -1 is how a GeoTIFF says that an error is not known."""
    unknown = {"ERR_BIAS": [-1.0], "ERR_RAND": [-1.0]}
    return {**unknown, **{key: [float(v) for v in text.split()] for key, text in georef.rpcs}}


def _equal(a: str | None, b: str | None) -> bool:
    return bool(a and b and (a == b or CRS.from_wkt(a) == CRS.from_wkt(b)))


def _moved(expected: RasterGeoref, found: RasterGeoref, extent: tuple[int, ...]) -> float:
    """How far a corner of the raster lies from where it should, in pixels."""
    a, b, c, d, e, f = np.subtract(found.transform, expected.transform)
    size = np.abs(np.array(expected.transform)[[0, 1, 3, 4]]).max()
    corners = [(x, y) for x in (0, extent[1]) for y in (0, extent[0])]
    apart = max(np.hypot(a * x + b * y + c, d * x + e * y + f) for x, y in corners)
    return float(apart / size) if size else 0.0


def _pixels(part: Path, file: Any, spec: ProductSpec, read: Read) -> Iterator[str]:
    """Every tile lies inside the file, and windows all over it hold what the store holds."""
    yield from check_complete(part, "geotiff", file)
    for box in samples(spec.extent):
        found = file.read(window=window_of(box))
        if not np.array_equal(found, read(box).reshape(found.shape)):
            yield f"pixels differ at {box}"
