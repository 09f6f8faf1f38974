"""The georeference of a raster, as GDAL tells it, and what is odd about it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import rasterio

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Shape
from seg_batch.core.georef import SAME_PLACE, Affine6, RasterGeoref, crs_name, voxel_distance
from seg_batch.io.remote.as_path import AnyPath
from seg_batch.io.sources.crs import (
    WHOLE_CRS,
    crs_wkt,
    metres_per_unit,
    same_crs,
    whole_crs,
)
from seg_batch.io.sources.side_files import side_files

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_MOST_BYTES = 4 << 20
_PLACES = (b"<SRS", b"<GeoTransform", b"<GCPList")


def raster_georef(dataset: Any) -> RasterGeoref:
    """The georeference of an open rasterio dataset; for inputs and for products that are read back."""
    gcps, gcps_crs = dataset.gcps
    with rasterio.Env(**WHOLE_CRS):
        crs = whole_crs(dataset.crs, dataset.read_crs())
        # Without points GDAL may still tell of one: that of the raster, for JPEG 2000.
        gcps_crs = whole_crs(gcps_crs, dataset.get_gcps()[1]) if gcps else None
    rpcs = dataset.rpcs.to_gdal() if dataset.rpcs else {}
    # Without a CRS the word has no place in a GeoTIFF. It moves no pixel: transforms are of corners.
    is_point = dataset.tags().get("AREA_OR_POINT", "").lower() == "point"
    return RasterGeoref(
        crs_wkt=crs_wkt(crs),
        transform=tuple(float(v) for v in dataset.transform[:6]),  # type: ignore[arg-type]
        metres_per_unit=metres_per_unit(crs),
        pixel_is_point=bool(crs or gcps_crs) and is_point,
        gcps=tuple((g.row, g.col, g.x, g.y, g.z or 0.0) for g in gcps),
        gcps_crs_wkt=crs_wkt(gcps_crs),
        rpcs=tuple(sorted((key, str(value)) for key, value in rpcs.items())),
    )


def require_finite(path: AnyPath, georef: RasterGeoref) -> None:
    """InputError for coordinates that are no numbers: nothing can be placed by them."""
    points = (number for point in georef.gcps for number in point)
    if not all(map(math.isfinite, (*georef.transform, *points))):
        raise InputError(
            f"{path}: its transform or control points hold values that are no numbers, so its pixels "
            "have no place; set them anew, for example with gdal_edit"
        )


def contradictions(path: Path, driver: str, georef: RasterGeoref, extent: Shape) -> list[str]:
    """A line for each file beside a raster that states another place than the one that GDAL reads, or that
    overrides the raster's own."""
    told = []
    for side in side_files(path):
        beside = path.with_name(side.name)
        if side.ending == ".aux.xml" and driver == "GTiff":
            told += _overridden(path, beside, georef, extent)
        elif side.is_world and not georef.gcps:
            told += _unread_world(beside, georef, extent)
    return told


def _overridden(path: Path, beside: Path, georef: RasterGeoref, extent: Shape) -> list[str]:
    """What an ``.aux.xml`` overrides: GDAL reads it before a GeoTIFF's own keys."""
    with beside.open("rb") as file:
        text = file.read(_MOST_BYTES)  # the place stands before statistics
    if not any(tag in text for tag in _PLACES):
        return []
    with rasterio.open(path.absolute(), GEOREF_SOURCES="INTERNAL", sharing=False) as dataset:
        own = raster_georef(dataset)
    apart = voxel_distance(georef, own, extent)
    told = []
    if own.transform != _IDENTITY and apart > SAME_PLACE:
        told.append(
            f"the transform in {beside.name} is taken, {apart:.3g} pixels from the file's own"
        )
    if own.crs_wkt and not same_crs(own.crs_wkt, georef.crs_wkt):
        names = crs_name(georef.crs_wkt), crs_name(own.crs_wkt)
        told.append(
            f"the CRS in {beside.name} is taken, {names[0]}, not the file's own, {names[1]}"
        )
    if own.gcps and georef.gcps and own.gcps != georef.gcps:
        told.append(f"the control points in {beside.name} are taken, not the file's own")
    return told


def _unread_world(beside: Path, georef: RasterGeoref, extent: Shape) -> list[str]:
    """A world file counts only where nothing else places the raster."""
    stated = _world_transform(beside)
    if stated is None:
        return []
    apart = voxel_distance(georef, replace(georef, transform=stated), extent)
    if apart <= SAME_PLACE:
        return []
    return [
        f"{beside.name} places pixels up to {apart:.3g} pixels from where the raster's keys do: the keys "
        "are taken"
    ]


def _world_transform(path: Path) -> Affine6 | None:
    """The transform of a world file, which tells the centre of the first pixel."""
    try:
        a, d, b, e, x, y = (float(line) for line in path.read_text("ascii").split())
    except (OSError, ValueError):
        return None
    return (a, b, x - (a + b) / 2, d, e, y - (d + e) / 2)


def georef_warnings(georef: RasterGeoref) -> list[str]:
    placed = georef.crs_wkt or georef.gcps or georef.rpcs
    if not placed and georef.transform == _IDENTITY:
        return ["not georeferenced: the product has no place on the ground and no areas"]
    warnings = []
    if not placed:
        warnings.append("a transform without a CRS: the product has no areas")
    elif not georef.crs_wkt:
        warnings.append("placed by control points or RPCs only: the product has no areas")
    elif georef.transform == _IDENTITY:
        warnings.append("a CRS without a transform: the product has no areas")
    a, b, _, d, e, _ = georef.transform
    if a * e - b * d == 0:
        warnings.append("the transform is singular: the product has no areas")
    if b or d:
        warnings.append("the raster is rotated or sheared against its CRS")
    if e > 0 and not (b or d) and georef.crs_wkt:
        warnings.append("rows run northward (south-up)")
    return warnings
