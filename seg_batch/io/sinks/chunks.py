"""Chunks of the arrays of a work store as files: encoded by threads, and those of one value only once.

zarr writes them one after another, and encodes each empty one anew. What is written here zarr reads: the codecs
are those in the array's metadata, and a test compares the bytes.
"""

from __future__ import annotations

import os
import uuid
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.geometry import Box, Shape
from seg_batch.core.hardware import cores
from seg_batch.core.run_files import PARTIAL
from seg_batch.io.sources.constant import is_constant, value_of

# Level 1 makes label maps as small as level 3, and is faster than the disk. Without the checksum, 199
# of 200 flipped bits were read as wrong labels without an error.
LEVEL, CHECKSUM = 1, True
_THREADS = 4  # chunks at work at once, at most
_FEW_BYTES = 1 << 10  # a chunk of one value has fewer
_PIECE_BYTES = 1 << 20


def _zstd() -> Any:
    from numcodecs.zstd import Zstd  # takes long to import, and plans need no store

    return Zstd(level=LEVEL, checksum=CHECKSUM)


def chunk_files(
    top: Path, box: Box, chunk: Shape, leading: Shape
) -> list[tuple[Path, tuple[slice, ...]]]:
    """The files of the chunks that touch a box, and the part of the box that each holds. ``leading``: axes before
    those of the box, in chunks of one."""
    whole = Box((*(0 for _ in leading), *box.start), (*leading, *box.stop))
    sides = (*(1 for _ in leading), *chunk)
    spans = [
        range(a // c, -(-b // c)) for a, b, c in zip(whole.start, whole.stop, sides, strict=True)
    ]
    files = []
    for index in np.ndindex(*map(len, spans)):
        places = [span[i] for span, i in zip(spans, index, strict=True)]
        start = tuple(n * c for n, c in zip(places, sides, strict=True))
        part = Box(start, tuple(a + c for a, c in zip(start, sides, strict=True))).intersection(
            whole
        )
        files.append((top.joinpath(*map(str, places)), part.slices(whole.start)))
    return files


def write_chunks(
    files: list[tuple[Path, tuple[slice, ...]]], values: np.ndarray, chunk: Shape, fill: int
) -> None:
    """Write whole chunks, each in one step; beyond the extent they hold ``fill``. Nothing is flushed."""
    for folder in {path.parent for path, _ in files}:
        folder.mkdir(parents=True, exist_ok=True)
    sides = (*(1 for _ in range(values.ndim - len(chunk))), *chunk)

    def write(file: tuple[Path, tuple[slice, ...]]) -> None:
        path, part = file
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PARTIAL}")
        try:
            partial.write_bytes(_encoded(values[part], sides, fill))
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    with ThreadPoolExecutor(min(_THREADS, cores(), len(files))) as threads:
        list(threads.map(write, files))


def drop_chunks(top: Path, boxes: Sequence[Box], chunk: Shape, leading: Shape) -> None:
    """Remove what a killed try has left of some boxes of whole chunks."""
    for box in boxes if top.exists() else ():
        for path, _ in chunk_files(top, box, chunk, leading):
            path.unlink(missing_ok=True)


def write_missing(
    top: Path, extent: Shape, chunk: Shape, leading: Shape, dtype: str, fill: int
) -> None:
    """Write the chunks that are not there, all of them links to one file where the file system has links."""
    data = _encoded_constant(
        np.dtype(dtype).type(fill).tobytes(), np.dtype(dtype).str, (*(1 for _ in leading), *chunk)
    )
    first: Path | None = None
    for path, _ in chunk_files(top, Box.whole(extent), chunk, leading):
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        first = _same_file(path, data, first)


def _same_file(path: Path, data: bytes, first: Path | None) -> Path:
    """Write it, as a link to ``first`` where that can be; the file for further links."""
    if first is not None:
        try:
            os.link(first, path)
        except OSError:  # no links here, or no more to one file
            pass
        else:
            return first
    path.write_bytes(data)
    return path


def _encoded(values: np.ndarray, shape: Shape, fill: int) -> bytes:
    if is_constant(values) and (values.shape == shape or value_of(values) == fill):
        return _encoded_constant(value_of(values).tobytes(), values.dtype.str, shape)
    if values.shape != shape:
        whole = np.full(shape, fill, values.dtype)
        whole[tuple(map(slice, values.shape))] = values
        values = whole
    return bytes(_zstd().encode(np.ascontiguousarray(values, values.dtype.newbyteorder("<"))))


@lru_cache(64)
def _encoded_constant(value: bytes, dtype: str, shape: Shape) -> bytes:
    return bytes(_zstd().encode(np.full(shape, np.frombuffer(value, dtype)[0])))


def constant_value(paths: Iterator[Path], dtype: str, fill: Any = None) -> Any:
    """The value of all voxels in these chunks, where it is one that few bytes show; else None. ``fill``: that of a chunk
    that is not there."""
    value = None
    for path in paths:
        try:
            few = path.stat().st_size <= _FEW_BYTES
            here = _value(path.read_bytes(), dtype) if few else None
        except FileNotFoundError:
            here = fill
        except OSError:
            return None
        if here is None or (value is not None and here != value):
            return None
        value = here
    return value


@lru_cache(64)
def _value(data: bytes, dtype: str) -> Any:
    """The value of a chunk, None where it has several, or is damaged: then zarr says how."""
    try:
        values = np.frombuffer(_zstd().decode(data), dtype)
    except Exception:  # codecs raise errors of any type
        return None
    return values[0] if values.size and (values == values[0]).all() else None


def crc32(values: np.ndarray) -> int:
    """Of the bytes of an array."""
    if is_constant(values):
        return _crc_of_constant(value_of(values).tobytes(), values.size)
    return zlib.crc32(np.ascontiguousarray(values).data)


@lru_cache(64)
def _crc_of_constant(value: bytes, count: int) -> int:
    crc, per_piece = 0, _PIECE_BYTES // len(value)
    piece = value * per_piece
    for _ in range(count // per_piece):
        crc = zlib.crc32(piece, crc)
    return zlib.crc32(value * (count % per_piece), crc)
