"""One stream of gzip or zlib, whose pieces are compressed in threads.

Readers of NRRD and MetaImage take one member, so pieces are no members here as in NIfTI products: each is a run of
deflate blocks that ends at a byte (RFC 1951, 3.2.4), and between header and checksum they follow one another.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import IO

from seg_batch.core.hardware import cores

_LEVEL = 6  # makes labels half as large as level 1
_PIECE_BYTES = 4 << 20
# No time, no name, no system: bytes are reproducible.
_GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_ZLIB_HEAD = b"\x78\x9c"
_LAST = b"\x03\0"  # an empty block that ends the stream


def write_gzip(plain: IO[bytes], out: IO[bytes]) -> int:
    """Compress the rest of ``plain`` (RFC 1952); returns its CRC-32."""
    start = plain.tell()
    out.write(_GZIP_HEAD)
    crc = 0
    for piece, packed in _packed(plain):
        crc = zlib.crc32(piece, crc)
        out.write(packed)
    out.write(_LAST + struct.pack("<II", crc, (plain.tell() - start) & 0xFFFFFFFF))
    return crc


def write_zlib(plain: IO[bytes], out: IO[bytes]) -> int:
    """Compress the rest of ``plain`` (RFC 1950); returns its CRC-32."""
    out.write(_ZLIB_HEAD)
    crc, adler = 0, 1
    for piece, packed in _packed(plain):
        crc, adler = zlib.crc32(piece, crc), zlib.adler32(piece, adler)
        out.write(packed)
    out.write(_LAST + struct.pack(">I", adler))
    return crc


def _packed(plain: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    pieces = iter(partial(plain.read, _PIECE_BYTES), b"")
    with ThreadPoolExecutor(cores()) as threads:
        while group := list(islice(pieces, 2 * cores())):
            yield from zip(group, threads.map(_blocks, group), strict=True)


def _blocks(piece: bytes) -> bytes:
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
    return stream.compress(piece) + stream.flush(zlib.Z_FULL_FLUSH)
