"""The body that a CRS places things on, and areas of its surface in square metres.

Between two latitudes a zone has a closed form. In the plane of a projected CRS an area is multiplied by::

    scale(X, Y) = |p2 - p0| x |p3 - p1| / 2 / side^2      p: the corners of a square of about a kilometre around
                                                          X, Y, on the ellipsoid, as points in space

which is smooth, has no trouble with poles and the ends of longitude, and needs no shift of a datum.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

_DEGREES = {
    "subtype": "ellipsoidal",
    "axis": [
        {"name": "Longitude", "abbreviation": "lon", "direction": "east", "unit": "degree"},
        {"name": "Latitude", "abbreviation": "lat", "direction": "north", "unit": "degree"},
    ],
}


@dataclass(frozen=True)
class Ellipsoid:
    """The body of a CRS: half axes in metres. ``plane``: the CRS without heights and shifts of its datum;
    ``degrees``: its longitudes and latitudes. ``radians``: of one unit of a CRS that has longitudes and
    latitudes itself, else None; ``unit_m``: length of one unit, of an angle on the equator."""

    a: float
    b: float
    plane: Any
    degrees: Any
    radians: float | None
    unit_m: float

    def zone(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Square metres between two latitudes, in radians, per radian of longitude; what lies beyond a
        pole is nowhere."""
        low, high = (np.sin(np.clip(side, -math.pi / 2, math.pi / 2)) for side in (low, high))
        return np.asarray(self.b**2 / 2 * np.abs(self._q(high) - self._q(low)))

    def at_latitude(self, lat: np.ndarray) -> np.ndarray:
        """Square metres per square radian of longitude and latitude."""
        e2 = 1 - (self.b / self.a) ** 2
        flat = self.b**2 * np.cos(lat) / (1 - e2 * np.sin(lat) ** 2) ** 2
        return np.maximum(flat, 0.0)

    def _q(self, sine: np.ndarray) -> np.ndarray:
        e2 = max(0.0, 1 - (self.b / self.a) ** 2)
        e = math.sqrt(e2)
        bent = np.arctanh(e * sine) / e if e > 1e-9 else sine
        return np.asarray(sine / (1 - e2 * sine**2) + bent)

    def scale(self, x: np.ndarray, y: np.ndarray, side: float) -> np.ndarray:
        """Square metres per square unit of the plane around ``x, y``, over a square of ``side`` units; NaN
        where there is no place on the body."""
        half = side / 2
        corners = [
            self.in_space(x + dx, y + dy)
            for dx, dy in ((-half, -half), (half, -half), (half, half), (-half, half))
        ]
        across = np.cross(corners[2] - corners[0], corners[3] - corners[1])
        return np.asarray(np.linalg.norm(across, axis=-1) / 2 / side**2)

    def in_space(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Metres ``(n, 3)`` from the middle of the body; NaN where points have no place."""
        lon, lat = np.radians(_moved(self.plane, self.degrees, x, y))
        e2 = 1 - (self.b / self.a) ** 2
        n = self.a / np.sqrt(1 - e2 * np.sin(lat) ** 2)
        flat = n * np.cos(lat)
        return np.stack(
            [flat * np.cos(lon), flat * np.sin(lon), n * (1 - e2) * np.sin(lat)], axis=-1
        )


def _moved(plane: Any, degrees: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Points in another CRS, ``(2, n)``, NaN where they have no place in it: one such point fails the
    others of its call, so that those are tried by halves."""
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import CRSError, RasterioError
    from rasterio.warp import transform

    try:
        moved = np.array(transform(plane, degrees, x, y), np.float64)
    except (RasterioError, CRSError, CPLE_BaseError):
        if len(x) == 1:
            return np.full((2, 1), np.nan)
        half = len(x) // 2
        parts = [slice(None, half), slice(half, None)]
        return np.concatenate([_moved(plane, degrees, x[p], y[p]) for p in parts], axis=1)
    return np.where(np.isfinite(moved).all(0), moved, np.nan)


@lru_cache(64)
def ellipsoid_of(crs_wkt: str) -> Ellipsoid | None:
    """The body of a CRS; None for one that is not of the earth or another body, but of a building site."""
    from rasterio._err import CPLE_BaseError  # with GDAL, of which volumes have no need
    from rasterio.crs import CRS
    from rasterio.errors import CRSError, RasterioError

    try:
        crs = CRS.from_wkt(crs_wkt)
        whole = crs.to_dict(projjson=True)
        flat = _without(whole, "components", "source_crs")
        base = _without(flat, "base_crs")
        body = (base.get("datum") or base.get("datum_ensemble") or {}).get("ellipsoid")
        if body is None or not (crs.is_projected or crs.is_geographic):
            return None
        plane = crs if flat is whole else CRS.from_user_input(json.dumps(flat))
        named = {key: value for key, value in base.items() if key != "id"}
        degrees = CRS.from_user_input(json.dumps({**named, "coordinate_system": _DEGREES}))
        factor = float(crs.units_factor[1])
    except (CRSError, RasterioError, CPLE_BaseError, ValueError, KeyError):
        return None
    a, b = _axes(body)
    radians = factor if flat is base and crs.is_geographic else None
    return Ellipsoid(a, b, plane, degrees, radians, factor * (a if crs.is_geographic else 1.0))


def _without(crs: dict[str, Any], *wrappings: str) -> dict[str, Any]:
    """The CRS within: the horizontal part, the one without a shift, or the one that it is made from."""
    for key in wrappings:
        if key in crs:
            inner = crs[key][0] if isinstance(crs[key], list) else crs[key]
            return _without(inner, *wrappings)
    return crs


def _axes(body: dict[str, Any]) -> tuple[float, float]:
    a = _metres(body.get("semi_major_axis", body.get("radius")))
    if "semi_minor_axis" in body:
        return a, _metres(body["semi_minor_axis"])
    flattening = body.get("inverse_flattening")
    return a, a * (1 - 1 / flattening) if flattening else a


def _metres(length: Any) -> float:
    """A length in PROJJSON, which has a unit where that is not the metre."""
    if isinstance(length, dict):
        unit = length.get("unit", "metre")
        return float(length["value"]) * (
            unit["conversion_factor"] if isinstance(unit, dict) else 1.0
        )
    return float(length)
