"""Zarr v2 and v3 folders: our own work store, OME-NGFF images, and any array with named axes.

A Zarr fill value says what unwritten chunks read as, not that a value means nothing: nodata comes
from CF attributes (``_FillValue``, ``missing_value``) or is NaN.
"""

from __future__ import annotations

import base64
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from seg_batch.core.errors import InputError, SegbatchError
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.normalise import Pixels
from seg_batch.core.units import show_bytes
from seg_batch.io.sources.formats.zarr_axes import FoundArray, find_array
from seg_batch.io.sources.formats.zarr_georef import coordinates, find_georef
from seg_batch.io.sources.identity import tree_identity
from seg_batch.io.sources.protocol import (
    BLOCK_LIMIT_BYTES,
    SourceInfo,
    one_line,
    read_error,
    require_inside,
)
from seg_batch.io.sources.tolerant_read import RetryLimit
from seg_batch.io.sources.valid_mask import stored_nodata, valid_mask

_PIB = 1 << 50
# Left by a killed writer beside the chunks; they are not chunks, and saying so helps nobody.
warnings.filterwarnings("ignore", message="Object at .* is not recognized as a component of a Zarr")


class ZarrSource:
    """One array; ``read`` gives ``(y, x, channels)`` or ``(z, y, x, channels)``."""

    def __init__(self, found: FoundArray, info: SourceInfo, moment: int) -> None:
        self._array, self._axes, self._info = found.array, found.axes, info
        self._moment, self._again = moment, RetryLimit()
        self._nodata = tuple(stored_nodata(value, np.dtype(info.dtype)) for value in info.nodata)
        self._scale, self._offset = _scaling(found.attributes, len(info.channels))

    @property
    def info(self) -> SourceInfo:
        return self._info

    def read(self, box: Box) -> Pixels:
        """``Pixels`` of shape ``(*box.shape, channels)``; ``ReadError`` for a damaged chunk."""
        require_inside(self._info, box)
        try:
            values = self._again(lambda: np.asarray(self._array[self._index(box)]))
        except Exception as error:  # each codec has errors of its own
            raise read_error(self._info, box, error) from error
        kept = [role for role in self._axes.roles if role in "zyxc"]
        order = [kept.index(role) for role in (*self._axes.spatial, "c") if role in kept]
        values = values.transpose(order).astype(self._info.dtype, copy=False)
        values = values if "c" in kept else values[..., None]
        return Pixels(values, valid_mask(values, self._nodata), self._scale, self._offset)

    def _index(self, box: Box) -> tuple[slice | int, ...]:
        spans = dict(zip(self._axes.spatial, box.slices(), strict=True))
        fixed: dict[str, slice | int] = {"c": slice(None), "t": self._moment, "-": 0}
        return tuple(spans.get(role) or fixed[role] for role in self._axes.roles)

    def close(self) -> None:
        """Nothing is held open."""


def open_zarr(path: Path, *, volume: int | None = None) -> ZarrSource:
    """Open the image in a Zarr folder; ``InputError`` in one line when none can be told.

    ``volume`` chooses along a time axis longer than 1.
    """
    try:
        found = find_array(path, zarr.open(path, mode="r"), _parent(path))
        info = _describe(path, found)
    except SegbatchError:
        raise
    except Exception as error:  # zarr raises whatever it stumbles over
        raise InputError(
            f"{path}: its Zarr metadata can't be read ({type(error).__name__}: {one_line(error)}); "
            "restore the store from its origin"
        ) from error
    return ZarrSource(found, info, _moment(path, found.axes.length("t"), volume))


def _parent(path: Path) -> Any:
    """The group an array lies in, where its coordinates and attributes are; None if it has none."""
    around = path.absolute().parent
    if not any((around / name).is_file() for name in ("zarr.json", ".zgroup")):
        return None
    try:
        return zarr.open_group(around, mode="r")
    except Exception:  # not a group after all
        return None


