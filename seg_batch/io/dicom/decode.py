"""Pixels of one slice, as stored: of any transfer syntax, whole or not at all.

Native pixels are read from their place in the file. Encapsulated frames are cut out by their fragments and given to
pydicom's decoders (GDCM, CharLS, Pillow), after their own headers were compared with the file's: a few bytes of JPEG 2000 can
claim gigabytes, and decoders fill up with zeros what is cut short.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import UID, JPEGLSLossless, JPEGLSNearLossless, RLELossless

from seg_batch.io.dicom.header import PIXEL_KEYWORDS
from seg_batch.io.dicom.one_file.fragments import frames_in, require_whole
from seg_batch.io.dicom.one_file.part10 import UNDEFINED, Parsed, PixelElement, parsed
from seg_batch.io.dicom.one_file.values import Values
from seg_batch.io.dicom.series import PixelFormat, Slice
from seg_batch.io.dicom.tree import Tree

# GDCM ends the process over damaged JPEG-LS. Of the rest, pydicom takes what is there.
_PLUGINS: dict[str, str] = {JPEGLSLossless: "pyjpegls", JPEGLSNearLossless: "pyjpegls"}
_TAGS = tuple(tag for keyword in PIXEL_KEYWORDS if (tag := tag_for_keyword(keyword)) is not None)


class PixelReader:
    """The pixels of slices in a place. The file that was read last stays open: its next frame is a read away. May be
    called from several threads."""

    def __init__(self, tree: Tree) -> None:
        self._tree, self._lock = tree, threading.Lock()
        self._opened: _Opened | None = None

    def __call__(self, where: Slice) -> np.ndarray:
        """``(rows, columns)`` in the stored numbers; ``OSError`` or ``ValueError`` where the file can't be read."""
        with self._lock:
            if self._opened is None or self._opened.name != where.file:
                self._close()
                self._opened = _Opened.of(self._tree, where)
            pixels = self._opened.frame(where)
            if where.frame is None:
                self._close()
            return pixels

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.read.file.close()
            self._opened = None


def stored_pixels(tree: Tree, where: Slice) -> np.ndarray:
    """``(rows, columns)``, in the stored numbers; ``OSError`` or ``ValueError`` where the file can't be read."""
    reader = PixelReader(tree)
    try:
        return reader(where)
    finally:
        reader.close()


@dataclass(frozen=True)
class _Opened:
    """A file whose pixels are read. ``frames``: the fragments of each frame of encapsulated ones, as first byte and length."""

    name: str
    read: Parsed
    element: PixelElement
    count: int
    frames: tuple[tuple[tuple[int, int], ...], ...]

    @classmethod
    def of(cls, tree: Tree, where: Slice) -> _Opened:
        file = tree.open(where.file)
        try:
            read = parsed(file, _TAGS)
            if read is None or read.pixels is None:
                raise ValueError("it has no pixel data any more")
            values, element = Values(read.header), read.pixels
            if (values.whole("Rows"), values.whole("Columns")) != (where.rows, where.columns):
                raise ValueError("its size has changed since it was first read")
            count = values.whole("NumberOfFrames") or 1
            packed = UID(read.syntax).is_encapsulated or element.bytes == UNDEFINED
            frames = frames_in(read.file, element.first, count, values) if packed else ()
            return cls(where.file, read, element, count, frames)
        except BaseException:
            file.close()
            raise

    def frame(self, where: Slice) -> np.ndarray:
        pixels = where.format
        dtype = np.dtype(
            f"{'f' if pixels.floating else 'i' if pixels.signed else 'u'}{pixels.bits_allocated // 8}"
        )
        stored = self._packed(where) if self.frames else self._native(where, dtype)
        stored = stored.reshape(where.rows, where.columns)
        if pixels.floating:
            return stored
        return _used_bits(stored.astype(dtype, copy=False), pixels)

    def _native(self, where: Slice, dtype: np.dtype) -> np.ndarray:
        size = where.rows * where.columns * dtype.itemsize
        at = (where.frame or 0) * size
        if at + size > self.element.bytes:
            raise ValueError(f"its pixels end at byte {self.element.bytes} of {at + size}")
        order: Literal["<", ">"] = "<" if self.element.little_endian else ">"
        self.read.file.seek(self.element.first + at)
        data = self.read.file.read(size)
        if len(data) < size:
            raise EOFError(f"the file ends {size - len(data)} bytes before its pixels do")
        if order == ">" and self.element.words and dtype.itemsize == 1:
            if size % 2:
                raise ValueError(
                    "odd rows of bytes in big-endian words are not read here; convert it"
                )
            return np.frombuffer(data, "u2").byteswap().view(dtype)
        return np.frombuffer(data, dtype.newbyteorder(order)).astype(dtype)

    def _packed(self, where: Slice) -> np.ndarray:
        pixels, syntax = where.format, self.read.syntax
        data = b"".join(
            self._fragment(first, size) for first, size in self.frames[where.frame or 0]
        )
        require_whole(syntax, data, where)
        known: Any = {
            "rows": where.rows,
            "columns": where.columns,
            "number_of_frames": 1,
            "samples_per_pixel": 1,
            "bits_allocated": pixels.bits_allocated,
            "bits_stored": pixels.bits_allocated if syntax == RLELossless else pixels.bits_stored,
            "pixel_representation": int(pixels.signed),
            "photometric_interpretation": pixels.photometric,
            "pixel_keyword": "PixelData",
        }
        decoded, _ = get_decoder(syntax).as_array(
            encapsulate([data]),
            index=0,
            raw=True,
            decoding_plugin=_PLUGINS.get(syntax, ""),
            **known,
        )
        return decoded

    def _fragment(self, first: int, size: int) -> bytes:
        self.read.file.seek(first)
        data = self.read.file.read(size)
        if len(data) < size:
            raise EOFError(f"the file ends {size - len(data)} bytes before its pixels do")
        return data


def _used_bits(stored: np.ndarray, pixels: PixelFormat) -> np.ndarray:
    """Pixels without what lies in the bits that are not theirs, such as overlays (PS3.5 8.1.1), sign extended."""
    above = pixels.bits_allocated - pixels.high_bit - 1
    unused = pixels.bits_allocated - pixels.bits_stored
    if not unused:
        return stored
    shifted: np.ndarray = np.right_shift(np.left_shift(stored, above), unused)
    return shifted
