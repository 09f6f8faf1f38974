"""The georeference of a Zarr array, by any of the conventions in use: ours, CF, GDAL, GeoZarr, OME."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.georef import Affine6, Georef, RasterGeoref, VolumeGeoref, georef_from_json
from seg_batch.io.sources.formats.zarr_axes import ZarrImage

_MM = {
    "nanometer": 1e-6, "nm": 1e-6, "micrometer": 1e-3, "micron": 1e-3, "um": 1e-3, "µm": 1e-3,
    "millimeter": 1.0, "mm": 1.0, "centimeter": 10.0, "cm": 10.0, "meter": 1e3, "m": 1e3,
    "angstrom": 1e-7, "inch": 25.4,
}  # fmt: skip
_DEGREES = {"lat", "latitude", "lon", "longitude"}


def find_georef(image: ZarrImage) -> tuple[Georef, list[str]]:
    """The georeference of an array, and a warning for each assumption."""
    own = image.attributes.get("segbatch")
    if isinstance(own, dict) and isinstance(own.get("georef"), dict):
        return georef_from_json(own["georef"]), []
    return _raster(image) if len(image.axes.spatial) == 2 else _volume(image)


def _raster(image: ZarrImage) -> tuple[RasterGeoref, list[str]]:
    from seg_batch.io.sources.crs import crs_wkt, metres_per_unit
    from seg_batch.io.sources.formats.raster_georef import georef_warnings

    # Attributes of the CF grid mapping variable, ``spatial_ref`` by default.
    name = str(image.array.attrs.get("grid_mapping", "spatial_ref")).split(":")[0]
    mapping = _attributes(image, name)
    crs, assumptions = _crs(image, mapping)
    transform = _transform(image, mapping)
    if transform is None:
        transform, crs = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), None
    georef = RasterGeoref(
        crs_wkt=crs_wkt(crs),
        transform=transform,
        metres_per_unit=metres_per_unit(crs),
    )
    return georef, assumptions + georef_warnings(georef)


def _attributes(image: ZarrImage, name: str) -> dict[str, Any]:
    """Attributes of a variable in the group of the array; none where there is no such variable."""
    if image.group is not None and name in image.group:
        return dict(image.group[name].attrs)
    return {}


def _crs(image: ZarrImage, mapping: dict[str, Any]) -> tuple[Any, list[str]]:
    """A rasterio CRS from CF, GDAL's ``_CRS`` or GeoZarr's ``proj:``; or None."""
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    stated = [s for s in _crs_statements(image.attributes, mapping) if s]
    for statement in stated:
        try:
            return CRS.from_user_input(statement), []
        except (CRSError, TypeError, ValueError):
            continue
    if stated or mapping.get("grid_mapping_name"):
        return None, ["its CRS is written in a way that is not understood: no areas"]
    if {image.axes.name("y").lower(), image.axes.name("x").lower()} <= _DEGREES:
        return CRS.from_epsg(4326), ["no CRS is stated: latitude and longitude are taken as WGS 84"]
    return None, []


def _crs_statements(attributes: dict[str, Any], mapping: dict[str, Any]) -> list[Any]:
    gdal = attributes.get("_CRS")
    gdal = gdal if isinstance(gdal, dict) else {"wkt": gdal}
    number = re.search(r"EPSG\D+(?:[\d.]+/)?(\d+)$", str(gdal.get("url", "")))
    projjson = gdal.get("projjson") or attributes.get("proj:projjson")
    return [
        mapping.get("crs_wkt"),
        mapping.get("spatial_ref"),
        gdal.get("wkt"),
        f"EPSG:{number[1]}" if number else None,
        attributes.get("proj:wkt2"),
        attributes.get("proj:code"),
        json.dumps(projjson) if isinstance(projjson, dict) else projjson,
    ]


def _transform(image: ZarrImage, mapping: dict[str, Any]) -> Affine6 | None:
    """GDAL's order is ``c a b f d e``; GeoZarr's is ours; else from coordinate arrays."""
    if gdal := _numbers(mapping.get("GeoTransform")):
        c, a, b, f, d, e = gdal
        return (a, b, c, d, e, f)
    if geozarr := _numbers(image.attributes.get("spatial:transform")):
        return tuple(geozarr)  # type: ignore[return-value]
    x, y = (_regular(image, role) for role in "xy")
    if x is None or y is None:
        return None
    return (x[1], 0.0, x[0] - x[1] / 2, 0.0, y[1], y[0] - y[1] / 2)


def _numbers(value: Any) -> list[float] | None:
    """Six finite numbers from a list or from text, else None."""
    try:
        numbers = [float(v) for v in (value.split() if isinstance(value, str) else value or ())]
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == 6 and np.isfinite(numbers).all() else None


def _regular(image: ZarrImage, role: str) -> tuple[float, float] | None:
    """``first, step`` of an axis's coordinates (voxel centres), or None if absent or uneven."""
    values = coordinates(image, role)
    if values is None or values.dtype.kind not in "iuf" or len(values) < 2:
        return None
    values = values.astype(np.float64)
    step = (values[-1] - values[0]) / (len(values) - 1)
    even = values[0] + step * np.arange(len(values))
    if step == 0 or not np.abs(values - even).max() <= 1e-3 * abs(step):
        return None
    return float(values[0]), float(step)


