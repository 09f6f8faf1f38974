"""One file of one band, whose meaning its product's metadata say: JPEG 2000 or GeoTIFF, with the driver pinned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.io.sources.formats import raster_checks as checks
from seg_batch.io.sources.formats.raster import RasterSource
from seg_batch.io.sources.formats.raster_georef import (
    georef_warnings,
    raster_georef,
    require_finite,
)
from seg_batch.io.sources.formats.raster_opening import RASTERS, Opening, opened
from seg_batch.io.sources.formats.raster_validity import Bands
from seg_batch.io.sources.formats.satellites.tree import Tree
from seg_batch.io.sources.naming.channel_names import ChannelNames
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.valid_mask import exactly

_CHEAP_SIDE = 512


@dataclass(frozen=True)
class Band:
    """What the metadata say of a file. ``name``: ``B02``; ``common``: ``blue``, or empty; ``nodata``: the stored value that
    means that nothing is there. ``scale`` and ``offset``: as in ``Pixels``."""

    name: str
    file: str
    common: str = ""
    wavelength_um: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None

    @property
    def names(self) -> ChannelNames:
        return ChannelNames((self.name, *filter(None, [self.common])), (), self.wavelength_um)


def open_band(tree: Tree, band: Band, name: str) -> RasterSource:
    """A band of a product of the format ``name``. ``InputError`` in one line where GDAL can't open it, or it holds
    several."""
    where = f"{tree.root}/{band.file}" if tree.is_zip else str(tree.root / band.file)
    driver = RASTERS["jp2" if band.file.lower().endswith(".jp2") else "geotiff"]
    file = tree.root if tree.is_zip else tree.root / band.file
    if driver == RASTERS["geotiff"]:
        checks.check_directory(file, "geotiff")
    opening = Opening(Path(where), name, driver, tree.place(band.file))
    with opened(opening) as dataset:
        checks.check_size(file, name, dataset)
        return RasterSource(opening, *_described(where, band, dataset, name))


def _described(where: str, band: Band, dataset: Any, name: str) -> tuple[SourceInfo, Bands]:
    if dataset.count != 1 or dataset.dtypes[0] not in ("uint8", "uint16", "int16"):
        raise InputError(
            f"{where}: holds {dataset.count} bands of {dataset.dtypes[0]}, where a product has one of 8 or 16 bits; copy it "
            "again from its origin"
        )
    georef, dtype = raster_georef(dataset), np.dtype(dataset.dtypes[0])
    if not georef.gcps:  # GDAL tells the CRS of a JPEG 2000 as that of no points, too
        georef = replace(georef, gcps_crs_wkt=None)
    require_finite(Path(where), georef)
    sides = zip(dataset.block_shapes[0], dataset.shape, strict=True)
    plain = (band.scale, band.offset) == (1.0, 0.0)
    info = SourceInfo(
        path=where,
        format=name,
        kind="raster",
        extent=(dataset.height, dataset.width),
        channels=(band.name,),
        dtype=dtype.name,
        georef=georef,
        chunk=tuple(min(n, -(-_CHEAP_SIDE // b) * b if b < _CHEAP_SIDE else b) for b, n in sides),
        nodata=(band.nodata,),
        warnings=tuple(georef_warnings(georef)),
        facts={
            "driver": dataset.driver,
            "block": list(dataset.block_shapes[0]),
            "block_bytes": checks.block_bytes(dataset),
        },
        names=(band.names,),
        scale=None if plain else (band.scale,),
        offset=None if plain else (band.offset,),
    )
    nodata = () if band.nodata is None else exactly(band.nodata, dtype)
    return info, Bands((1,), (), dtype, (nodata,), (), ())
