"""Georeferencing: where voxels lie in the world. An output has the geometry of its input (law 7).

Frozen values that need no library, with JSON in and out, so that plans, stores and reports can hold
them, and ``differences`` can compare two of them in words.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

M2_PER_HA, MM3_PER_ML = 10_000, 1000
SAME_PLACE = 0.01  # voxels by which two statements of one place may differ

Affine6 = tuple[float, float, float, float, float, float]
Affine16 = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class RasterGeoref:
    """The georeference of a raster: CRS as WKT (None: not georeferenced) and the affine transform.

    ``(X, Y) = (a x + b y + c, d x + e y + f)`` for the outer corner of pixel ``x, y``. Ground
    control points ``(row, col, X, Y, Z)`` and RPCs replace a missing transform.
    """

    crs_wkt: str | None = None
    transform: Affine6 = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    metres_per_unit: float | None = None
    pixel_is_point: bool = False
    gcps: tuple[tuple[float, float, float, float, float], ...] = ()
    gcps_crs_wkt: str | None = None
    rpcs: tuple[tuple[str, str], ...] = ()
    kind: str = "raster"

    @property
    def matrix(self) -> np.ndarray:
        """The transform as 3 x 3, of homogeneous ``x, y``."""
        return np.array([self.transform[:3], self.transform[3:], (0, 0, 1)], np.float64)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Pixel size along ``y, x`` in the unit of the CRS."""
        a, b, _, d, e, _ = self.transform
        return math.hypot(b, e), math.hypot(a, d)

    @property
    def pixel_m2(self) -> float | None:
        """Area of one pixel in square metres; None where the CRS has no length unit."""
        if self.metres_per_unit is None:
            return None
        a, b, _, d, e, _ = self.transform
        return abs(a * e - b * d) * self.metres_per_unit**2


