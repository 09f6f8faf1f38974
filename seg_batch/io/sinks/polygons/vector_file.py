"""Records of polygons become a file, in bounded memory, and are read back from it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seg_batch.core.errors import OutputError
from seg_batch.io.sinks.polygons.records import GEOMETRY, Records

Driver = Literal["GPKG", "FlatGeobuf", "Parquet"]
LAYER = "polygons"
_ROW_GROUP_BYTES = 32 << 20
# Nothing of the hour is written, and the index of a GeoPackage is made in one thread: the same bytes each time.
_SAME_BYTES = {
    "OGR_CURRENT_DATE": "1970-01-01T00:00:00.000Z",
    "OGR_GPKG_ALLOW_THREADED_RTREE": "NO",
}
# The index of a FlatGeobuf is made in memory, 230 bytes for each polygon, and puts them into another order.
_OPTIONS: dict[str, dict[str, str]] = {
    "GPKG": {"SPATIAL_INDEX": "YES", "VERSION": "1.2"},
    "FlatGeobuf": {"SPATIAL_INDEX": "NO"},
}


def write_records(part: Path, driver: Driver, records: Records, crs_wkt: str | None) -> None:
    """OutputError, or what stopped the records."""
    try:
        if driver == "Parquet":
            _write_parquet(part, records, crs_wkt)
        else:
            _write_ogr(part, driver, records, crs_wkt)
    except Exception as error:
        if records.error is not None:
            raise records.error from None
        if isinstance(error, OSError):
            raise
        why = " ".join(str(error).split())[:200]
        raise OutputError(
            f"{part.name} can't be written as {driver} ({why}): check the disk, or use another ending"
        ) from error
    if records.error is not None:
        raise records.error


def _write_ogr(part: Path, driver: Driver, records: Records, crs_wkt: str | None) -> None:
    import pyarrow as pa
    from pyogrio.raw import write_arrow

    reader = pa.RecordBatchReader.from_batches(records.schema, iter(records))
    with _same_bytes(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a raster without CRS
        write_arrow(
            reader,
            part,
            layer=LAYER,
            driver=driver,
            geometry_name=GEOMETRY,
            geometry_type="Polygon",
            crs=crs_wkt,
            **_OPTIONS[driver],
        )


@contextmanager
def _same_bytes() -> Iterator[None]:
    import pyogrio

    before = {name: pyogrio.get_gdal_config_option(name) for name in _SAME_BYTES}
    pyogrio.set_gdal_config_options(_SAME_BYTES)
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(before)


def _write_parquet(part: Path, records: Records, crs_wkt: str | None) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])
    with pq.ParquetWriter(part, records.schema, compression="zstd") as writer:
        held: list[Any] = []
        for record in records:
            _widen(bounds, record)
            held.append(record)
            if sum(each.nbytes for each in held) >= _ROW_GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(held))
                held = []
        if held:
            writer.write_table(pa.Table.from_batches(held))
        writer.add_key_value_metadata({"geo": json.dumps(_geo(bounds, crs_wkt))})


def _widen(bounds: np.ndarray, record: Any) -> None:
    import shapely

    own = shapely.total_bounds(geometries_of(record))
    bounds[:2] = np.minimum(bounds[:2], own[:2])
    bounds[2:] = np.maximum(bounds[2:], own[2:])


def _geo(bounds: np.ndarray, crs_wkt: str | None) -> dict[str, Any]:
    """The metadata of GeoParquet 1.1."""
    column = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "crs": _projjson(crs_wkt),
        "edges": "planar",
        "orientation": "counterclockwise",
    }
    if np.isfinite(bounds).all():
        column["bbox"] = bounds.tolist()
    return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}


def _projjson(crs_wkt: str | None) -> dict[str, Any] | None:
    from rasterio.crs import CRS

    return CRS.from_wkt(crs_wkt).to_dict(projjson=True) if crs_wkt else None


def read_records(path: Path, driver: Driver) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Class numbers, pixels and geometries of a finished file, some at a time."""
    if driver == "Parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(1 << 14):
                yield _columns(batch, GEOMETRY)
        return
    from pyogrio.raw import open_arrow

    with open_arrow(path, layer=LAYER, use_pyarrow=True, batch_size=1 << 14) as (meta, reader):
        for batch in reader:
            yield _columns(batch, meta["geometry_name"] or "wkb_geometry")


def _columns(batch: Any, geometry: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    numbers = (batch.column(name).to_numpy(zero_copy_only=False) for name in ("class_id", "pixels"))
    ids, pixels = numbers
    return ids, pixels, geometries_of(batch, geometry)


def geometries_of(record: Any, column: str = GEOMETRY) -> np.ndarray:
    import shapely

    return np.asarray(shapely.from_wkb(record.column(column).to_numpy(zero_copy_only=False)))
