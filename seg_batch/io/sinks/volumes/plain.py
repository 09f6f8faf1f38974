"""The voxels of a product as a plain file, and their check once the product is closed."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np

from seg_batch.core.errors import SegbatchError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import VolumeGeoref, georef_differences
from seg_batch.core.spells import spell
from seg_batch.io.sinks.nifti import put_box
from seg_batch.io.sinks.spec import ProductSpec, Read, damaged, read_ahead, samples
from seg_batch.io.sources.formats.volumes.layout import RAS_OF_LPS, VolumeLayout
from seg_batch.io.sources.formats.volumes.source import open_layout
from seg_batch.io.sources.formats.volumes.staging import voxel_bytes

_TOLERANCE = 1e-9  # numbers are written as text, to the last digit
PLAIN = "plain.raw"  # beside the part of a product, while it is made

Seen = Callable[[Box, np.ndarray], None]


def write_plain(plain: Path, spec: ProductSpec, read: Read, seen: Seen) -> None:
    """The voxels in the order of the file, ``i`` fastest, volumes of classes slowest. ``seen`` gets each box of labels."""
    with plain.open("wb") as file:
        for box, values in read_ahead(read, spec.boxes()):
            seen(box, values)
            bands = values if spec.is_probabilities else values[None]
            for band, voxels in enumerate(bands):
                put_box(file, 0, spec, band, box, voxels)


def lps_affine(spec: ProductSpec) -> np.ndarray:
    """``(i, j, k, 1)`` to millimetres in LPS+, without -0.0."""
    return RAS_OF_LPS @ place_of(spec).matrix + 0.0


def place_of(spec: ProductSpec) -> VolumeGeoref:
    assert isinstance(spec.georef, VolumeGeoref)
    return spec.georef.uncoded()


def axes_of(spec: ProductSpec) -> list[int]:
    """The lengths of the axes, the fastest first."""
    return [*reversed(spec.extent), *([spec.bands] if spec.is_probabilities else [])]


@spell("check")
def check_volume(layout: VolumeLayout, spec: ProductSpec, crc: int) -> None:
    """DamagedError unless the closed file reads back: shape, place, every byte."""
    part = layout.path
    try:
        wrong = georef_differences(place_of(spec), layout.georef, _TOLERANCE)
        written = layout.shape, layout.volumes, layout.components, layout.dtype.name
        same = reduce(lambda crc, piece: zlib.crc32(piece, crc), voxel_bytes(layout), 0) == crc
    except (SegbatchError, OSError, ValueError) as error:
        raise damaged(part, [str(error)]) from error
    expected = spec.extent, spec.bands, 1, spec.dtype
    if written != expected:
        wrong.append(f"shape, bands and type: {expected} became {written}")
    if not same:
        wrong.append("bytes differ")
    if wrong:
        raise damaged(part, wrong)


def check_plain(plain: Path, layout: VolumeLayout, spec: ProductSpec, again: Read) -> None:
    """DamagedError unless the reader of inputs gets the store's values at sampled places of the plain file."""
    raw = replace(layout, path=plain, files=(plain,), encoding="raw", offset=0)
    for band in range(spec.bands):
        with closing(open_layout("product", raw, band, None)) as source:
            for box in samples(spec.extent, 32):
                expected = again(box).reshape(spec.bands, *box.shape)[band]
                if not np.array_equal(source.read(box).values[..., 0], expected):
                    raise damaged(plain, [f"voxels differ at {box}"])