def _moment(path: Path, count: int, volume: int | None) -> int:
    if volume is None and count > 1:
        raise InputError(
            f"{path}: {count} time steps; choose one with --volume K (0 to {count - 1})"
        )
    if volume is not None and not 0 <= volume < count:
        raise InputError(f"{path}: there is no volume {volume}; it holds {count}, counted from 0")
    return volume or 0


def _describe(path: Path, found: FoundArray) -> SourceInfo:
    dtype = _check(path, found)
    georef, traps = find_georef(found)
    if (georef.kind == "raster") != (len(found.axes.spatial) == 2):
        raise InputError(f"{path}: its georeference is of a {georef.kind}, its axes are not")
    channels = _channel_names(found)
    return SourceInfo(
        path=str(path),
        format="zarr",
        kind=georef.kind,
        extent=found.axes.extent,
        channels=channels,
        dtype=dtype.name,
        georef=georef,
        chunk=_chunk(found),
        nodata=(_nodata(found.attributes),) * len(channels),
        identity=tree_identity(found.folder),
        warnings=tuple(traps),
        facts={
            "zarr_format": found.array.metadata.zarr_format,
            "array": found.array.path or ".",
            "axes": list(found.axes.names),
            "block_bytes": _chunk_bytes(found) * int(zarr.config.get("async.concurrency", 10)),
        },
    )


def _check(path: Path, found: FoundArray) -> np.dtype:
    """The dtype as read; ``InputError`` for what can't be read as numbers, or not within memory."""
    dtype = np.dtype(found.array.dtype)
    if dtype.kind == "b":
        dtype = np.dtype(np.uint8)
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise InputError(
            f"{path}: values of type {found.array.dtype}, which a model can't take as one number "
            "each; convert to a real quantity first"
        )
    if min(found.array.shape) < 1 or found.array.nbytes > _PIB:
        raise InputError(
            f"{path}: declares the shape {found.array.shape}, which can't be true; mend its metadata"
        )
    if _chunk_bytes(found) > BLOCK_LIMIT_BYTES:
        raise InputError(
            f"{path}: chunks of {show_bytes(_chunk_bytes(found))}, each of which is decoded "
            "whole; rechunk it to less than 1 GiB"
        )
    return dtype.newbyteorder("=")


def _chunk_bytes(found: FoundArray) -> int:
    return int(np.prod(found.array.chunks, dtype=np.float64)) * found.array.dtype.itemsize


def _chunk(found: FoundArray) -> Shape:
    at = (found.axes.roles.index(role) for role in found.axes.spatial)
    return tuple(min(found.array.chunks[i], found.array.shape[i]) for i in at)


def _channel_names(found: FoundArray) -> tuple[str, ...]:
    """From OME's channel labels or the channel axis's coordinates; else ``band1``, ..."""
    count = found.axes.length("c")
    ome = found.attributes.get("ome")
    omero = (ome if isinstance(ome, dict) else found.attributes).get("omero") or {}
    labels = [str(c.get("label", "")) for c in omero.get("channels", [])] if found.ome else []
    if len(labels) != count or not all(labels):
        stored = coordinates(found, "c")
        labels = [] if stored is None or stored.dtype.kind not in "UTO" else [*map(str, stored)]
    if labels:
        return tuple(labels)
    if len(found.axes.spatial) == 3 and count == 1:
        return ("intensity",)
    return tuple(f"band{c + 1}" for c in range(count))


def _nodata(attributes: dict[str, Any]) -> float | None:
    """CF's fill value; xarray writes floats of Zarr v3 as base64 of eight bytes."""
    value = attributes.get("_FillValue", attributes.get("missing_value"))
    value = value[0] if isinstance(value, list) and value else value
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return float(struct.unpack("<d", base64.b64decode(value))[0])
    return None if value is None else float(value)  # type: ignore[arg-type]


def _scaling(
    attributes: dict[str, Any], channels: int
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    scale = float(np.ravel(attributes.get("scale_factor", 1))[0])
    offset = float(np.ravel(attributes.get("add_offset", 0))[0])
    if (scale, offset) == (1.0, 0.0):
        return None, None
    return (scale,) * channels, (offset,) * channels