@dataclass(frozen=True)
class VolumeGeoref:
    """The georeference of a volume: the voxel-to-world affine in the file's ``i, j, k`` order, RAS+, mm.

    ``sform`` and ``qform`` are kept with their codes; ``affine`` is the valid one (sform if its code
    > 0, else qform, else the header's fallback).
    """

    affine: Affine16
    sform: Affine16 | None = None
    sform_code: int = 0
    qform: Affine16 | None = None
    qform_code: int = 0
    units: str = "mm"
    kind: str = "volume"

    @property
    def matrix(self) -> np.ndarray:
        return np.array(self.affine, np.float64)

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Voxel size along ``z, y, x`` (the file's ``k, j, i``), in mm."""
        return tuple(size * self.unit_mm for size in self.spacing)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size along ``z, y, x`` in the file's own ``units``."""
        sizes = np.sqrt((self.matrix[:3, :3] ** 2).sum(0))
        return tuple(float(s) for s in sizes[::-1])

    @property
    def voxel_mm3(self) -> float:
        return float(abs(np.linalg.det(self.matrix[:3, :3])) * self.unit_mm**3)

    def uncoded(self) -> VolumeGeoref:
        """The affine alone, in mm: what formats hold that know neither sform nor qform."""
        matrix = self.matrix
        matrix[:3] *= self.unit_mm
        return VolumeGeoref(tuple(map(tuple, (matrix + 0.0).tolist())))

    @property
    def tilt_deg(self) -> float:
        """Angle between the last axis and the normal of the planes across it; 0 unless the affine is sheared. Of CT it is
        the tilt of the gantry."""
        i, j, k = self.matrix[:3, :3].T
        normal = np.cross(i, j)
        across = float(np.linalg.norm(np.cross(normal, k)))
        return math.degrees(math.atan2(across, abs(float(normal @ k))))

    @property
    def unit_mm(self) -> float:
        """Length of one unit of the affine; an unknown unit is taken for mm, as is usual."""
        return {"meter": 1000.0, "micron": 0.001}.get(self.units, 1.0)


Georef = RasterGeoref | VolumeGeoref


def crs_name(wkt: str | None) -> str:
    """The name of a CRS, whose text fills a page; of one without a name, its method as well."""
    name = wkt.split('"')[1] if wkt and '"' in wkt else "none"
    method = re.search(r'(?:METHOD|PROJECTION)\["([^"]+)"', wkt or "")
    return f"{name} ({method[1]})" if method and name in ("unknown", "unnamed") else name


def georef_to_json(georef: Georef) -> dict[str, Any]:
    return asdict(georef)


def refined(georef: Georef, factors: tuple[float, ...]) -> Georef:
    """The georeference of a grid with ``factors`` voxels for each voxel, along ``(z,) y, x``; below 1 it is coarser.

    The outer corners keep their place: ``T' = T * scale(1 / f)`` for a transform, which maps corners;
    ``A' = A * S`` with ``S(v) = (v + 1/2) / f - 1/2`` for an affine, which maps centres.
    """
    if isinstance(georef, VolumeGeoref):
        return _refined_volume(georef, factors)
    fy, fx = factors
    a, b, c, d, e, f = georef.transform
    pixels_only = georef.crs_wkt is None and georef.transform == RasterGeoref().transform
    unplaced = georef.gcps or pixels_only  # the transform is a placeholder
    return replace(
        georef,
        transform=georef.transform if unplaced else (a / fx, b / fy, c, d / fx, e / fy, f),
        gcps=tuple((row * fy, col * fx, x, y, z) for row, col, x, y, z in georef.gcps),
        rpcs=tuple((key, _refined_rpc(key, text, fy, fx)) for key, text in georef.rpcs),
    )


def shifted(georef: Georef, start: tuple[int, ...]) -> Georef:
    """The georeference of a part of a grid that begins at voxel ``start``, along ``(z,) y, x``."""
    if isinstance(georef, VolumeGeoref):
        change = np.eye(4)
        change[:3, 3] = start[::-1]

        def moved(matrix: Affine16 | None) -> Affine16 | None:
            return None if matrix is None else _tuples((np.array(matrix) @ change).tolist())

        affine = moved(georef.affine) or georef.affine
        return replace(georef, affine=affine, sform=moved(georef.sform), qform=moved(georef.qform))
    (y, x), (a, b, c, d, e, f) = start, georef.transform
    moves = {"LINE_OFF": y, "SAMP_OFF": x}
    return replace(
        georef,
        transform=(a, b, c + a * x + b * y, d, e, f + d * x + e * y),
        gcps=tuple((row - y, col - x, px, py, pz) for row, col, px, py, pz in georef.gcps),
        rpcs=tuple((k, str(float(v) - moves[k]) if k in moves else v) for k, v in georef.rpcs),
    )


def _refined_rpc(key: str, text: str, fy: float, fx: float) -> str:
    """RPCs count from the centre of the first pixel."""
    axis, _, name = key.partition("_")
    f = {"LINE": fy, "SAMP": fx}.get(axis)
    if f is None or name not in ("OFF", "SCALE"):
        return text
    value = float(text)
    return str((value + 0.5) * f - 0.5 if name == "OFF" else value * f)


def _refined_volume(georef: VolumeGeoref, factors: tuple[float, ...]) -> VolumeGeoref:
    steps = 1 / np.array(factors[::-1], np.float64)
    change = np.diag([*steps, 1.0])
    change[:3, 3] = steps / 2 - 0.5

    def moved(matrix: Affine16 | None) -> Affine16 | None:
        return None if matrix is None else _tuples((np.array(matrix) @ change).tolist())

    affine = moved(georef.affine) or georef.affine
    return replace(georef, affine=affine, sform=moved(georef.sform), qform=moved(georef.qform))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def georef_from_json(data: dict[str, Any]) -> Georef:
    kind = VolumeGeoref if data.get("kind") == "volume" else RasterGeoref
    return kind(**{key: _tuples(value) for key, value in data.items()})


def voxel_distance(a: Georef, b: Georef, extent: Sequence[int]) -> float:
    """The largest distance of a corner of ``extent`` between two places of one grid, in voxels of ``a``.

    Infinite where the transform of ``a`` can't be inverted and that of ``b`` is another. Which CRS it is
    does not count; units of volumes do.
    """
    here, there = _world(a), _world(b)
    if np.array_equal(here, there):
        return 0.0
    low = -0.5 if isinstance(a, VolumeGeoref) else 0.0  # an affine maps centres
    ends = ((low, n + low) for n in reversed(extent))
    corners = np.array([*itertools.product(*ends, (1.0,))])
    try:
        apart = np.linalg.solve(here[:-1, :-1], ((there - here) @ corners.T)[:-1])
    except np.linalg.LinAlgError:
        return math.inf
    most = float(np.linalg.norm(apart, axis=0).max())
    return most if math.isfinite(most) else math.inf


def affine_difference(a: Georef, b: Georef) -> float:
    """The largest difference between two numbers of the transforms: of rasters in pixels of ``a``, of
    volumes in mm."""
    apart = float(np.abs(_world(a) - _world(b)).max())
    if apart == 0 or isinstance(a, VolumeGeoref):
        return apart
    size = min(a.spacing)
    return apart / size if size > 0 else math.inf


def _world(georef: Georef) -> np.ndarray:
    """The matrix of a georeference; of a volume in mm, whatever its unit."""
    if isinstance(georef, RasterGeoref):
        return georef.matrix
    return np.diag([*3 * [georef.unit_mm], 1.0]) @ georef.matrix


def _unit(georef: Georef) -> float:
    """The largest number in the linear part of the transform: about the size of a voxel."""
    if isinstance(georef, VolumeGeoref):
        return float(np.abs(georef.matrix[:3, :3]).max())
    a, b, _, d, e, _ = georef.transform
    return max(map(abs, (a, b, d, e)))


def _same(a: Any, b: Any, tolerance: float, unit: float) -> bool:
    if isinstance(a, float | int) and isinstance(b, float | int):
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance * unit)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(
            _same(x, y, tolerance, unit) for x, y in zip(a, b, strict=True)
        )
    return bool(a == b)


def georef_differences(expected: Georef, actual: Georef, tolerance: float = 1e-9) -> list[str]:
    """The differences of two georeferences, one phrase each.

    Numbers agree within the relative ``tolerance``, or near zero within ``tolerance`` times the size of
    a voxel: an absolute limit would be half a pixel over a scene in degrees.
    """
    if type(expected) is not type(actual):
        return [f"kind: {expected.kind} became {actual.kind}"]
    before, after, unit = georef_to_json(expected), georef_to_json(actual), _unit(expected)
    return [
        f"{key}: {before[key]} became {after[key]}"
        for key in before
        if not _same(_tuples(before[key]), _tuples(after[key]), tolerance, unit)
    ]
