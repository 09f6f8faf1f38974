"""Where the voxels of a volume lie in its files and in the world, whatever the text of its header looks like."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Shape
from seg_batch.core.georef import VolumeGeoref
from seg_batch.core.units import plural, show_bytes, with_commas
from seg_batch.io.sources.formats.nifti_header import is_invertible, skew_warnings

Encoding = Literal["raw", "deflate", "bzip2"]
# The best that an encoding can do: deflate 1032 : 1; bzip2 some 45 bytes for a block of 900 000.
_RATIO = {"raw": 1, "deflate": 1040, "bzip2": 40_000}
RAS_OF_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class VolumeLayout:
    """``path``: the header. ``files``: those with voxels, of which each holds as many; maybe ``path`` itself.

    ``shape`` is ``(z, y, x)`` of one volume, ``dtype`` as stored (maybe big-endian). ``components``: numbers of one
    voxel, which lie side by side. ``offset``: the byte of a file at which its (maybe compressed) data begins;
    negative: they end where the file does. ``skip``: bytes to pass over after decompression. ``oddities``: one sentence each.
    """

    path: Path
    files: tuple[Path, ...]
    shape: Shape
    volumes: int
    components: int
    dtype: np.dtype
    encoding: Encoding
    offset: int
    georef: VolumeGeoref
    skip: int = 0
    oddities: tuple[str, ...] = ()

    @property
    def volume_bytes(self) -> int:
        return math.prod(self.shape) * self.components * self.dtype.itemsize

    @property
    def total_bytes(self) -> int:
        """Of the voxels of all volumes."""
        return self.volumes * self.volume_bytes

    @property
    def file_bytes(self) -> int:
        """Of the voxels in each of the files."""
        return self.total_bytes // len(self.files)

    @property
    def is_plain(self) -> bool:
        """Whether boxes can be read where they lie."""
        return self.encoding == "raw" and len(self.files) == 1

    @property
    def is_detached(self) -> bool:
        """Whether the voxels lie beside the header."""
        return self.files != (self.path,)

    @property
    def first(self) -> int:
        """The byte of a plain file at which its voxels begin."""
        if self.offset >= 0:
            return self.offset
        return self.files[0].stat().st_size - self.total_bytes


def checked(layout: VolumeLayout) -> VolumeLayout:
    """The layout, where its files can hold the voxels; nothing is allocated before."""
    if layout.total_bytes % len(layout.files):
        raise InputError(
            f"{layout.path}: its header shares {show_bytes(layout.total_bytes)} of voxels among "
            f"{len(layout.files)} files, which can't be parts of one size; mend the header"
        )
    for file in layout.files:
        real = file.stat().st_size - max(0, layout.offset)
        needed = layout.file_bytes + layout.skip
        if needed > max(0, real) * _RATIO[layout.encoding]:
            where = f" in {file.name}" if layout.is_detached else ""
            raise InputError(
                f"{layout.path}: its header declares {show_bytes(needed)} of voxels{where}, but "
                f"{show_bytes(max(0, real))} can't hold them: it is cut short or its header is damaged; "
                "copy it again from its origin"
            )
    return replace(layout, oddities=(*layout.oddities, *_surplus(layout)))


def _surplus(layout: VolumeLayout) -> list[str]:
    """A line where a plain file goes on after its voxels: its header may say another type or size than it has."""
    if not layout.is_plain or layout.offset < 0:
        return []
    after = layout.files[0].stat().st_size - layout.offset - layout.total_bytes
    if after <= 0:
        return []
    return [
        f"{with_commas(after)} {plural(after, 'byte')} after the voxels: not read; is the header the one of this data?"
    ]


def placed(path: Path, affine: np.ndarray, units: str = "mm") -> tuple[VolumeGeoref, list[str]]:
    """The georeference of an affine (RAS+, ``(i, j, k, 1)`` to ``units``), and lines on its axes."""
    if not is_invertible(affine):
        raise InputError(
            f"{path}: its axes and origin can't be inverted (a direction is 0 or no number, or two are "
            "parallel), so that no voxel has a place; mend the header"
        )
    affine = affine + 0.0  # no -0.0
    georef = VolumeGeoref(tuple(map(tuple, affine.tolist())), units=units)
    return georef, skew_warnings(affine)


def whole_affine(axes: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """4 x 4 of two or three axes, the columns of ``axes``, in two or three dimensions of space. A third axis is the
    unit normal of two."""
    affine = np.eye(4)
    space, count = axes.shape
    affine[:space, :count], affine[:space, 3] = axes, origin
    if space == 3 and count == 2:
        normal = np.cross(axes[:, 0], axes[:, 1])
        affine[:3, 2] = normal / (np.linalg.norm(normal) or 1)
    return affine
