"""The georeference of a Zarr array, by any of the conventions in use: ours, CF, GDAL, GeoZarr, OME."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.georef import (
    SAME_PLACE,
    Georef,
    RasterGeoref,
    VolumeGeoref,
    crs_name,
    georef_from_json,
    voxel_distance,
)
from seg_batch.io.sources.crs import crs_wkt, metres_per_unit, same_crs
from seg_batch.io.sources.formats.zarr.axes import ZarrImage
from seg_batch.io.sources.formats.zarr.cf import cf_statement
from seg_batch.io.sources.formats.zarr.transform import (
    axis_values,
    find_transform,
    ome_steps,
    regular,
    uneven_axes,
)

_MM = {
    "nanometer": 1e-6, "nm": 1e-6, "micrometer": 1e-3, "micron": 1e-3, "um": 1e-3, "µm": 1e-3,
    "millimeter": 1.0, "mm": 1.0, "centimeter": 10.0, "cm": 10.0, "meter": 1e3, "m": 1e3,
    "kilometer": 1e6, "km": 1e6,
    "angstrom": 1e-7, "inch": 25.4,
}  # fmt: skip
_DEGREES = {"lat", "latitude", "lon", "longitude"}


def find_georef(image: ZarrImage) -> tuple[Georef, list[str]]:
    """The georeference of an array, and a line for each assumption and each contradiction.

    InputError where what is stated is no georeference.
    """
    own = image.attributes.get("segbatch")
    if not isinstance(own, dict) or not isinstance(own.get("georef"), dict):
        return _stated(image)
    georef = georef_from_json(own["georef"])
    if (outdated := _outdated(image, own, georef)) is None:
        return georef, []
    stated, told = _stated(image)
    return stated, [f"{outdated}: its attribute segbatch is ignored", *told]


def _stated(image: ZarrImage) -> tuple[Georef, list[str]]:
    """The georeference by the conventions of other programs."""
    return _raster(image) if len(image.axes.spatial) == 2 else _volume(image)


def _outdated(image: ZarrImage, own: dict[str, Any], georef: Georef) -> str | None:
    """Why the place that we once wrote is no longer the array's: other programs keep attributes when they
    crop, move or resample."""
    if own.get("extent") and tuple(own["extent"]) != image.axes.extent:
        return "the array has another extent than when it was written"
    if (georef.kind == "raster") != (len(image.axes.spatial) == 2):
        return "the array has other axes than when it was written"
    if isinstance(georef, VolumeGeoref):
        return _resized(image, georef) if image.ome else None
    stated, _ = _raster(image)
    if stated.transform == RasterGeoref().transform:
        return None
    apart = voxel_distance(georef, stated, image.axes.extent)
    if apart > SAME_PLACE:
        return f"coordinates lie {apart:.3g} pixels from where the array was written"
    if stated.crs_wkt and not same_crs(georef.crs_wkt, stated.crs_wkt):
        return f"the CRS is {crs_name(stated.crs_wkt)} and was {crs_name(georef.crs_wkt)}"
    return None


def _resized(image: ZarrImage, georef: VolumeGeoref) -> str | None:
    """Whether OME states other voxel sizes than those that we wrote; it can't state a rotation."""
    stated, _ = _volume(image)
    larger = np.array(stated.spacing_mm) / georef.spacing_mm
    # Sizes used to be written in millimetres beside the name of another unit.
    known = (larger, larger / georef.unit_mm)
    apart = min((np.abs(ratio - 1) * image.axes.extent).max() for ratio in known)
    if apart <= SAME_PLACE:
        return None
    return f"voxel sizes are {apart:.3g} voxels over the extent from those that were written"


def _raster(image: ZarrImage) -> tuple[RasterGeoref, list[str]]:
    from seg_batch.io.sources.formats.raster_georef import georef_warnings

    # Attributes of the CF grid mapping variable, ``spatial_ref`` by default.
    name = str(image.array.attrs.get("grid_mapping", "spatial_ref")).split(":")[0]
    mapping = _attributes(image, name)
    crs, told = _crs(image, mapping)
    transform, contradictions = find_transform(image, mapping)
    if transform is None:
        transform, crs = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), None
    georef = RasterGeoref(
        crs_wkt=crs_wkt(crs),
        transform=transform,
        metres_per_unit=metres_per_unit(crs),
    )
    units = [] if crs is None else _other_units(image, crs)
    return georef, [*told, *contradictions, *units, *georef_warnings(georef)]


def _other_units(image: ZarrImage, crs: Any) -> list[str]:
    """A line where coordinates state another unit than their CRS."""
    units = {str(_attributes(image, image.axes.name(role)).get("units", "")) for role in "xy"}
    if other := sorted(unit for unit in units if _differs(unit.lower(), crs)):
        return [
            f"coordinates are in {other[0]} and the CRS is not: their numbers are taken in the unit of the "
            "CRS, as rioxarray does"
        ]
    return []


