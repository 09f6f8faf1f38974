"""MetaImage products: labels with the place of their input in one ``.mha``, zlib-compressed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from seg_batch.core.geometry import Box
from seg_batch.io.sinks.spec import ProductSpec, Read
from seg_batch.io.sinks.volumes.deflated import write_zlib
from seg_batch.io.sinks.volumes.plain import (
    PLAIN,
    axes_of,
    check_plain,
    check_volume,
    lps_affine,
    write_plain,
)
from seg_batch.io.sources.formats.volumes.metaimage import read_metaimage

_TYPES = {"uint8": "MET_UCHAR", "uint16": "MET_USHORT", "float32": "MET_FLOAT"}
_PACKED = "packed.zlib"


def write_metaimage(part: Path, spec: ProductSpec, read: Read, again: Read) -> None:
    """Write ``part`` and check it; ``read`` is called once for each box, ``again`` for a few samples.
    DamagedError when it does not read back."""
    plain, packed = part.with_name(PLAIN), part.with_name(_PACKED)
    write_plain(plain, spec, read, _pass)
    with plain.open("rb") as voxels, packed.open("wb") as file:
        crc = write_zlib(voxels, file)
    with packed.open("rb") as data, part.open("wb") as file:
        file.write(_header(spec, packed.stat().st_size))
        shutil.copyfileobj(data, file, 1 << 20)
    layout = read_metaimage(part)
    check_plain(plain, layout, spec, again)
    check_volume(layout, spec, crc)


def _pass(box: Box, labels: np.ndarray) -> None:
    """Nothing is asked of the labels."""


def _header(spec: ProductSpec, packed_bytes: int) -> bytes:
    affine, sizes = lps_affine(spec), axes_of(spec)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    rank = len(sizes)
    matrix, spacing, origin = np.eye(rank), np.ones(rank), np.zeros(rank)
    matrix[:3, :3], spacing[:3], origin[:3] = (affine[:3, :3] / lengths).T, lengths, affine[:3, 3]
    fields = {
        "ObjectType": "Image",
        "NDims": str(rank),
        **{_safe(key): _safe(value) for key, value in spec.tags.items()},
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(packed_bytes),
        "TransformMatrix": _row(matrix),
        "Offset": _row(origin),
        "CenterOfRotation": _row(np.zeros(rank)),
        "ElementSpacing": _row(spacing),
        "DimSize": " ".join(map(str, sizes)),
        "ElementType": _TYPES[spec.dtype],
        "ElementDataFile": "LOCAL",
    }
    return "".join(f"{name} = {value}\n" for name, value in fields.items()).encode()


def _row(numbers: np.ndarray) -> str:
    return " ".join(map(repr, (numbers.ravel() + 0.0).tolist()))


def _safe(text: str) -> str:
    return " ".join(text.replace("=", ":").split())
