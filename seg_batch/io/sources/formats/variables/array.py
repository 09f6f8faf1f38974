"""A variable of a netCDF file, or a dataset of an HDF5 file: two axes of space, and steps or channels before them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.crs import CRS

from seg_batch.core.errors import InputError
from seg_batch.core.georef import RasterGeoref
from seg_batch.io.sources.crs import crs_wkt, metres_per_unit
from seg_batch.io.sources.formats.raster import RasterSource, described
from seg_batch.io.sources.formats.raster_opening import Opening, opened
from seg_batch.io.sources.formats.variables.limits import limits_of
from seg_batch.io.sources.formats.variables.longitudes import beyond_180
from seg_batch.io.sources.formats.variables.parts import opening_of
from seg_batch.io.sources.formats.variables.whole import (
    require_own_values,
    require_whole_classic,
    require_whole_hdf5,
)
from seg_batch.io.sources.naming.channel_names import ChannelNames
from seg_batch.io.sources.protocol import chosen_volume

_CHANNELS = {"c", "channel", "channels", "band", "bands", "wavelength", "wavelengths"}
_NORTH = {"degrees_north", "degree_north", "degree_n", "degrees_n", "degreen", "degreesn"}
_EAST = {"degrees_east", "degree_east", "degree_e", "degrees_e", "degreee", "degreese"}
_NO_PLACE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def open_variable(path: Path, name: str, part: str = "", volume: int | None = None) -> RasterSource:
    """The variable ``part`` of a file of format ``name``; empty: the only one. ``volume``: which step of the axes before
    those of space, where these hold several. ``InputError`` in one line."""
    (require_whole_classic if name == "netcdf" else require_whole_hdf5)(path)
    opening, part_found = opening_of(path, name, part)
    called = f"{path}:{part}" if part else str(path)
    with opened(opening) as dataset:
        if tuple(dataset.transform[:6]) != _NO_PLACE:
            return _variable(opening, dataset, called, part_found, volume)
    # Without coordinates GDAL takes the first row for the southernmost.
    opening = replace(opening, config=(("GDAL_NETCDF_BOTTOMUP", "NO"),))
    with opened(opening) as dataset:
        return _variable(opening, dataset, called, part_found, volume)


def _variable(
    opening: Opening, dataset: Any, called: str, part: str, volume: int | None
) -> RasterSource:
    path = opening.path
    if not dataset.count:
        raise InputError(f"{called}: holds no array of two axes or more, so no image; name another")
    is_whole = dataset.block_shapes[0][1] == dataset.width
    if (
        opening.format == "hdf5" and is_whole
    ):  # one chunk, or values in a row, which may lie elsewhere
        assert isinstance(path, Path)
        require_own_values(path)
    part = part or dataset.tags(1).get("NETCDF_VARNAME", "")
    steps = _Steps.of(dataset, opening.driver)
    at = chosen_volume(Path(called), steps.what, len(steps.bands), volume)
    told: list[str] = []
    source = described(opening, dataset, placed=lambda georef: _placed(dataset, georef, told))
    return _chosen(source, dataset, called, part, steps, at, told)


@dataclass(frozen=True)
class _Steps:
    """The bands of each step; ``what`` they are; ``channels``: the axis of the bands of one, if it has a name."""

    bands: np.ndarray
    what: str
    channels: str = ""

    @classmethod
    def of(cls, dataset: Any, driver: str) -> _Steps:
        """The bands, of which the driver makes one for each place along the axes before those of space."""
        bands = np.arange(dataset.count)
        if driver != "netCDF":  # which tells no names of axes
            return cls(bands[None], "one image", "first axis" if dataset.count > 1 else "")
        names, sides = _axes_before(dataset)
        at = [i for i, axis in enumerate(names) if axis.lower().rsplit("/")[-1] in _CHANNELS]
        if len(sides) != len(names) or math.prod(sides) != dataset.count or len(at) > 1:
            return cls(bands[:, None], f"{dataset.count} steps along {' and '.join(names)}")
        others = [axis for i, axis in enumerate(names) if i not in at and sides[i] > 1]
        shaped = bands.reshape(sides)
        table = np.moveaxis(shaped, at[0], -1).reshape(-1, sides[at[0]]) if at else bands[:, None]
        return cls(
            table, f"{len(table)} steps along {' and '.join(others)}", names[at[0]] if at else ""
        )


def _axes_before(dataset: Any) -> tuple[list[str], list[int]]:
    """The names and lengths of the axes before those of space; lengths are left out where they are not all told."""
    tags = dataset.tags()
    names = [name for name in tags.get("NETCDF_DIM_EXTRA", "").strip("{}").split(",") if name]
    sizes = [tags.get(f"NETCDF_DIM_{name}_DEF", "").strip("{}").partition(",")[0] for name in names]
    if len(names) == 1:
        return names, [dataset.count]
    return names, [int(size) for size in sizes if size.isdecimal()]


def _chosen(
    source: RasterSource,
    dataset: Any,
    called: str,
    part: str,
    steps: _Steps,
    at: int,
    told: list[str],
) -> RasterSource:
    """The source with the bands of one step, and what the attributes say of their values."""
    index = [int(i) for i in steps.bands[at]]
    info, bands = source.info, source.bands
    tags = [dataset.tags(i + 1) for i in index]
    more = [limits_of(each, np.dtype(info.dtype)) for each in tags]
    own = bands.nodata
    bands = replace(
        bands,
        data=tuple(bands.data[i] for i in index),
        nodata=tuple((*own[i], *limits) for i, limits in zip(index, more, strict=True)),
        masks=tuple(bands.masks[i] for i in index) if len(bands.masks) > 1 else bands.masks,
    )
    if not any(bands.masks):
        bands = replace(bands, masks=())

    def those[T](values: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(values[i] for i in index) if values else ()

    told += [f"its {steps.channels} of {len(index)} is taken as channels"] * (len(index) > 1)
    info = replace(
        info,
        path=called,
        channels=_names(part, steps, tags) if len(index) > 1 or part else those(info.channels),
        nodata=those(info.nodata),
        names=_said(part, those(info.names)),
        scale=info.scale and those(info.scale),
        offset=info.offset and those(info.offset),
        warnings=(*info.warnings, *told),
        facts={
            **info.facts,
            **({"variable": part} if part else {}),
            **({"units": units} if (units := tags[0].get("units")) else {}),
            **({"step": at} if len(steps.bands) > 1 else {}),
        },
    )
    return RasterSource(source.opening, _plain(info), bands)


def _plain(info: Any) -> Any:
    """Without a scale that changes nothing for the bands of this step."""
    plain = info.scale and set(info.scale) == {1.0} and set(info.offset) == {0.0}
    return replace(info, scale=None, offset=None) if plain else info


def _names(part: str, steps: _Steps, tags: list[dict[str, str]]) -> tuple[str, ...]:
    if len(tags) == 1:
        return (part.rsplit("/")[-1],)
    values = [each.get(f"NETCDF_DIM_{steps.channels}", "") for each in tags]
    return tuple(f"{steps.channels} {v}" if v else f"band{i + 1}" for i, v in enumerate(values))


def _said(part: str, names: tuple[ChannelNames, ...]) -> tuple[ChannelNames, ...]:
    """What is told of the channels; of one alone the name of the variable, too."""
    if len(names) != 1 or not part:
        return names
    return (replace(names[0], names=(part.rsplit("/")[-1], *names[0].names)),)


def _placed(dataset: Any, georef: RasterGeoref, told: list[str]) -> RasterGeoref:
    """The place, in WGS 84 where the file tells degrees and no datum; what is odd about it is ``told``."""
    if dataset.tags(ns="GEOLOCATION2"):
        told.append(
            "its latitudes are not evenly spaced: rows lie up to 0.1 degrees from where they are placed"
        )
    if georef.crs_wkt is None and georef.transform != _NO_PLACE and _in_degrees(dataset):
        crs = CRS.from_epsg(4326)
        georef = replace(georef, crs_wkt=crs_wkt(crs), metres_per_unit=metres_per_unit(crs))
        told.append("its degrees are taken as those of WGS 84, since it names no CRS")
    if (beyond := beyond_180(georef, dataset.shape)) is not None:
        told.append(beyond)
    return georef


def _in_degrees(dataset: Any) -> bool:
    """Whether the axes of space are longitudes and latitudes, by their units, in the range of such."""
    tags = dataset.tags()
    units = {
        key.rpartition("#")[0]: text.lower() for key, text in tags.items() if key.endswith("#units")
    }
    beside = {
        name for key, text in tags.items() if key.endswith("#coordinates") for name in text.split()
    }
    held = {text for name, text in units.items() if name not in beside}
    left, bottom, right, top = dataset.bounds
    half_x, half_y = abs(dataset.res[0]) / 2, abs(dataset.res[1]) / 2
    inside = (
        -360 - half_x <= left < right <= 360 + half_x
        and min(bottom, top) >= -90 - half_y
        and max(bottom, top) <= 90 + half_y
    )
    return (
        bool(held & _NORTH) and bool(held & _EAST) and inside and not dataset.tags(ns="GEOLOCATION")
    )
