"""An array written to a Zarr group block by block, so that workers can read it and no more than a few blocks are in memory.

The same values give the same files with the same times, so that they have one identity: a run of them is resumed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.files import translate_os_errors
from seg_batch.io.sources.arrays.layout import MAPPING, words

NAME = "image"
_SIDE = 512
_AT_ONCE_BYTES = (
    128 << 20
)  # computed at once: several blocks of dask, so that its threads have work
_CHUNK_BYTES = 64 << 20


def stage_array(value: Any, path: Path) -> None:
    """Write an array of ``as_named`` to a new group at ``path``. ``OutputError`` where the disk does not take it."""
    import zarr

    dtype = np.dtype(np.uint8) if value.dtype.kind == "b" else value.dtype.newbyteorder("<")
    sides = [_sides(value, axis) for axis in range(value.ndim)]
    digest = hashlib.sha256(f"{dtype} {value.shape}".encode())
    with translate_os_errors(path):
        group = zarr.create_group(path, zarr_format=3)
        array = group.create_array(
            NAME,
            shape=value.shape,
            chunks=_chunk(value, sides, dtype.itemsize),
            dtype=dtype,
            fill_value=0,
            dimension_names=tuple(map(str, value.dims)),
        )
        for box in _boxes(value, sides, dtype.itemsize):
            block = np.ascontiguousarray(value[box].values.astype(dtype, copy=False))
            digest.update(block)
            array[box] = block
        array.attrs.update({**words(value), "grid_mapping": MAPPING, "sha256": digest.hexdigest()})
        _coordinates(group, value)
        _dated(path)


def _sides(value: Any, axis: int) -> tuple[int, ...]:
    """The lengths of the blocks of an axis: those of dask, or of our own."""
    if value.chunks is not None:
        return tuple(value.chunks[axis])
    length = value.shape[axis]
    return tuple(min(_SIDE, length - start) for start in range(0, length, _SIDE))


def _chunk(value: Any, sides: list[tuple[int, ...]], itemsize: int) -> tuple[int, ...]:
    """That of the blocks, or a smaller one where they are large."""
    chunk = [max(each) for each in sides]
    while np.prod(chunk, dtype=np.int64) * itemsize > _CHUNK_BYTES:
        axis = int(np.argmax(chunk))
        chunk[axis] = -(-chunk[axis] // 2)
    return tuple(chunk)


def _boxes(value: Any, sides: list[tuple[int, ...]], itemsize: int) -> Iterator[tuple[slice, ...]]:
    """Blocks in order, as many along the last axis at once as memory allows."""
    spans = [
        [slice(stop - n, stop) for n, stop in zip(each, np.cumsum(each).tolist(), strict=True)]
        for each in sides
    ]
    for before in product(*spans[:-1]):
        rows = int(np.prod([span.stop - span.start for span in before], dtype=np.int64)) * itemsize
        begin = end = 0
        for span in spans[-1]:
            if end > begin and (span.stop - begin) * rows > _AT_ONCE_BYTES:
                yield (*before, slice(begin, end))
                begin = end
            end = span.stop
        yield (*before, slice(begin, end))


def _coordinates(group: Any, value: Any) -> None:
    for name in (*value.dims, MAPPING):
        if name not in value.coords:
            continue
        coordinate = value.coords[name]
        data = np.asarray(coordinate.values)
        data = data.astype(str) if data.dtype.kind in "OU" else data
        if data.dtype.kind not in "iufU":
            continue
        names = tuple(map(str, coordinate.dims))
        kind = {"dimension_names": names} if names else {}
        units = {"units": str(coordinate.attrs["units"])} if "units" in coordinate.attrs else {}
        attributes = dict(coordinate.attrs) if name == MAPPING else units
        group.create_array(str(name), data=data, attributes=attributes, **kind)


def _dated(folder: Path) -> None:
    """All files as of one time: only what they hold counts."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, ns=(0, 0))
