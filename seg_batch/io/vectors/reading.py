"""Geometries of a GeoJSON, GeoPackage, FlatGeobuf or GeoParquet file, brought to the CRS of a raster.

Straight lines of one CRS are bent in another: edges get further points before they are moved. The driver is pinned by the first
bytes of a file, as for images.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.files import require_local_input
from seg_batch.core.text import nearest

_PIECES = 64  # into which the longer side of an extent is cut at most, as edges are moved
_HEADS = {
    b"SQLite format 3\0": "GPKG",
    b"fgb\x03": "FlatGeobuf",
    b"PAR1": "Parquet",
}
ENDINGS = (".geojson", ".json", ".gpkg", ".fgb", ".parquet", ".geoparquet")
_WGS84 = "OGC:CRS84"


@dataclass(frozen=True, eq=False)
class Features:
    """``geometries``: shapely geometries ``(n,)`` in the asked CRS, valid and not empty; ``values``: those of the asked fields;
    ``warnings``: one sentence each."""

    path: str
    geometries: np.ndarray
    values: dict[str, np.ndarray]
    warnings: tuple[str, ...] = ()


def read_features(
    path: str | Path,
    crs_wkt: str | None,
    *,
    fields: Sequence[str] = (),
    kinds: Sequence[str] = ("Polygon", "MultiPolygon"),
) -> Features:
    """The features of a file, in the CRS ``crs_wkt``; None: as they are. ``kinds``: the types of geometries that are meant;
    others are refused. ``InputError``, in one line, for a file that can't be read, has no CRS where one is needed, lacks a
    field, or holds nothing."""
    geometries, crs, values = _read(path, fields)
    if not len(geometries):
        raise InputError(f"{path}: it holds no geometry: give a file that does")
    geometries, warnings = _usable(path, geometries, kinds)
    warnings += _other_layers(path)
    if crs_wkt is not None:
        if crs is None:
            raise InputError(
                f"{path}: its geometries have no CRS, so their place is not known: write it with one"
            )
        geometries = moved(path, geometries, crs, crs_wkt)
    return Features(str(path), geometries, values, tuple(warnings))


def field_names(path: str | Path) -> list[str]:
    """The names of the fields of a file, without its geometries; ``InputError`` where it can't be read."""
    require_local_input(path)
    try:
        if _driver(Path(path)) == "Parquet":
            import pyarrow.parquet as parquet

            schema = parquet.read_schema(path)
            facts = json.loads((schema.metadata or {}).get(b"geo", b"{}"))
            return [name for name in schema.names if name not in facts.get("columns", ())]
        import pyogrio

        info = pyogrio.read_info(str(Path(path).absolute()), layer=0)
        return [str(name) for name in info["fields"]]
    except InputError:
        raise
    except Exception as error:  # of libraries that read hostile bytes
        why = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: can't be read ({why}): write it anew") from error


def _read(path: str | Path, fields: Sequence[str]) -> tuple[np.ndarray, str | None, dict[str, Any]]:
    """Geometries, their CRS, and the asked fields."""
    import shapely

    require_local_input(path)
    driver = _driver(Path(path))
    try:
        table, crs, column = _parquet(path) if driver == "Parquet" else _ogr(path)
        wkb = table.column(column).to_numpy(zero_copy_only=False)
        geometries = shapely.from_wkb(wkb)
    except InputError:
        raise
    except Exception as error:  # of libraries that read hostile bytes
        why = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: can't be read as {driver} ({why}): write it anew") from error
    known = [name for name in table.column_names if name != column]
    for name in fields:
        if name not in known:
            raise InputError(f"{path}: there is no field {name!r}; {nearest(name, known)}")
    values = {name: np.array(table.column(name).to_pylist(), object).reshape(-1) for name in fields}
    return np.asarray(geometries, object).reshape(-1), crs, values


def _driver(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); check the path") from error
    for magic, name in _HEADS.items():
        if head.startswith(magic):
            return name
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return "GeoJSON"
    raise InputError(
        f"{path}: no GeoJSON, GeoPackage, FlatGeobuf or GeoParquet by its first bytes: write it as one of these"
    )


def _ogr(path: str | Path) -> tuple[Any, str | None, str]:
    import pyogrio

    facts, table = pyogrio.raw.read_arrow(str(Path(path).absolute()), layer=0)
    return table, facts.get("crs"), facts.get("geometry_name") or "wkb_geometry"


