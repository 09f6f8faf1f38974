"""Zarr v2 and v3 folders: our own work store, OME-NGFF images, and any array with named axes.

What is nodata: ``zarr_nodata``.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from seg_batch.core.errors import InputError, PassingError, RefusedError
from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Pixels
from seg_batch.core.units import show_bytes
from seg_batch.io.sources.arrays.shown import source_html
from seg_batch.io.sources.formats.zarr.axes import (
    ZarrImage,
    find_array,
    images_below,
    multiscales,
)
from seg_batch.io.sources.formats.zarr.dataset import ZarrDataset, dataset_of, variables
from seg_batch.io.sources.formats.zarr.georef import find_georef
from seg_batch.io.sources.formats.zarr.identity import zarr_identity
from seg_batch.io.sources.formats.zarr.nodata import dtype_as_read, zarr_nodata
from seg_batch.io.sources.formats.zarr.transform import coordinates
from seg_batch.io.sources.naming.channel_names import (
    MOST_CHANNELS,
    NAME_ARRAYS,
    ChannelNames,
    labelled,
)
from seg_batch.io.sources.protocol import (
    BLOCK_LIMIT_BYTES,
    SourceInfo,
    chosen_volume,
    read_error,
    require_inside,
)
from seg_batch.io.sources.tolerant_read import RetryLimit
from seg_batch.io.sources.valid_mask import Nodata, valid_mask

_TIB, _PIB = 1 << 40, 1 << 50
_SPARSEST = 10_000  # times as large as what is stored, as for rasters
_MOST_CHANNELS, _SIDE = 65_535, (1 << 31) - 1  # as many as a TIFF can have
# Files that a killed writer left beside the chunks are harmless.
warnings.filterwarnings("ignore", message="Object at .* is not recognized as a component of a Zarr")
warnings.filterwarnings("ignore", message="Array .* The stored chunk shape")  # a read tells of it
# Of several members of a group that can't be read, zarr raises the first error; asyncio prints the others.
logging.getLogger("asyncio").addFilter(
    lambda record: "zarr" not in str(record.msg) or "never retrieved" not in str(record.msg)
)


class ZarrSource:
    """One array; ``read`` gives ``(y, x, channels)`` or ``(z, y, x, channels)``."""

    _repr_html_ = source_html

    def __init__(
        self,
        image: ZarrImage,
        info: SourceInfo,
        nodata: Nodata,
        time_step: int,
        channels: tuple[int, ...] | None = None,
    ) -> None:
        self.info, self._array, self._axes = info, image.array, image.axes
        self._time_step, self._again = time_step, RetryLimit()
        self._one_nodata, self._nodata = nodata, (nodata,) * len(info.channels)
        self._image, self._channels = image, channels

    def read(self, box: Box) -> Pixels:
        """``Pixels`` of shape ``(*box.shape, channels)``; ``ReadError`` for a damaged chunk."""
        require_inside(self.info, box)
        try:
            values = self._again(lambda: self._fetch(box))
        except RefusedError:  # of a remote store
            raise
        except Exception as error:  # each codec has errors of its own
            raise read_error(self.info, box, error) from error
        kept = [role for role in self._axes.roles if role in "zyxc"]
        order = [kept.index(role) for role in (*self._axes.spatial, "c") if role in kept]
        values = values.transpose(order).astype(self.info.dtype, copy=False)
        values = values if "c" in kept else values[..., None]
        return Pixels(values, valid_mask(values, self._nodata), self.info.scale, self.info.offset)

    def only(self, indices: Sequence[int], line: str = "") -> ZarrSource | None:
        """A source that reads the chunks of these channels only; None where there is no such axis."""
        if "c" not in self._axes.roles or self._channels is not None:
            return None
        info = self.info.of_channels(indices, line)
        return ZarrSource(self._image, info, self._one_nodata, self._time_step, tuple(indices))

    def _fetch(self, box: Box) -> np.ndarray:
        index = self._index(box)
        if self._channels is None:
            return np.asarray(self._array[index])
        c = self._axes.roles.index("c")
        parts = [
            np.asarray(self._array[(*index[:c], slice(k, k + 1), *index[c + 1 :])])
            for k in self._channels
        ]
        kept = sum(isinstance(part, slice) for part in index[:c])
        return np.concatenate(parts, kept)

    def _index(self, box: Box) -> tuple[slice | int, ...]:
        spans = dict(zip(self._axes.spatial, box.slices(), strict=True))
        fixed: dict[str, slice | int] = {"c": slice(None), "t": self._time_step, "-": 0}
        return tuple(spans.get(role) or fixed[role] for role in self._axes.roles)

    def close(self) -> None:
        """Nothing is held open."""


def open_zarr(path: Any, *, volume: int | None = None) -> ZarrSource | ZarrDataset:
    """Open the image in a Zarr folder; ``InputError`` in one line where no array of it can be chosen.

    ``volume`` chooses along a time axis longer than 1.
    """
    node = _node(path)
    if images := _variables(path, node):
        steps = images[0].axes.length("t")
        at = chosen_volume(path, f"{steps} time steps", steps, volume)
        return dataset_of(path, images, [_opened(image.folder, image, at) for image in images])
    return _opened(path, find_array(path, node, _parent(path)), volume)


def _variables(path: Path, node: Any) -> list[ZarrImage]:
    """The arrays of a group that is a Dataset of xarray; none for what has an image by another convention."""
    is_group = hasattr(node, "members")
    if not is_group or "segbatch" in node.attrs or multiscales(node) or images_below(node):
        return []
    return variables(path, node)


def _opened(path: Path, image: ZarrImage, volume: int | None) -> ZarrSource:
    dtype = _check(path, image)
    nodata, told = zarr_nodata(image)
    info = _describe(path, image, dtype, nodata, told)
    steps = image.axes.length("t")
    return ZarrSource(
        image, info, nodata, chosen_volume(path, f"{steps} time steps", steps, volume)
    )


def _node(path: Any) -> Any:
    """``path``: a ``Path``, or a ``RemoteFolder``."""
    if isinstance(path, Path):
        return zarr.open(path, mode="r")
    try:
        return zarr.open(path.store, mode="r")
    except FileNotFoundError:
        raise InputError(f"{path}: no Zarr store is there; check the address") from None


def _parent(path: Any) -> Any:
    """The group an array lies in, where its coordinates and attributes are; None if it has none."""
    if not isinstance(path, Path):
        return _remote_parent(path)
    around = path.absolute().parent
    if not any((around / name).is_file() for name in ("zarr.json", ".zgroup")):
        return None
    try:
        return zarr.open_group(around, mode="r")
    except Exception:  # not a group after all
        return None


def _remote_parent(folder: Any) -> Any:
    around = folder.parent
    around.store.known = folder.store.known
    try:
        return zarr.open_group(around.store, mode="r")
    except PassingError:
        raise
    except Exception:  # no group, or none that may be seen
        return None


def _describe(
    path: Path, image: ZarrImage, dtype: np.dtype, nodata: Nodata, told: tuple[str, ...]
) -> SourceInfo:
    georef, assumptions = find_georef(image)
    if (georef.kind == "raster") != (len(image.axes.spatial) == 2):
        raise InputError(f"{path}: its georeference is of a {georef.kind}, its axes are not")
    channels, (scale, offset) = _channel_names(image), _scaling(image)
    identity = zarr_identity(image)
    stored = identity["size"] if identity["complete"] else _PIB
    if image.array.nbytes > max(_TIB, _SPARSEST * stored):
        raise InputError(
            f"{path}: declares the shape {image.array.shape}, {show_bytes(image.array.nbytes)}, and stores "
            f"{show_bytes(stored)}, which can't be true; mend its metadata"
        )
    return SourceInfo(
        path=str(path),
        format="zarr",
        kind=georef.kind,
        extent=image.axes.extent,
        channels=channels,
        dtype=dtype.name,
        georef=georef,
        chunk=tuple(
            min(image.array.chunks[axis], image.array.shape[axis])
            for axis in map(image.axes.roles.index, image.axes.spatial)
        ),
        nodata=(float(nodata[0][0]) if nodata else None,) * len(channels),
        identity=identity,
        warnings=(*assumptions, *told),
        facts={
            "zarr_format": image.array.metadata.zarr_format,
            "array": image.array.path or ".",
            "axes": list(image.axes.names),
            "block_bytes": _chunk_bytes(image) * int(zarr.config.get("async.concurrency", 10)),
        },
        names=_names(image),
        scale=None if scale is None else scale * len(channels),
        offset=None if offset is None else offset * len(channels),
    )


def _check(path: Path, image: ZarrImage) -> np.dtype:
    """The dtype as read; ``InputError`` for what can't be read as numbers, or not within memory."""
    dtype = dtype_as_read(image)
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise InputError(
            f"{path}: values of type {image.array.dtype}, which a model can't take as one number "
            "each; convert to a real quantity first"
        )
    array, channels = image.array, image.axes.length("c")
    longest = max(array.shape)
    if min(array.shape) < 1 or array.nbytes > _PIB or longest > _SIDE or channels > _MOST_CHANNELS:
        raise InputError(
            f"{path}: declares the shape {image.array.shape}, which can't be true; mend its metadata"
        )
    if _chunk_bytes(image) > BLOCK_LIMIT_BYTES:
        raise InputError(
            f"{path}: chunks of {show_bytes(_chunk_bytes(image))}, each of which is decoded "
            "whole; rechunk it to less than 1 GiB"
        )
    return dtype


