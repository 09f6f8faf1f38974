"""The place of a map as GeoJSON and as fields of STAC's projection extension."""

from __future__ import annotations

import json
from typing import Any

from seg_batch.core.geometry import Shape
from seg_batch.core.georef import RasterGeoref

Point = tuple[float, float]


def geometry_of(outline: list[Point]) -> dict[str, Any]:
    """The outline as GeoJSON (RFC 7946): counter-clockwise; cut in two where it crosses longitude 180."""
    parts = [ring for ring in _within(outline) if len(ring) > 2]
    rings = [[[*map(list, _turned(ring)), list(_turned(ring)[0])]] for ring in parts]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def bbox_of(outline: list[Point]) -> list[float]:
    """West, south, east, north; west is the larger where the outline crosses longitude 180."""
    lon, lat = zip(*outline, strict=True)
    if max(lon) - min(lon) >= 360:
        return [-180.0, min(lat), 180.0, max(lat)]
    return [_wrapped(min(lon), -180.0), min(lat), _wrapped(max(lon), 180.0), max(lat)]


def _wrapped(lon: float, edge: float) -> float:
    """A longitude from -180 to 180; what lies on the seam is the one that is meant."""
    wrapped = round((lon + 180) % 360 - 180, 6)
    return edge if wrapped == -180 else wrapped


def _turned(ring: list[Point]) -> list[Point]:
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, [*ring[1:], ring[0]], strict=True))
    return ring if area > 0 else ring[::-1]


def _within(outline: list[Point]) -> list[list[Point]]:
    """The parts between -180 and 180, each moved there."""
    west, parts = min(lon for lon, _ in outline), list[list[Point]]()
    turn = 360 * ((west + 180) // 360)
    moved = [(lon - turn, lat) for lon, lat in outline]
    for low in (-180.0, 180.0):
        ring = _cut(_cut(moved, low, 1), low + 360, -1)
        parts.append([(round(lon - low - 180, 6), lat) for lon, lat in ring])
    return parts


def _cut(ring: list[Point], at: float, side: int) -> list[Point]:
    """The part of a ring on one side of a meridian (Sutherland and Hodgman)."""
    kept = list[Point]()
    for a, b in zip(ring, [*ring[1:], *ring[:1]], strict=True):
        inside = [side * (point[0] - at) >= 0 for point in (a, b)]
        if inside[0]:
            kept.append(a)
        if inside[0] != inside[1]:
            share = (at - a[0]) / (b[0] - a[0])
            kept.append((at, round(a[1] + share * (b[1] - a[1]), 6)))
    return kept


def projection(georef: RasterGeoref, extent: Shape) -> dict[str, Any]:
    """``proj:code`` where an authority knows the CRS, else the whole of it."""
    from rasterio.crs import CRS

    fields: dict[str, Any] = {"proj:shape": list(extent)}
    if georef.gcps or not georef.crs_wkt:
        return {"proj:code": None, **fields}
    crs = CRS.from_wkt(georef.crs_wkt)
    known = crs.to_authority(confidence_threshold=100)
    place: dict[str, Any] = {"proj:code": ":".join(known) if known else None}
    if not known:
        place["proj:wkt2"] = georef.crs_wkt
        place["proj:projjson"] = json.loads(json.dumps(crs.to_dict(projjson=True)))
    return {**place, **fields, "proj:transform": [*map(float, georef.transform), 0.0, 0.0, 1.0]}