def _other_layers(path: str | Path) -> list[str]:
    """A line where a file has further layers with geometries, which are not read."""
    import pyogrio

    if _driver(Path(path)) != "GPKG":
        return []
    layers = pyogrio.list_layers(str(Path(path).absolute())).tolist()
    others = [name for name, kind in layers[1:] if kind is not None]
    if not others:
        return []
    return [
        f"{path}: its first layer, {layers[0][0]}, is read; {len(others)} more are not ({', '.join(others[:3])}): write the one "
        "that is meant to a file of its own where that is another"
    ]


def _parquet(path: str | Path) -> tuple[Any, str | None, str]:
    import pyarrow.parquet as parquet

    table = parquet.read_table(path)
    facts = json.loads((table.schema.metadata or {}).get(b"geo", b"{}"))
    column = facts.get("primary_column")
    if column not in table.column_names:
        raise InputError(
            f"{path}: a Parquet file without geometries (GeoParquet): write it with them"
        )
    row = facts["columns"][column]
    if row.get("encoding") != "WKB":
        raise InputError(f"{path}: geometries encoded as {row.get('encoding')}: write them as WKB")
    crs = row.get("crs", _WGS84)  # as its standard says
    return table, json.dumps(crs) if isinstance(crs, dict) else crs, column


def _usable(
    path: str | Path, geometries: np.ndarray, kinds: Sequence[str]
) -> tuple[np.ndarray, list[str]]:
    """Made valid, flat, and of these kinds; ``None`` and empty ones stay as empty geometries."""
    import shapely

    geometries = shapely.force_2d(
        np.array([g if g is not None else shapely.Point() for g in geometries])
    )
    empty = shapely.is_empty(geometries)
    if empty.all():
        raise InputError(f"{path}: all of its geometries are empty: give a file that has some")
    if not np.isfinite(shapely.get_coordinates(geometries)).all():
        raise InputError(
            f"{path}: some of its coordinates are no finite numbers, so they have no place: take them out"
        )
    other = sorted({g.geom_type for g in geometries[~empty]} - set(kinds))
    if other:
        raise InputError(
            f"{path}: it holds {other[0]}, where {' or '.join(kinds)} is needed: give a file of those"
        )
    wrong = ~shapely.is_valid(geometries)
    if not wrong.any():
        return geometries, []
    geometries = geometries.copy()
    geometries[wrong] = shapely.make_valid(geometries[wrong])
    return geometries, [
        f"{path}: {int(wrong.sum())} of {len(geometries)} geometries crossed themselves and were made valid"
    ]


def moved(path: str | Path, geometries: np.ndarray, crs: str, wanted: str) -> np.ndarray:
    """Geometries in another CRS; edges get points in between first. ``path``: what an InputError names."""
    import shapely
    from rasterio._err import (
        CPLE_BaseError,
    )  # what PROJ refuses comes as one, and is no RasterioError
    from rasterio.crs import CRS
    from rasterio.errors import CRSError, RasterioError
    from rasterio.warp import transform

    from seg_batch.io.sources.crs import same_crs

    try:
        here, there = CRS.from_user_input(crs), CRS.from_wkt(wanted)
        if same_crs(here.to_wkt(), wanted):
            return geometries
        west, south, east, north = shapely.total_bounds(geometries)
        step = max(east - west, north - south) / _PIECES
        pieces = shapely.segmentize(geometries, step) if step > 0 else geometries
        moved = shapely.transform(
            pieces, lambda xy: np.array(transform(here, there, xy[:, 0], xy[:, 1])[:2]).T
        )
    except (CRSError, RasterioError, CPLE_BaseError, ValueError) as error:
        raise InputError(
            f"{path}: can't be brought to the CRS of the raster ({' '.join(str(error).split())[:120]}): check that its "
            "coordinates are in the CRS that it names (GeoJSON without one: degrees), or write it in that of the raster"
        ) from error
    finite = np.isfinite(shapely.get_coordinates(moved)).all()
    if not finite:
        raise InputError(
            f"{path}: part of it has no place in the CRS of the raster: cut it to the region first"
        )
    wrong = ~shapely.is_valid(moved)
    moved[wrong] = shapely.make_valid(moved[wrong])
    return np.asarray(moved, object)
