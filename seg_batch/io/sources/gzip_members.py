"""The data in a gzip file, and the bytes after its end that are none of it.

``gzip.open`` takes whatever follows a member for another one, and fails where it is not. gzip itself and ITK
pass over such bytes. Here the caller says how many bytes are wanted: what follows the member that
completes them is not looked at, even where it resembles a member.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

GZIP = b"\x1f\x8b"
# What zlib raises for damaged data, and what is raised here where the data ends too early.
GZIP_ERRORS = (zlib.error, EOFError)
_LEAST_BYTES = 348  # of a header
_READ_BYTES = 1 << 18
_PIECE_BYTES = 4 << 20
MEMBER_BYTES = 4 << 20  # of data in each member of the volumes that this package writes
# The empty member that ends a file of bgzip.
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


class GzipData:
    """The data in pieces: all members up to the one that completes the ``wanted`` bytes, with their
    checksums verified by the time the last piece is out.

    ``after``: how many bytes come then, without padding of zeros; known after the last piece. Data
    shorter than ``wanted`` is no error. Raises ``zlib.error`` where the data is damaged, ``EOFError``
    where it ends within a member.
    """

    after = 0

    def __init__(self, file: BinaryIO, wanted: int, piece_bytes: int = _PIECE_BYTES) -> None:
        self._file, self._wanted, self._piece_bytes = file, wanted, piece_bytes

    def __iter__(self) -> Iterator[bytes]:
        total, rest = 0, b""
        while True:
            member = zlib.decompressobj(wbits=31)
            while not member.eof:
                rest = member.unconsumed_tail or rest or self._file.read(_READ_BYTES)
                if not rest:
                    raise EOFError("it ends within its data")
                piece, rest = member.decompress(rest, self._piece_bytes), b""
                total += len(piece)
                if piece:
                    yield piece
            rest = self._without_zeros(member.unused_data)
            if total >= self._wanted or not rest.startswith(GZIP):
                self.after = 0 if rest == _BGZF_END else self._count(rest)
                return

    def _without_zeros(self, rest: bytes) -> bytes:
        """What follows a member, from its first byte on that is no padding."""
        while not (rest := rest.lstrip(b"\0")):
            if not (rest := self._file.read(_READ_BYTES)):
                return b""
        return rest + self._file.read(len(_BGZF_END))  # whole, where a read has parted it

    def _count(self, rest: bytes) -> int:
        at = self._file.tell()
        return len(rest) + self._file.seek(0, 2) - at


def gzip_head(path: Path, count: int) -> bytes:
    """The first ``count`` bytes of the data, fewer where it is shorter. ``GZIP_ERRORS`` where it is damaged
    before ``_LEAST_BYTES``: whether what follows is part of the data, the header tells."""
    head = b""
    try:
        with path.open("rb") as file:
            for piece in GzipData(file, count, count):
                head += piece
                if len(head) >= count:
                    break
    except GZIP_ERRORS:
        if len(head) < _LEAST_BYTES:
            raise
    return head[:count]


def ends_plainly(path: Path, size: int) -> bool:
    """Whether the last bytes of a gzip file are those of data of ``size`` bytes in one member or in those
    of ``MEMBER_BYTES``, or of a file of bgzip: then nothing follows its data. Reads the last bytes only."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - len(_BGZF_END)))
        tail = file.read()
    last = {size % (1 << 32), (size - 1) % MEMBER_BYTES + 1}  # of data in the last member
    return tail == _BGZF_END or int.from_bytes(tail[-4:], "little") in last
