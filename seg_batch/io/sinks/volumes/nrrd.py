"""NRRD products: labels with the place of their input, and Slicer's segmentations with names and colours.

The voxels are gzip-compressed behind the header, which every reader of the format takes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seg_batch.core.geometry import Box
from seg_batch.io.sinks.spec import ProductSpec, Read
from seg_batch.io.sinks.volumes.deflated import write_gzip
from seg_batch.io.sinks.volumes.plain import (
    PLAIN,
    axes_of,
    check_plain,
    check_volume,
    lps_affine,
    write_plain,
)
from seg_batch.io.sinks.volumes.segments import Extents, segment_keys
from seg_batch.io.sources.formats.volumes.nrrd import read_nrrd

_TYPES = {"uint8": "unsigned char", "uint16": "unsigned short", "float32": "float"}


def write_nrrd(part: Path, spec: ProductSpec, read: Read, again: Read, *, segments: bool) -> None:
    """Write ``part`` and check it; ``read`` is called once for each box, ``again`` for a few samples.
    ``segments``: as Slicer writes a segmentation. DamagedError when it does not read back."""
    plain, extents = part.with_name(PLAIN), Extents(zero=spec.background != 0)
    write_plain(plain, spec, read, extents.add if segments else _pass)
    keys = {**spec.tags, **(segment_keys(spec, extents) if segments else {})}
    with plain.open("rb") as voxels, part.open("wb") as file:
        file.write(_header(spec, keys))
        crc = write_gzip(voxels, file)
    layout = read_nrrd(part)
    check_plain(plain, layout, spec, again)
    check_volume(layout, spec, crc)


def _pass(box: Box, labels: np.ndarray) -> None:
    """Nothing is asked of the labels."""


def _header(spec: ProductSpec, keys: dict[str, str]) -> bytes:
    affine, sizes = lps_affine(spec), axes_of(spec)
    directions = [_vector(affine[:3, axis]) for axis in range(3)]
    more = [] if len(sizes) == 3 else ["none"]
    lines = [
        "NRRD0004",
        "# Complete NRRD file format specification at:",
        "# http://teem.sourceforge.net/nrrd/format.html",
        f"type: {_TYPES[spec.dtype]}",
        f"dimension: {len(sizes)}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, sizes))}",
        f"space directions: {' '.join([*directions, *more])}",
        f"kinds: {' '.join(['domain'] * 3 + ['list'] * len(more))}",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(affine[:3, 3])}",
        *(f"{key}:={_escaped(value)}" for key, value in keys.items()),
    ]
    return "\n".join([*lines, "", ""]).encode()


def _vector(numbers: np.ndarray) -> str:
    return f"({','.join(map(repr, numbers.tolist()))})"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\r", " ").replace("\n", "\\n")
