"""The georeference of a raster, as GDAL tells it, and what is odd about it."""

from __future__ import annotations

from typing import Any

import rasterio

from seg_batch.core.georef import RasterGeoref
from seg_batch.io.sources.crs import WHOLE_CRS, crs_wkt, metres_per_unit, whole_crs

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def raster_georef(dataset: Any) -> RasterGeoref:
    """The georeference of an open rasterio dataset; for inputs and for products that are read back."""
    gcps, gcps_crs = dataset.gcps
    with rasterio.Env(**WHOLE_CRS):
        crs = whole_crs(dataset.crs, dataset.read_crs())
        gcps_crs = whole_crs(gcps_crs, dataset.get_gcps()[1])
    rpcs = dataset.rpcs.to_gdal() if dataset.rpcs else {}
    return RasterGeoref(
        crs_wkt=crs_wkt(crs),
        transform=tuple(float(v) for v in dataset.transform[:6]),  # type: ignore[arg-type]
        metres_per_unit=metres_per_unit(crs),
        pixel_is_point=dataset.tags().get("AREA_OR_POINT", "").lower() == "point",
        gcps=tuple((g.row, g.col, g.x, g.y, g.z or 0.0) for g in gcps),
        gcps_crs_wkt=crs_wkt(gcps_crs),
        rpcs=tuple(sorted((key, str(value)) for key, value in rpcs.items())),
    )


def georef_warnings(georef: RasterGeoref) -> list[str]:
    placed = georef.crs_wkt or georef.gcps or georef.rpcs
    if not placed and georef.transform == _IDENTITY:
        return ["not georeferenced: the product has no place on the ground and no areas"]
    warnings = []
    if not placed:
        warnings.append("a transform without a CRS: the product has no areas")
    elif not georef.crs_wkt:
        warnings.append("placed by control points or RPCs only: the product has no areas")
    a, b, _, d, e, _ = georef.transform
    if a * e - b * d == 0:
        warnings.append("the transform is singular: the product has no areas")
    if b or d:
        warnings.append("the raster is rotated or sheared against its CRS")
    if e > 0 and not (b or d) and georef.crs_wkt:
        warnings.append("rows run northward (south-up)")
    if "Pseudo-Mercator" in (georef.crs_wkt or "") or "Mercator_1SP" in (georef.crs_wkt or ""):
        warnings.append("Mercator coordinates stretch areas with latitude: hectares are too large")
    return warnings