def _differs(unit: str, crs: Any) -> bool:
    """Whether a unit is known, and another than that of the axes of a CRS."""
    length_mm, metres = _unit_mm(unit), metres_per_unit(crs)
    if crs.is_geographic:
        return length_mm is not None
    if metres is None:
        return False
    if length_mm is None:
        return unit.startswith(("deg", "rad", "microrad"))
    return not math.isclose(length_mm / 1000, metres, rel_tol=1e-3)


def _attributes(image: ZarrImage, name: str) -> dict[str, Any]:
    """Attributes of a variable in the group of the array; none where there is no such variable."""
    if image.group is not None and name in image.group:
        return dict(image.group[name].attrs)
    return {}


def _crs(image: ZarrImage, mapping: dict[str, Any]) -> tuple[Any, list[str]]:
    """A rasterio CRS from CF, GDAL's ``_CRS`` or GeoZarr's ``proj:``, or None; and lines."""
    stated = [(name, value) for name, value in _crs_statements(image.attributes, mapping) if value]
    if not stated and (parameters := cf_statement(mapping)):
        stated = [("the grid mapping", parameters)]
    known = [(name, crs) for name, value in stated if (crs := _understood(value)) is not None]
    if known:
        (name, crs), *others = known
        wkts = {other: crs_wkt(each) for other, each in others}
        contradictions = [
            f"{name} and {other} state different CRSs, {crs_name(crs_wkt(crs))} and {crs_name(wkt)}: "
            f"{name} is taken"
            for other, wkt in wkts.items()
            if not same_crs(crs_wkt(crs), wkt)
        ]
        return crs, contradictions[:1]
    if stated or mapping.get("grid_mapping_name"):
        return None, ["its CRS is written in a way that is not understood: no areas"]
    if {image.axes.name("y").lower(), image.axes.name("x").lower()} <= _DEGREES:
        told = "no CRS is stated: latitude and longitude are taken as WGS 84"
        return _understood("EPSG:4326"), [told]
    return None, []


def _understood(statement: Any) -> Any:
    """The CRS of a statement, or None."""
    import rasterio
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        with rasterio.Env():
            crs = CRS.from_user_input(statement)
            return crs if CRS.from_wkt(crs_wkt(crs) or "") else None  # pipelines have no WKT
    except (CRSError, TypeError, ValueError):
        return None


def _crs_statements(
    attributes: dict[str, Any], mapping: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Names and values, in the order in which xarray's rioxarray reads them; GDAL prefers ``_CRS``."""
    yield "spatial_ref", mapping.get("spatial_ref")
    yield "crs_wkt", mapping.get("crs_wkt")
    gdal = attributes.get("_CRS")
    gdal = gdal if isinstance(gdal, dict) else {"wkt": gdal}
    number = re.search(r"EPSG\D+(?:[\d.]+/)?(\d+)$", str(gdal.get("url", "")))
    yield "_CRS", gdal.get("wkt")
    yield "_CRS", f"EPSG:{number[1]}" if number else None
    yield "_CRS", _json(gdal.get("projjson"))
    yield "proj:wkt2", attributes.get("proj:wkt2")
    yield "proj:code", attributes.get("proj:code")
    yield "proj:projjson", _json(attributes.get("proj:projjson"))


def _json(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict) else value


def _volume(image: ZarrImage) -> tuple[VolumeGeoref, list[str]]:
    if image.ome:
        steps, told = ome_steps(image)
    else:
        units = (_attributes(image, image.axes.name(role)).get("units", "") for role in "xyz")
        values = {role: axis_values(image, role) for role in "xyz"}
        each = zip(values.values(), units, strict=True)
        steps = [(regular(axis), str(unit).lower()) for axis, unit in each]
        told = uneven_axes(image, values)
    missing = any(step is None for step, _ in steps)
    affine, assumptions = np.eye(4), list(told)
    for axis, (step, unit) in enumerate(steps):
        if not missing and step is not None:
            affine[axis, axis] = step[1] * (_unit_mm(unit) or 1.0)
            affine[axis, 3] = step[0] * (_unit_mm(unit) or 1.0)
    if missing:
        assumptions.append("not georeferenced: voxels are taken as cubes of 1 mm")
    elif any(_unit_mm(unit) is None for _, unit in steps):
        assumptions.append("units of length are not stated or not known: millimetres are assumed")
    assumptions.append(
        "orientation is not stated: x, y, z are taken to run right, anterior, superior"
    )
    if not np.isfinite(affine).all() or np.linalg.det(affine) == 0:
        raise InputError(
            f"{image.folder}: voxels of size 0 or without a finite place; mend its scale"
        )
    return VolumeGeoref(tuple(map(tuple, affine.tolist()))), assumptions


def _unit_mm(unit: str) -> float | None:
    """Length of a unit in mm, also by its plural and in British spelling; None where it is unknown."""
    american = unit.replace("metre", "meter")
    return _MM.get(american, _MM.get(american.removesuffix("s")))
