"""Features on the pixels of a raster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.georef import Georef, RasterGeoref
from seg_batch.io.vectors.reading import Features, read_features


def features_on(
    path: str | Path,
    georef: Georef,
    *,
    fields: Sequence[str] = (),
    kinds: Sequence[str] = ("Polygon", "MultiPolygon"),
) -> Features:
    """The features of a file in pixels of a raster with a place (``require_place``), ``x`` to the right and ``y`` down from its
    corner."""
    import shapely

    assert isinstance(georef, RasterGeoref)
    features = read_features(path, georef.crs_wkt, fields=fields, kinds=kinds)
    back = np.linalg.inv(georef.matrix)

    def pixels(xy: np.ndarray) -> np.ndarray:
        return np.asarray(xy @ back[:2, :2].T + back[:2, 2])

    moved = shapely.transform(features.geometries, pixels)
    return Features(features.path, np.asarray(moved, object), features.values, features.warnings)


def require_place(georef: Georef, called: str, path: str | Path) -> None:
    """InputError unless the features of ``path`` can have a place on a raster, which is ``called`` so."""
    if isinstance(georef, RasterGeoref) and georef.crs_wkt:
        a, b, _, d, e, _ = georef.transform
        if georef.transform != RasterGeoref().transform and a * e - b * d:
            return
    raise InputError(
        f"{called} has no CRS or no transform, so {path} has no place on it: give it both (gdal_edit.py -a_srs, -a_ullr)"
    )


def text_of(value: Any) -> str:
    """A value of a field as text: ``3`` for 3.0; empty for none."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
