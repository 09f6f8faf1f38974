"""``--aoi`` and ``--bbox`` as an ``Area`` of one raster."""

from __future__ import annotations

from typing import Any

import numpy as np

from seg_batch.config.image_options.scene import AreaOptions
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import RasterGeoref
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.vectors.area import Area
from seg_batch.io.vectors.reading import moved, read_features

_DIGITS = 6  # of pixels: what is closer is the same area
_TURN = 360.0


def area_of(options: AreaOptions, info: SourceInfo) -> tuple[Area | None, tuple[str, ...]]:
    """The area of the options on the grid of ``info``, and sentences about it; None: all is wanted. InputError where there
    is no place for it."""
    if options.aoi is None and options.bbox is None:
        if options.crop:
            raise InputError("--crop needs --aoi or --bbox, to which the product is cut: give one")
        return None, ()
    if options.aoi is not None and options.bbox is not None:
        raise InputError("--aoi and --bbox are two areas of which one counts: leave out one")
    named = options.aoi or "--bbox"
    georef, crs = info.georef, _crs(info, named)
    assert isinstance(georef, RasterGeoref)
    geometries, warnings = _geometries(options, crs)
    geometry = _in_pixels(geometries, georef, crs, info)
    area = Area.of(geometry, info.extent)
    if geometry.is_empty or not area.touches(Box.whole(info.extent)):
        raise InputError(
            f"{named}: it holds no pixel of {info.path}: give an area that touches the scene"
        )
    return area, warnings


def _crs(info: SourceInfo, named: str) -> str:
    georef = info.georef
    if not isinstance(georef, RasterGeoref):
        raise InputError(
            f"{info.path} is a volume, which lies on no map: leave out {'--bbox' if named == '--bbox' else '--aoi'}"
        )
    if georef.crs_wkt is None or georef.transform == RasterGeoref().transform:
        raise InputError(
            f"{info.path} has no CRS and transform, so {named} has no place in it: write it with them"
        )
    return georef.crs_wkt


def _geometries(options: AreaOptions, crs: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """In the CRS of the raster."""
    if options.aoi is not None:
        features = read_features(options.aoi, crs)
        return features.geometries, features.warnings
    import shapely

    assert options.bbox is not None
    west, south, east, north = options.bbox
    spans = [(west, east)] if west < east else [(west, 180.0), (-180.0, east)]
    boxes = np.array([shapely.box(a, south, b, north) for a, b in spans if a < b], object)
    return moved("--bbox", boxes, "OGC:CRS84", crs), ()


def _in_pixels(geometries: np.ndarray, georef: RasterGeoref, crs: str, info: SourceInfo) -> Any:
    """One geometry of polygons in pixels, cut to the extent."""
    import shapely
    from rasterio.crs import CRS

    back = np.linalg.inv(georef.matrix)
    turns = (0.0, -_TURN, _TURN) if CRS.from_wkt(crs).is_geographic else (0.0,)
    height, width = info.extent
    parts = []
    for turn in turns:
        pixels = shapely.transform(
            geometries,
            lambda xy, turn=turn: (xy + np.array([turn, 0.0])) @ back[:2, :2].T + back[:2, 2],  # type: ignore[misc]
        )
        if not np.isfinite(shapely.get_coordinates(pixels)).all():
            continue
        parts.append(shapely.clip_by_rect(pixels, -1.0, -1.0, width + 1.0, height + 1.0))
    rounded = shapely.transform(np.concatenate(parts), lambda xy: np.round(xy, _DIGITS))
    pieces = shapely.get_parts(shapely.get_parts(shapely.make_valid(rounded)))
    return shapely.union_all([piece for piece in pieces if piece.geom_type == "Polygon"])
