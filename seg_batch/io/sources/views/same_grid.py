"""The differences between the grids of two images, in words."""

from __future__ import annotations

from seg_batch.core.georef import (
    SAME_PLACE,
    Georef,
    RasterGeoref,
    VolumeGeoref,
    affine_difference,
    crs_name,
    georef_differences,
    voxel_distance,
)
from seg_batch.io.sources.protocol import SourceInfo


def grid_differences(a: SourceInfo, b: SourceInfo) -> list[str]:
    """Differences in extent, orientation and the places of voxels, one phrase each; empty when
    both lie on one grid: no corner is further from the other's than a hundredth of a voxel. The encoding
    in a header (codes, tie points, names of a CRS) does not count."""
    if a.kind != b.kind:
        return [f"kind: {a.kind} against {b.kind}"]
    differences = [] if a.extent == b.extent else [f"extent {a.extent} against {b.extent}"]
    letters = [orientation(info.georef) for info in (a, b)]
    if letters[0] != letters[1]:
        differences.append(f"orientation {letters[0]} against {letters[1]}")
    crs = _crs_differences(a.georef, b.georef)
    if not crs and (apart := voxel_distance(a.georef, b.georef, a.extent)) > SAME_PLACE:
        differences.append(f"corners up to {apart:.3g} voxels apart")
    return differences + crs


def stack_differences(a: SourceInfo, b: SourceInfo) -> list[str]:
    """The same for two files of one image, whose affines must be equal, too: within a millionth of a pixel,
    or a ten-thousandth of a millimetre."""
    differences = grid_differences(a, b)
    if differences:
        return differences
    limit, unit = (1e-6, "pixels") if isinstance(a.georef, RasterGeoref) else (1e-4, "mm")
    apart = affine_difference(a.georef, b.georef)
    return (
        [f"affines differ by {apart:.3g} {unit}, at most {limit:g} is none"]
        if apart > limit
        else []
    )


def _crs_differences(a: Georef, b: Georef) -> list[str]:
    """Coordinates in two CRSs have no distance."""
    if not (isinstance(a, RasterGeoref) and isinstance(b, RasterGeoref)):
        return []
    from seg_batch.io.sources.crs import same_crs  # with GDAL, of which volumes have no need

    if not same_crs(a.crs_wkt, b.crs_wkt):
        return [f"crs: {crs_name(a.crs_wkt)} against {crs_name(b.crs_wkt)}"]
    points_differ = a.gcps and b.gcps and _points_differ(a, b)
    return ["control points: other places"] if points_differ else []


def _points_differ(a: RasterGeoref, b: RasterGeoref) -> bool:
    from seg_batch.io.sources.crs import same_crs

    phrases = georef_differences(a, b)
    return any(p.startswith("gcps:") for p in phrases) or not same_crs(
        a.gcps_crs_wkt, b.gcps_crs_wkt
    )


def orientation(georef: Georef) -> str:
    """The directions in which the axes of a volume run (``RAS``); empty for a raster."""
    if not isinstance(georef, VolumeGeoref):
        return ""
    from nibabel.orientations import aff2axcodes

    return "".join(letter or "?" for letter in aff2axcodes(georef.matrix))
