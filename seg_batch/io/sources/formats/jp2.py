"""What a JPEG 2000 file says of itself before it is decoded: its end, and what decoding a tile takes.

ISO/IEC 15444-1: boxes, and a codestream of tile-parts, each of which tells its length.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

_CODESTREAM, _TILE, _DATA, _END = b"\xff\x4f", b"\xff\x90", b"\xff\x93", b"\xff\xd9"
_MOST_PARTS, _MOST_BOXES = 1 << 20, 10_000
_SAMPLE_BYTES = 4  # a sample while a tile is decoded, whatever its depth


def decoded_bytes(dataset: Any) -> int:
    """Bytes held while one block is decoded: all components of it, beside those that are handed on."""
    rows, columns = dataset.block_shapes[0]
    return int(rows * columns * dataset.count * 2 * _SAMPLE_BYTES)


def jp2_complete(path: Path) -> bool:
    """Whether all tile-parts of the codestream lie in the file, and its last mark."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start, end = (0, size) if file.read(2) == _CODESTREAM else _stream(file, size)
        return 0 <= start < end <= size and _has_end(file, start, end)


def _stream(file: Any, size: int) -> tuple[int, int]:
    """Where the codestream begins and ends among the boxes; -1 for both where there is none."""
    at = 0
    for _ in range(_MOST_BOXES):
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            break
        length, kind, begin = int.from_bytes(head[:4], "big"), head[4:8], 8
        if length == 1:
            length, begin = int.from_bytes(head[8:16], "big"), 16
        if kind == b"jp2c":
            return at + begin, at + length if length else size
        if length < begin:
            break
        at += length
    return -1, -1


def _has_end(file: Any, start: int, end: int) -> bool:
    at = _first_tile(file, start)
    for _ in range(_MOST_PARTS):
        file.seek(at)
        head = file.read(12)
        if head[:2] == _END:
            return True
        if head[:2] != _TILE or len(head) < 12:
            return False
        (length,) = struct.unpack(">I", head[6:10])
        if length == 0:  # up to the end
            file.seek(end - 2)
            return bool(file.read(2) == _END)
        if length < 14 or at + length > end:
            return False
        at += length
    return False


def _first_tile(file: Any, start: int) -> int:
    """Where the segments before the first tile-part end."""
    at = start + 2
    while True:
        file.seek(at)
        head = file.read(4)
        if len(head) < 4 or head[:2] == _TILE or head[0] != 0xFF:
            return at
        at += 2 + int.from_bytes(head[2:], "big")
