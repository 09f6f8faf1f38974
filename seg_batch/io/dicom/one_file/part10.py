"""The elements of a DICOM file up to its pixels, whoever wrote it: PS3.10 files, files without preamble or meta
header, and deflated ones, within bounds of memory.

pydicom reads the elements. What it would read without a limit, an inflated data set and elements as long as they say,
is limited here: a file can claim anything.
"""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from seg_batch.io.dicom.first_bytes import HEAD_BYTES, begins_dicom

# pydicom logs and warns of values that it does not expect, and quotes them: they may be a patient's. What matters of
# them is refused in words of our own.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")

UNDEFINED = 0xFFFFFFFF  # the length of what is encapsulated
_MOST_ELEMENT_BYTES = 64 << 20  # of the functional groups of some 30 000 frames
MOST_INFLATED_BYTES = 512 << 20  # a deflated data set is held whole
_PIXELS = {0x0010: "PixelData", 0x0008: "FloatPixelData", 0x0009: "DoubleFloatPixelData"}
_LONG = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN")


class DamagedError(ValueError):
    """A file that is DICOM and can't be parsed."""


@dataclass(frozen=True)
class Parsed:
    """``header``: the elements asked for. ``file``: of the data set, inflated where it was deflated; ``pixels``: where in it
    they are, None where it has none. ``syntax``: UID of the transfer syntax; ``sop_class``: as the meta header says it."""

    header: Dataset
    syntax: str
    file: BinaryIO
    pixels: PixelElement | None
    sop_class: str = ""


@dataclass(frozen=True)
class PixelElement:
    """The element of pixels: its keyword, its first byte and its length, which may be ``UNDEFINED``. ``words``: its bytes
    are swapped in pairs where the file is big-endian."""

    keyword: str
    first: int
    bytes: int
    little_endian: bool
    words: bool


class _InflateError(Exception):
    """pydicom wants all that follows in one piece: a deflated data set, which begins at ``at``."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


class _Bounded:
    """A file of which no single piece larger than ``_MOST_ELEMENT_BYTES`` is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        if size is None or size < 0:
            raise _InflateError(self.tell())
        if size > _MOST_ELEMENT_BYTES:
            raise DamagedError(f"an element of {size} bytes before its pixels")
        return self._file.read(size)


def parsed(file: BinaryIO, tags: Sequence[int]) -> Parsed | None:
    """Elements with these tags; None where the file is not DICOM, ``DamagedError`` where it can't be parsed."""
    if not begins_dicom(file.read(HEAD_BYTES)):
        return None
    file.seek(0)
    try:
        return _parsed(file, tags)
    except (OSError, MemoryError, DamagedError):
        raise
    except Exception as error:  # whatever a damaged file makes of the parser
        raise DamagedError(
            f"{type(error).__name__}: {' '.join(str(error).split())}"[:120]
        ) from None


def _parsed(file: BinaryIO, tags: Sequence[int]) -> Parsed:
    try:
        header = pydicom.dcmread(
            _Bounded(file),  # type: ignore[arg-type]
            stop_before_pixels=True,
            force=True,
            specific_tags=list(tags),
        )
    except _InflateError as deflated:
        return _inflated(file, deflated.at, tags)
    implicit, little = header.original_encoding
    guessed = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    guessed = guessed if little is not False else ExplicitVRBigEndian
    meta = getattr(header, "file_meta", {})
    syntax = str(meta.get("TransferSyntaxUID") or guessed)
    if not UID(syntax).is_transfer_syntax or UID(syntax).is_private:
        raise DamagedError(f"its transfer syntax {syntax[:64]} is none that is read here")
    element = _pixel_element(file, little is not False)
    return Parsed(header, syntax, file, element, str(meta.get("MediaStorageSOPClassUID") or ""))


def _inflated(file: BinaryIO, at: int, tags: Sequence[int]) -> Parsed:
    """A deflated data set (PS3.5 A.5), which is held whole, as far as ``MOST_INFLATED_BYTES``."""
    file.seek(at)
    engine, pieces, total = zlib.decompressobj(-zlib.MAX_WBITS), list[bytes](), 0
    while not engine.eof:
        raw = engine.unconsumed_tail or file.read(1 << 20)
        if not raw:
            raise DamagedError("its deflated data is cut short")
        pieces.append(engine.decompress(raw, 8 << 20))
        total += len(pieces[-1])
        if total > MOST_INFLATED_BYTES:
            raise DamagedError(f"its deflated data grows beyond {MOST_INFLATED_BYTES >> 20} MiB")
    data = io.BytesIO(b"".join(pieces))
    pieces.clear()
    header = read_dataset(
        _Bounded(data),  # type: ignore[arg-type]
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, vr, length: tag >> 16 == 0x7FE0,
        specific_tags=list(tags),  # type: ignore[arg-type]
    )
    return Parsed(header, str(DeflatedExplicitVRLittleEndian), data, _pixel_element(data, True))


def _pixel_element(file: BinaryIO, little_endian: bool) -> PixelElement | None:
    """The element that begins here. Its own bytes say whether its VR is written out: some writers mix both."""
    order, head = "<" if little_endian else ">", file.read(8)
    if len(head) < 8:
        return None
    group, element = struct.unpack(f"{order}HH", head[:4])
    if group != 0x7FE0 or element not in _PIXELS:
        return None
    rest = file.read(4) if head[4:6] in _LONG else head[4:]
    if len(rest) < 4:
        return None
    (length,) = struct.unpack(f"{order}I", rest)
    return PixelElement(_PIXELS[element], file.tell(), length, little_endian, head[4:6] == b"OW")
