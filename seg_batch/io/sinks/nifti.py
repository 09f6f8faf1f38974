"""NIfTI products with the input's header geometry, in constant memory for any extent.

Our arrays are ``(z, y, x)``, the file's ``(k, j, i)`` with ``i`` fastest: C order is file order.
Boxes of whole chunks are written to their places in an uncompressed file. A ``.nii.gz`` is made from
it as a series of gzip members, which every reader joins. Members are compressed in threads, and have
no time stamp, so that bytes are reproducible.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial, reduce
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from seg_batch.core.errors import SegbatchError
from seg_batch.core.geometry import Box
from seg_batch.core.hardware import cores
from seg_batch.core.spells import spell
from seg_batch.io.sinks.nifti_header import header_bytes, place_changes
from seg_batch.io.sinks.spec import ProductSpec, Read, damaged, read_ahead, samples
from seg_batch.io.sources.formats.nifti import open_nifti
from seg_batch.io.sources.formats.nifti_header import read_layout, volume_georef
from seg_batch.io.sources.gzip_members import MEMBER_BYTES

_LEVEL = 6  # makes labels half as large as level 1


def write_nifti(part: Path, spec: ProductSpec, read: Read, *, again: Read, compress: bool) -> int:
    """Write ``part``; ``read`` is called once for each box, ``again`` for a few samples. Returns the
    CRC of the whole uncompressed file, which stays beside ``part`` as ``plain.nii`` if ``compress``.

    DamagedError when the voxels do not read back from their places.
    """
    plain = part.with_name("plain.nii") if compress else part
    first = header_bytes(spec)
    with plain.open("wb") as file:
        file.write(first)
        for box, values in read_ahead(read, spec.boxes()):
            bands = values if spec.is_probabilities else values[None]
            for band, voxels in enumerate(bands):
                put_box(file, len(first), spec, band, box, voxels)
    _check_voxels(plain, spec, again)
    with plain.open("rb") as file:
        return _compress(file, part) if compress else _crc(file)


def put_box(
    file: IO[bytes], first: int, spec: ProductSpec, band: int, box: Box, voxels: np.ndarray
) -> None:
    """Write a box in the longest runs that are contiguous in the file: planes, rows, or parts of rows."""
    voxels = np.ascontiguousarray(voxels, np.dtype(spec.dtype).newbyteorder("<"))
    (z0, y0, x0), (_, ny, nx), (depth, height, width) = box.start, spec.extent, box.shape
    planes = range(1 if (height, width) == (ny, nx) else depth)
    rows = range(1 if width == nx else height)
    starts = [(z, y) for z in planes for y in rows]
    for run, (z, y) in zip(voxels.reshape(len(starts), -1), starts, strict=True):
        voxel = ((band * spec.extent[0] + z0 + z) * ny + y0 + y) * nx + x0
        _write_at(file.fileno(), memoryview(run.view(np.uint8)), first + voxel * run.itemsize)


def _write_at(file: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(file, data, offset)
        data, offset = data[count:], offset + count


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(MEMBER_BYTES), b"")


def _crc(file: IO[bytes]) -> int:
    return reduce(lambda crc, piece: zlib.crc32(piece, crc), _pieces(file), 0)


def _compress(plain: IO[bytes], part: Path) -> int:
    crc, pieces = 0, _pieces(plain)
    member = partial(gzip.compress, compresslevel=_LEVEL, mtime=0)
    with part.open("wb") as file, ThreadPoolExecutor(cores()) as threads:
        while group := list(islice(pieces, 2 * cores())):
            for piece, packed in zip(group, threads.map(member, group), strict=True):
                crc = zlib.crc32(piece, crc)
                file.write(packed)
    return crc


def _check_voxels(plain: Path, spec: ProductSpec, read: Read) -> None:
    """DamagedError unless the reader of inputs gets the store's values at sampled places."""
    with ExitStack() as opened:
        bands = [
            opened.enter_context(closing(open_nifti(plain, volume=band)))
            for band in range(spec.bands)
        ]
        for box in samples(spec.extent, 32):
            expected = read(box).reshape(spec.bands, *box.shape)
            written = [source.read(box).values[..., 0] for source in bands]
            if not np.array_equal(written, expected):
                raise damaged(plain, [f"voxels differ at {box}"])


@spell("check")
def check_nifti(part: Path, spec: ProductSpec, crc: int) -> None:
    """DamagedError unless the closed file reads back: shape, geometry with codes, every byte."""
    try:
        layout = read_layout(part)
        wrong = place_changes(spec, volume_georef(layout.header))
        written = layout.shape, layout.volumes, layout.dtype.name
        with gzip.open(part) if layout.compressed else part.open("rb") as file:
            same = _crc(file) == crc  # type: ignore[arg-type]
    except (SegbatchError, OSError, EOFError, ValueError, zlib.error) as error:
        raise damaged(part, [str(error)]) from error
    expected = spec.extent, spec.bands, spec.dtype
    if written != expected:
        wrong.append(f"shape, bands and type: {expected} became {written}")
    if not same:
        wrong.append("bytes differ")
    if wrong:
        raise damaged(part, wrong)
