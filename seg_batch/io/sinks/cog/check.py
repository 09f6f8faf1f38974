"""Verification of a closed COG: it is read back and compared with its specification."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Shape
from seg_batch.core.georef import Georef, RasterGeoref, crs_name, georef_differences, voxel_distance
from seg_batch.core.spells import spell
from seg_batch.io.sinks.cog.write import TILE, palette, window_of, without_georef_warning
from seg_batch.io.sinks.spec import ProductSpec, Read, damaged, samples
from seg_batch.io.sources.crs import same_crs
from seg_batch.io.sources.formats.raster_checks import check_complete
from seg_batch.io.sources.formats.raster_georef import raster_georef

# GeoTIFF stores the same doubles, but half a pixel is added and subtracted where a pixel is a point.
_PIXELS = 1e-6
_RELATIVE = 1e-9
_CRS_KEYS = ("crs_wkt", "gcps_crs_wkt")


@spell("check")
def check_cog(part: Path, spec: ProductSpec, read: Read) -> None:
    """DamagedError unless layout, geometry, meaning and sampled pixels agree with ``spec``."""
    assert isinstance(spec.georef, RasterGeoref)
    try:
        with without_georef_warning(), rasterio.open(part, driver="GTiff") as file:
            wrong = [
                *_shape(file, spec),
                *place_changes(spec.georef, raster_georef(file), spec.extent),
                *_pixels(part, file, spec, read),
            ]
    except (RasterioError, CPLE_BaseError, InputError) as error:
        wrong = [str(error)]
    if wrong:
        raise damaged(part, wrong)


def _shape(file: Any, spec: ProductSpec) -> Iterator[str]:
    if file.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") != "COG":
        yield "layout: not a COG"
    expected = (spec.bands, *spec.extent), spec.dtype, spec.nodata
    written = (file.count, file.height, file.width), file.dtypes[0], file.nodata
    if expected != written:
        yield f"shape, type and nodata: {expected} became {written}"
    if max(spec.extent) > TILE and not file.overviews(1):
        yield "overviews: none"
    if (colours := palette(spec)) and not colours.items() <= file.colormap(1).items():
        yield "colours differ"
    if not spec.tags.items() <= file.tags().items():
        yield "tags: provenance is missing"


def place_changes(expected: RasterGeoref, actual: RasterGeoref, extent: Shape) -> list[str]:
    """The differences of two georeferences, except those that only come from GeoTIFF's notation;
    corners may move by a millionth of a pixel, or by what the sum of a coordinate and half a pixel
    loses in double precision."""
    wrong = georef_differences(expected, _in_notation_of(actual, expected), _RELATIVE)
    wrong = [_short(phrase, expected, actual) for phrase in wrong]
    shift = voxel_distance(expected, actual, extent)
    return wrong if shift <= _allowed(expected) else [*wrong, f"corners move by {shift:.3g} pixels"]


def _allowed(georef: RasterGeoref) -> float:
    pixel = np.abs(georef.matrix[:2, :2]).max() or 1.0
    return max(_PIXELS, float(8 * np.spacing(np.abs(georef.matrix[:2, 2]).max()) / pixel))


def _short(phrase: str, expected: RasterGeoref, actual: RasterGeoref) -> str:
    """A CRS by its name: its text fills a page."""
    key = phrase.partition(":")[0]
    if key not in _CRS_KEYS:
        return phrase
    before, after = crs_name(getattr(expected, key)), crs_name(getattr(actual, key))
    return f"CRS: {before} became {after if after != before else 'another of that name'}"


def _in_notation_of(actual: RasterGeoref, expected: RasterGeoref) -> Georef:
    """``actual`` with the CRS and RPCs of ``expected`` where they are equivalent."""
    same = {
        name: getattr(expected, name)
        for name in _CRS_KEYS
        if same_crs(getattr(expected, name), getattr(actual, name))
    }
    if actual.rpcs and _close(_numbers(actual), _numbers(expected)):
        same["rpcs"] = expected.rpcs
    return replace(actual, **same)


def _close(a: dict[str, list[float]], b: dict[str, list[float]]) -> bool:
    """Equal within the 15 digits with which GDAL writes RPCs."""
    return a.keys() == b.keys() and all(
        len(a[key]) == len(b[key]) and np.allclose(a[key], b[key], 1e-12, 0.0) for key in a
    )


def _numbers(georef: RasterGeoref) -> dict[str, list[float]]:
    """RPCs as numbers; -1 is GeoTIFF's value for an unknown error."""
    unknown = {"ERR_BIAS": [-1.0], "ERR_RAND": [-1.0]}
    return {**unknown, **{key: [float(v) for v in text.split()] for key, text in georef.rpcs}}


def _pixels(part: Path, file: Any, spec: ProductSpec, read: Read) -> Iterator[str]:
    """Every tile lies inside the file, and sampled windows equal those of the store."""
    yield from check_complete(part, "geotiff", file)
    for box in samples(spec.extent):
        written = file.read(window=window_of(box))
        if not np.array_equal(written, read(box).reshape(written.shape)):
            yield f"pixels differ at {box}"