def _chunk_bytes(image: ZarrImage) -> int:
    return int(np.prod(image.array.chunks, dtype=np.float64)) * image.array.dtype.itemsize


def _channel_names(image: ZarrImage) -> tuple[str, ...]:
    """From OME's channel labels or the channel axis's coordinates; else ``band1``, ..."""
    if labels := _labels(image):
        return tuple(labels)
    count = image.axes.length("c")
    if len(image.axes.spatial) == 3 and count == 1:
        return ("intensity",)
    return tuple(f"band{c + 1}" for c in range(count))


def _labels(image: ZarrImage) -> list[str]:
    """One per channel, or none."""
    count = image.axes.length("c")
    ome = image.attributes.get("ome")
    omero = (ome if isinstance(ome, dict) else image.attributes).get("omero") or {}
    labels = [str(c.get("label", "")) for c in omero.get("channels", [])] if image.ome else []
    if len(labels) != count or not all(labels):
        stored = coordinates(image, "c")
        labels = [] if stored is None or stored.dtype.kind not in "UTO" else [*map(str, stored)]
    return labels


def _names(image: ZarrImage) -> tuple[ChannelNames, ...]:
    """Of the labels, and of further arrays along the channels, as STAC's readers write them."""
    count = image.axes.length("c")
    if count > MOST_CHANNELS or "c" not in image.axes.roles:
        return ()
    items: list[dict[str, Any]] = [{} for _ in range(count)]
    for name in NAME_ARRAYS:
        array: Any = None if image.group is None else image.group.get(name)
        if getattr(array, "shape", None) == (count,):
            for each, value in zip(items, np.asarray(array[:]).tolist(), strict=True):
                each[name] = value
    return labelled(_labels(image) or [""] * count, items)


def _scaling(image: ZarrImage) -> tuple[tuple[float] | None, tuple[float] | None]:
    """Those of all channels; none where the numbers are stored as they are."""
    attributes = image.array.attrs
    scale = float(np.ravel(attributes.get("scale_factor", 1))[0])
    offset = float(np.ravel(attributes.get("add_offset", 0))[0])
    plain = (scale, offset) == (1.0, 0.0)
    return (None, None) if plain else ((scale,), (offset,))
