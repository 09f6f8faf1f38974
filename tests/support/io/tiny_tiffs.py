"""TIFF files of one strip, written without GDAL: any type, any text as nodata, any marks of alpha."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_SAMPLES = {"u": 1, "i": 2, "f": 3}
UNASSOCIATED, PREMULTIPLIED, UNSAID = 2, 1, 0


def write_tiff(
    path: Path,
    bands: np.ndarray,
    *,
    nodata: str | None = None,
    rgb: bool = False,
    extra: Sequence[int] | None = None,
) -> Path:
    """Write ``(C, y, x)``. ``nodata``: the text of the tag. ``rgb``: the first three bands are colours.
    ``extra``: what the other samples are, as ``UNASSOCIATED`` alpha, ``PREMULTIPLIED`` or ``UNSAID``."""
    count, height, width = bands.shape
    little = bands.transpose(1, 2, 0).astype(bands.dtype.newbyteorder("<"))
    pixels = little.tobytes() + b"\0" * (little.nbytes % 2)
    further = count - (3 if rgb else 1)
    tags: list[tuple[int, str, Sequence[int] | bytes]] = [
        (256, "I", [width]),
        (257, "I", [height]),
        (258, "H", [8 * bands.dtype.itemsize] * count),
        (259, "H", [1]),
        (262, "H", [2 if rgb else 1]),
        (273, "I", [8]),
        (277, "H", [count]),
        (278, "I", [height]),
        (279, "I", [little.nbytes]),
        (284, "H", [1]),
    ]
    if further:
        tags.append((338, "H", list(extra or [UNSAID] * further)))
    tags.append((339, "H", [_SAMPLES[bands.dtype.kind]] * count))
    if nodata is not None:
        tags.append((42113, "s", nodata.encode() + b"\0"))
    start = 8 + len(pixels)
    path.write_bytes(b"II*\0" + struct.pack("<I", start) + pixels + _directory(tags, start))
    return path


def _directory(tags: list[tuple[int, str, Sequence[int] | bytes]], start: int) -> bytes:
    entries, values = struct.pack("<H", len(tags)), b""
    end = start + 2 + 12 * len(tags) + 4
    for tag, kind, value in tags:
        raw = value if isinstance(value, bytes) else struct.pack(f"<{len(value)}{kind}", *value)
        place = raw.ljust(4, b"\0")
        if len(raw) > 4:
            place, values = (
                struct.pack("<I", end + len(values)),
                values + raw + b"\0" * (len(raw) % 2),
            )
        entries += struct.pack("<HHI", tag, {"H": 3, "I": 4, "s": 2}[kind], len(value)) + place
    return entries + struct.pack("<I", 0) + values
