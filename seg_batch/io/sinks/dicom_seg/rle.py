"""RLE Lossless (PS3.5 Annex G). GDCM's encoder ends the process at some planes, and pydicom's is slow."""

from __future__ import annotations

import struct

import numpy as np

_MOST = 128  # bytes of a packet
_RUN = 3  # equal bytes from which on they are a run


def rle(plane: np.ndarray) -> bytes:
    """A frame of unsigned integers: a segment for each of their bytes, the highest first."""
    values = np.ascontiguousarray(plane, plane.dtype.newbyteorder(">"))
    octets = values.view(np.uint8).reshape(*plane.shape, plane.itemsize)
    parts = [_packed(octets[..., k]) for k in range(plane.itemsize)]
    parts = [part + b"\0" * (len(part) % 2) for part in parts]
    offsets = np.cumsum([64, *map(len, parts)])[:-1].tolist()
    header = struct.pack("<16I", len(parts), *offsets, *[0] * (15 - len(parts)))
    return header + b"".join(parts)


def _packed(plane: np.ndarray) -> bytes:
    """Runs, and what lies between them; neither crosses the end of a row."""
    flat = np.ascontiguousarray(plane).reshape(-1)
    begins = np.concatenate([[True], flat[1:] != flat[:-1]])
    begins[:: plane.shape[1]] = True
    starts = np.flatnonzero(begins)
    is_run = np.diff(starts, append=flat.size) >= _RUN
    apart = is_run | np.concatenate([[True], is_run[:-1]]) | (starts % plane.shape[1] == 0)
    starts, is_run = starts[apart], is_run[apart]
    data, out = flat.tobytes(), bytearray()
    stops = [*starts[1:].tolist(), flat.size]
    for start, stop, run in zip(starts.tolist(), stops, is_run.tolist(), strict=True):
        for at in range(start, stop, _MOST):
            count = min(_MOST, stop - at)
            if run and count > 1:
                out += bytes((257 - count, data[at]))
            else:
                out.append(count - 1)
                out += data[at : at + count]
    return bytes(out)