def coordinates(image: ZarrImage, role: str) -> np.ndarray | None:
    """The coordinate array of an axis: of its name, in the group, and as long as the axis."""
    name = image.axes.name(role)
    if image.group is None or role not in image.axes.roles or name not in image.group:
        return None
    array = image.group[name]
    if getattr(array, "shape", None) != (image.axes.length(role),):
        return None
    return np.asarray(array[:])


def _volume(image: ZarrImage) -> tuple[VolumeGeoref, list[str]]:
    if image.ome:
        steps = _ome_steps(image)
    else:
        units = (_attributes(image, image.axes.name(role)).get("units", "") for role in "xyz")
        steps = [(_regular(image, r), str(u).lower()) for r, u in zip("xyz", units, strict=True)]
    missing = any(step is None for step, _ in steps)
    affine, assumptions = np.eye(4), []
    for axis, (step, unit) in enumerate(steps):
        if not missing and step is not None:
            affine[axis, axis] = step[1] * _MM.get(unit, 1.0)
            affine[axis, 3] = step[0] * _MM.get(unit, 1.0)
    if missing:
        assumptions.append("not georeferenced: voxels are taken as cubes of 1 mm")
    elif any(unit not in _MM for _, unit in steps):
        assumptions.append("units of length are not stated or not known: millimetres are assumed")
    assumptions.append(
        "orientation is not stated: x, y, z are taken to run right, anterior, superior"
    )
    if not np.isfinite(affine).all() or np.linalg.det(affine) == 0:
        raise InputError(
            f"{image.folder}: voxels of size 0 or without a finite place; mend its scale"
        )
    return VolumeGeoref(tuple(map(tuple, affine.tolist()))), assumptions


def _ome_steps(image: ZarrImage) -> list[tuple[tuple[float, float] | None, str]]:
    """``(translation, scale)`` and unit along x, y, z: the array's own, then the image's."""
    rank = image.array.ndim
    scale, shift = np.ones(rank), np.zeros(rank)
    lists = (image.ome["datasets"][0], image.ome)
    for change in (c for part in lists for c in part.get("coordinateTransformations", [])):
        if len(change.get("scale", ())) == rank:
            scale, shift = scale * change["scale"], shift * change["scale"]
        if len(change.get("translation", ())) == rank:
            shift = shift + change["translation"]
    units = [str(axis.get("unit", "")).lower() for axis in image.ome.get("axes", [])]
    at = [image.axes.roles.index(role) for role in "xyz"]
    return [((float(shift[i]), float(scale[i])), units[i] if i < len(units) else "") for i in at]
