"""Encapsulated frames: where their fragments lie (PS3.5 A.4), and whether they are what the file says.

A frame is one fragment or several. The basic or extended offset table says where each begins; without one, each fragment is a
frame, or all are the only one.
"""

from __future__ import annotations

import itertools
import re
import struct
from typing import BinaryIO

from pydicom.uid import (
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from seg_batch.io.dicom.one_file.values import Values
from seg_batch.io.dicom.series import Slice

Fragments = tuple[tuple[int, int], ...]
_ITEM, _END = 0xFFFEE000, 0xFFFEE0DD
_MOST_TABLE_BYTES = 8 << 20
_RLE_HEADER_BYTES = 64
_FRAME_BEGINS = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf\xf7]")


def frames_in(file: BinaryIO, first: int, count: int, values: Values) -> tuple[Fragments, ...]:
    """The fragments of each of ``count`` frames; ``ValueError`` where they can't be told apart or are cut short."""
    items = _items(file, first)
    if not items:
        raise EOFError("the file ends before its pixels begin")
    (at, size), fragments = items[0], items[1:]
    table = _offsets(file, at, size)
    extended = values.data.get("ExtendedOffsetTable")
    if isinstance(extended, bytes) and len(extended) == 8 * count:
        table = struct.unpack(f"<{count}Q", extended)
    if count == 1:
        return (tuple(fragments),)
    if len(fragments) == count:
        return tuple((each,) for each in fragments)
    if len(table) != count or not fragments:
        raise ValueError(
            f"{count} frames in {len(fragments)} pieces, and no table says which are whose"
        )
    return _by_offsets(table, fragments)


def _by_offsets(table: tuple[int, ...], fragments: list[tuple[int, int]]) -> tuple[Fragments, ...]:
    """Offsets count from the item of the first fragment, 8 bytes before its data."""
    begins = {first - fragments[0][0]: n for n, (first, _) in enumerate(fragments)}
    if any(offset not in begins for offset in table) or list(table) != sorted(table):
        raise ValueError("the table of its frames points between their pieces")
    numbers = [*(begins[offset] for offset in table), len(fragments)]
    return tuple(tuple(fragments[a:b]) for a, b in itertools.pairwise(numbers))


def _items(file: BinaryIO, at: int) -> list[tuple[int, int]]:
    """First byte and length of each item, as far as the sequence goes."""
    items = list[tuple[int, int]]()
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            raise EOFError("the file ends within its pixels")
        group, element, length = struct.unpack("<HHI", head)
        tag = group << 16 | element
        if tag == _END:
            return items
        if tag != _ITEM or length == 0xFFFFFFFF:
            raise ValueError("its pixels are no sequence of pieces")
        items.append((at + 8, length))
        at += 8 + length


def _offsets(file: BinaryIO, at: int, size: int) -> tuple[int, ...]:
    if size == 0 or size % 4 or size > _MOST_TABLE_BYTES:
        return ()
    file.seek(at)
    data = file.read(size)
    return struct.unpack(f"<{len(data) // 4}I", data) if len(data) == size else ()


def require_whole(syntax: str, data: bytes, where: Slice) -> None:
    """``ValueError`` unless a frame is of the size that the file says, and goes on to its end."""
    if syntax == RLELossless:
        _require_rle(data, where)
        return
    if syntax in JPEG2000TransferSyntaxes:
        size = _size_of_jpeg_2000(data)
    elif syntax in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes):
        size = _size_of_jpeg(data)
    else:
        raise ValueError(f"its transfer syntax {syntax} has no reader here; convert it")
    if size != (where.rows, where.columns, 1):
        rows, columns, samples = size
        raise ValueError(
            f"its compressed pixels are {columns} x {rows} of {samples} samples, where the header says "
            f"{where.columns} x {where.rows}"
        )
    if b"\xff\xd9" not in data[-16:]:
        raise ValueError("its compressed pixels are cut short: they have no end")


def _size_of_jpeg(data: bytes) -> tuple[int, int, int]:
    """Rows, columns and samples of the frame header of JPEG and JPEG-LS (ISO 10918-1 B.2.2, 14495-1 C.2.2)."""
    at = 2
    while at + 10 <= len(data) and data[:2] == b"\xff\xd8":
        if data[at] != 0xFF:
            break
        if _FRAME_BEGINS.match(data[at : at + 2]):
            rows, columns, samples = struct.unpack(">HHB", data[at + 5 : at + 10])
            return rows, columns, samples
        if data[at + 1] == 0xFF:
            at += 1
            continue
        at += 2 + int(struct.unpack(">H", data[at + 2 : at + 4])[0])
    raise ValueError("its compressed pixels have no frame header")


def _size_of_jpeg_2000(data: bytes) -> tuple[int, int, int]:
    """Rows, columns and samples of the SIZ marker (ISO 15444-1 A.5.1), which comes first."""
    begin = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if begin < 0 or len(data) < begin + 42:
        raise ValueError("its compressed pixels have no size marker")
    x1, y1, x0, y0 = struct.unpack(">4I", data[begin + 8 : begin + 24])
    (samples,) = struct.unpack(">H", data[begin + 40 : begin + 42])
    return y1 - y0, x1 - x0, samples


def _require_rle(data: bytes, where: Slice) -> None:
    """One segment for each byte of a pixel, and each of a length that its plane can take (PS3.5 G.3)."""
    words = where.format.bits_allocated // 8
    if len(data) < _RLE_HEADER_BYTES:
        raise ValueError("its compressed pixels have no header")
    count, *offsets = struct.unpack("<16I", data[:_RLE_HEADER_BYTES])
    if count != words:
        raise ValueError(f"its compressed pixels are {count} segments, where {words} belong")
    begins = [*offsets[:count], len(data)]
    most = 2 * where.rows * where.columns + 1024  # a byte of itself takes two
    if begins != sorted(begins) or any(b - a > most for a, b in itertools.pairwise(begins)):
        raise ValueError("its compressed segments are longer than its pixels")
