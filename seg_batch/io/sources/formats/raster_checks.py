"""Checks of a raster before any of it is read.

Every check reads the header and file sizes only. The exception: GDAL reports no error for a PNG that is cut
short, so the checksums of a PNG are read once.
"""

from __future__ import annotations

import itertools
import os
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.enums import PhotometricInterp

from seg_batch.core.errors import InputError
from seg_batch.core.units import show_bytes
from seg_batch.io.remote.as_path import AnyPath
from seg_batch.io.sources.formats.jp2 import decoded_bytes, jp2_complete
from seg_batch.io.sources.protocol import BLOCK_LIMIT_BYTES
from seg_batch.io.sources.side_files import MASK

_TIB = 1 << 40
_LOOKS = 2048
_DIRECTORIES, _ENTRIES = 64, 4096
_FAR = 1 << 40  # a place up to here can be asked for, though the file may end before
_TIFF_TYPES = {2: 1, 3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_END_OF_IMAGE = b"\xff\xd9"
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # of JPEG, without those among pixels
_WITHOUT_LENGTH = (0x01, 0xD8)
_SCAN_BYTES = 64 << 10


def check_directory(path: AnyPath, name: str) -> None:
    """``InputError`` where a directory of a BigTIFF, or a value of one, has a place that no file has.

    libtiff would ask the system for the place, and print a line for each refusal.
    """
    if name != "geotiff":
        return
    with path.open("rb") as file:
        head = file.read(16)
        if len(head) < 16 or head[2:4] not in (b"+\0", b"\0+"):
            return
        order, nowhere = "<" if head[:2] == b"II" else ">", max(_FAR, path.stat().st_size)
        (at,) = struct.unpack(f"{order}Q", head[8:])
        for _ in range(_DIRECTORIES):
            if at >= nowhere or (
                at and (after := _next_directory(file, at, order, nowhere)) is None
            ):
                raise InputError(
                    f"{path}: a directory of this BigTIFF names a place that no file has, so that it is "
                    "damaged; copy it again from its origin"
                )
            if not at:
                return
            at = after


def _next_directory(file: Any, at: int, order: str, nowhere: int) -> int | None:
    """Where the directory after the one at byte ``at`` begins, 0 for none; None where a value has no place."""
    file.seek(at)
    (count,) = struct.unpack(f"{order}Q", file.read(8).ljust(8, b"\0"))
    entries = file.read(20 * min(count, _ENTRIES) + 8)
    if len(entries) < 20 * count + 8:
        return 0  # cut short, which GDAL says
    for _, kind, values, place in struct.iter_unpack(f"{order}HHQQ", entries[:-8]):
        if _TIFF_TYPES.get(kind, 1) * values > 8 and place >= nowhere:
            return None
    return int(struct.unpack(f"{order}Q", entries[-8:])[0])


def check_size(path: AnyPath, name: str, dataset: Any) -> None:
    """Refuse what no file of this size can hold, and blocks that can't be decoded in memory.

    Files are read box by box, so that a large extent alone is harmless, and a sparse or well
    compressed file may rightly be far smaller than its pixels. But a few MiB that claim more than
    a TiB are a mistake or an attack.
    """
    itemsize = max(np.dtype(d).itemsize for d in dataset.dtypes)
    claimed, real = dataset.width * dataset.height * dataset.count * itemsize, path.stat().st_size
    size = f"{dataset.count} x {dataset.height} x {dataset.width}"
    if claimed > 1024 * _TIB or (name != "vrt" and claimed > _TIB and claimed > 10_000 * real):
        raise InputError(
            f"{path}: declares {size} pixels, {show_bytes(claimed)}, in a file of "
            f"{show_bytes(real)}, which can't be true; check how it was made, or crop it"
        )
    if dataset.count != 3 and dataset.photometric == PhotometricInterp.ycbcr and name == "geotiff":
        raise InputError(
            f"{path}: its colours are YCbCr, which are three bands, and it declares {dataset.count}; write "
            "it anew with the program that made it"
        )
    if block_bytes(dataset) > BLOCK_LIMIT_BYTES:
        rows, columns = dataset.block_shapes[0]
        raise InputError(
            f"{path}: stored in blocks of {rows} x {columns} pixels, each of which takes "
            f"{show_bytes(block_bytes(dataset))} to decode; "
            "rewrite it with gdal_translate -co TILED=YES"
        )


def block_bytes(dataset: Any) -> int:
    """Bytes of one decoded block: of all bands where they are interleaved by pixel."""
    rows, columns = dataset.block_shapes[0]
    if dataset.driver == "JP2OpenJPEG":
        return decoded_bytes(dataset)
    structure = dataset.tags(ns="IMAGE_STRUCTURE")
    bands = dataset.count if structure.get("INTERLEAVE") == "PIXEL" else 1
    return int(rows * columns * bands * max(np.dtype(d).itemsize for d in dataset.dtypes))


def check_complete(path: AnyPath, name: str, dataset: Any) -> list[str]:
    """``InputError`` where the end of the file is missing; a warning where one block is cut.

    A block that begins in the file and ends outside of it is damage in one place: the rest can be
    used, and a read names the damaged box. A block that begins outside is a missing end.
    """
    cut = False
    if name == "geotiff":
        missing, cut = _tiff_ends(path, dataset)
    else:
        missing = not _COMPLETE.get(name, lambda path: True)(path)
    if missing:
        raise InputError(
            f"{path}: the file is cut short or damaged: pixels that its header promises are not "
            "there; copy it again from its origin"
        )
    return ["the file ends within a block: some pixels can't be read"] if cut else []


def _tiff_ends(path: AnyPath, dataset: Any) -> tuple[bool, bool]:
    """Of up to 2048 blocks spread evenly, and the last one: does any begin outside the file (or
    do all end outside)? Does any end outside?"""
    size = path.stat().st_size
    rows, columns = dataset.block_shapes[0]
    down, across = -(-dataset.height // rows), -(-dataset.width // columns)
    looks = sorted({*range(0, down * across, max(1, down * across // _LOOKS)), down * across - 1})
    starts, stops = [], []
    for band, block in itertools.product({1, dataset.count}, looks):
        at = f"{block % across}_{block // across}"
        start = dataset.get_tag_item(f"BLOCK_OFFSET_{at}", "TIFF", bidx=band)
        length = dataset.get_tag_item(f"BLOCK_SIZE_{at}", "TIFF", bidx=band)
        if start and length:
            starts.append(int(start))
            stops.append(int(start) + int(length))
    if not starts:
        return False, False
    return max(starts) >= size or min(stops) > size, max(stops) > size


def _png_complete(path: AnyPath) -> bool:
    """Whether every chunk is there with its checksum, up to IEND."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if not _png_chunk(file, kind, length):
                return False
            if kind == b"IEND":
                return True
    return False


def mask_files(path: Path, dataset: Any) -> list[str]:
    """The name of the file beside a raster that GDAL reads its mask from, if there is one."""
    return [
        name for name in (Path(listed).name for listed in dataset.files) if name == path.name + MASK
    ]


def unread_mask(path: Path, dataset: Any) -> tuple[str, ...]:
    """A line for a ``.msk`` file that GDAL passes over without a word."""
    name = path.name + MASK
    if mask_files(path, dataset) or not os.path.isfile(
        path.with_name(name)
    ):  # False for too long a name, too
        return ()
    return (f"{name} is not read, so it hides no pixel: it is damaged or of another size, or the image "
            "holds a mask itself",)  # fmt: skip


def _png_chunk(file: Any, kind: bytes, length: int) -> bool:
    checksum = zlib.crc32(kind)
    while length:
        piece = file.read(min(length, 1 << 20))
        if not piece:
            return False
        checksum, length = zlib.crc32(piece, checksum), length - len(piece)
    return bool(file.read(4) == struct.pack(">I", checksum))


def _jpeg_complete(path: AnyPath) -> bool:
    """Whether the image has its end: the last two bytes, or, where others follow (the video of a motion
    photo), by its segments. That of a thumbnail within a segment does not count."""
    with path.open("rb") as file:
        file.seek(-2, 2)
        if file.read() == _END_OF_IMAGE:
            return True
        file.seek(2)
        while (marker := _jpeg_marker(file)) is not None:
            if marker == _END_OF_IMAGE[1]:
                return True
            if marker not in _WITHOUT_LENGTH:
                file.seek(max(0, int.from_bytes(file.read(2), "big") - 2), 1)
    return False


def _jpeg_marker(file: Any) -> int | None:
    """The second byte of the next marker, after which the file then stands; None where there is none.
    Compressed pixels hold no other 0xFF than stuffed ones and restart markers."""
    last = b""
    while piece := file.read(_SCAN_BYTES):
        if match := _MARKER.search(last + piece):
            file.seek(match.end() - len(last) - len(piece), 1)
            return match[0][-1]
        last = piece[-1:]
    return None


_COMPLETE = {"png": _png_complete, "jpeg": _jpeg_complete, "jp2": jp2_complete}
