"""Cloud-optimised GeoTIFF: labels with their colours, or one band of probabilities per class.

A tiled GeoTIFF is written first, box by box, and copied by GDAL's COG driver: the other way, a
COG opened for writing, holds the whole raster in memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.rpc import RPC
from rasterio.transform import Affine
from rasterio.windows import Window

from seg_batch.errors import DamagedError, OutputError
from seg_batch.geometry import Blocks, Box
from seg_batch.georef import RasterGeoref, differences
from seg_batch.sinks.spec import ProductSpec
from seg_batch.sources.raster import raster_georef

TILE = 512
ROWS, COLUMNS = 1024, 16384
Read = Callable[[Box], np.ndarray]


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def boxes(extent: tuple[int, ...]) -> Iterator[Box]:
    """The boxes in which a raster is written: whole TIFF tiles, top to bottom."""
    return (block.box for block in Blocks(extent, (ROWS, COLUMNS)))


def write_cog(part: Path, spec: ProductSpec, read: Read) -> None:
    """Write ``part``; ``read(box)`` gives ``(y, x)`` labels or ``(classes, y, x)``."""
    plain = part.with_name(part.name + ".plain")
    try:
        with _quiet():
            _write_plain(plain, spec, read)
            rasterio.shutil.copy(
                plain,
                part,
                driver="COG",
                BLOCKSIZE=TILE,
                COMPRESS="DEFLATE",
                LEVEL=6 if spec.bands == 1 else 1,
                OVERVIEW_RESAMPLING="AVERAGE" if spec.is_probabilities else "NEAREST",
                BIGTIFF="IF_SAFER",
                NUM_THREADS="ALL_CPUS",
            )
    except RasterioError as error:
        raise OutputError(
            f"can't write {part} ({error}): check that the disk has room and is in order"
        ) from error
    finally:
        plain.unlink(missing_ok=True)
        plain.with_name(plain.name + ".aux.xml").unlink(missing_ok=True)


def _write_plain(path: Path, spec: ProductSpec, read: Read) -> None:
    assert isinstance(spec.georef, RasterGeoref)
    height, width = spec.extent
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": spec.bands,
        "dtype": spec.dtype,
        "nodata": spec.nodata,
        "tiled": True,
        "blockxsize": TILE,
        "blockysize": TILE,
        "compress": "zstd",
        "zstd_level": 1,
        "interleave": "band",
        "num_threads": "all_cpus",
        "bigtiff": "if_safer",
        **_placement(spec.georef),
    }
    with rasterio.open(path, "w", **profile) as file:
        _describe(file, spec)
        for box in boxes(spec.extent):
            values = read(box).reshape(spec.bands, *box.shape)
            (y, x), (rows, columns) = box.start, box.shape
            file.write(values, window=Window(x, y, columns, rows))


def _placement(georef: RasterGeoref) -> dict[str, Any]:
    """Exactly one of transform, control points and RPCs leads, as in the input."""
    found: dict[str, Any] = {}
    if georef.gcps:
        found["gcps"] = [
            GroundControlPoint(row=r, col=c, x=x, y=y, z=z) for r, c, x, y, z in georef.gcps
        ]
        found["crs"] = CRS.from_wkt(georef.gcps_crs_wkt) if georef.gcps_crs_wkt else None
    else:
        found["crs"] = CRS.from_wkt(georef.crs_wkt) if georef.crs_wkt else None
        if georef.transform != RasterGeoref().transform or georef.crs_wkt:
            found["transform"] = Affine(*georef.transform)
    return {k: v for k, v in found.items() if v is not None}


def _describe(file: Any, spec: ProductSpec) -> None:
    """Names, colours and provenance."""
    assert isinstance(spec.georef, RasterGeoref)
    point = {"AREA_OR_POINT": "Point"} if spec.georef.pixel_is_point else {}
    file.update_tags(**spec.tags, **point)
    if spec.georef.rpcs:
        file.rpcs = RPC.from_gdal(dict(spec.georef.rpcs))
    if spec.is_probabilities:
        file.scales = (1 / 255,) * spec.bands
        for band, c in enumerate(spec.classes, 1):
            file.set_band_description(band, c.name)
        return
    file.set_band_description(1, "class")
    if spec.dtype == "uint8":
        colours = {c.id: (*c.colour, 255) for c in spec.classes}
        file.write_colormap(
            1, colours | {spec.nodata: (0, 0, 0, 0)} if spec.nodata is not None else colours
        )
        file.colorinterp = [ColorInterp.palette]


def check_cog(part: Path, spec: ProductSpec, read: Read) -> None:
    """DamagedError unless the closed file is what was meant: layout, geometry, sampled pixels."""
    with _quiet(), rasterio.open(part, driver="GTiff") as file:
        wrong = differences(spec.georef, raster_georef(file), 1e-9)
        if file.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") != "COG":
            wrong.append("layout: not a COG")
        if (file.count, file.height, file.width) != (spec.bands, *spec.extent):
            wrong.append(f"extent: {spec.extent} became {file.shape}")
        if max(spec.extent) > TILE and not file.overviews(1):
            wrong.append("overviews: none")
        wrong += [
            f"pixels differ at {box}" for box in _samples(spec) if _differs(file, box, spec, read)
        ]
    if wrong:
        raise DamagedError(
            f"{part} does not read back as it was written ({'; '.join(wrong[:3])}): the work store "
            "is kept; check the disk and run the same command again"
        )


def _samples(spec: ProductSpec) -> list[Box]:
    """Windows at the corners, the centre and eight places in between."""
    rng = np.random.default_rng(0)
    places = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5), *rng.random((8, 2))]
    size = tuple(min(n, 128) for n in spec.extent)
    starts = (
        tuple(int(f * (n - s)) for f, n, s in zip(place, spec.extent, size, strict=True))
        for place in places
    )
    return [Box(start, (start[0] + size[0], start[1] + size[1])) for start in starts]


def _differs(file: Any, box: Box, spec: ProductSpec, read: Read) -> bool:
    (y, x), (rows, columns) = box.start, box.shape
    found = file.read(window=Window(x, y, columns, rows))
    return not np.array_equal(found, read(box).reshape(spec.bands, *box.shape))
