"""NIfTI-1 and NIfTI-2, ``.nii``, ``.nii.gz`` and pairs of ``.hdr`` and ``.img``, of either byte order.

The extent is ``z, y, x`` = the file's ``k, j, i``: the file stores ``i`` fastest, so that this is
its own order and nothing is rearranged. Raw numbers are read; slope and intercept are kept beside
them. Reads go to the file descriptor, not through a memory map: mapped pages count as memory.
"""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

import nibabel
import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Pixels
from seg_batch.core.units import plural, with_commas
from seg_batch.io.sources.arrays.shown import source_html
from seg_batch.io.sources.formats.nifti_header import (
    NiftiLayout,
    georef_warnings,
    read_layout,
    scaling,
    volume_georef,
)
from seg_batch.io.sources.formats.nifti_staging import bytes_after_end, leading_bytes, stage
from seg_batch.io.sources.formats.plain_boxes import PlainBoxes
from seg_batch.io.sources.formats.volumes.identity import volume_identity
from seg_batch.io.sources.gzip_members import GZIP_ERRORS
from seg_batch.io.sources.protocol import SourceInfo, chosen_volume, read_error, require_inside
from seg_batch.io.sources.tolerant_read import RetryLimit
from seg_batch.io.sources.valid_mask import valid_mask

_CHEAP_BYTES = 4 << 20
_LEADING_BYTES = 128 << 20  # half a second of gzip


class NiftiSource:
    """One 3-D volume of a NIfTI file; ``read`` gives ``(z, y, x, 1)``."""

    _repr_html_ = source_html

    def __init__(
        self, path: Path, info: SourceInfo, layout: NiftiLayout, first: int, plain: Path | None
    ) -> None:
        self.info, self._path, self._layout = info, path, layout
        self._boxes = PlainBoxes(layout.dtype, layout.shape, first)
        self._lock, self._again = threading.Lock(), RetryLimit()
        self._file: int | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._plain = plain  # the uncompressed file; None: made at the first read
        self._closed = False

    def read(self, box: Box) -> Pixels:
        """``Pixels`` of shape ``(*box.shape, 1)``; ``ReadError`` where the file fails."""
        require_inside(self.info, box)
        try:
            values = self._again(lambda: self._boxes.read(self._descriptor(), box))
        except (OSError, EOFError) as error:
            raise read_error(self.info, box, error) from error
        return self._pixels(values)

    def _pixels(self, values: np.ndarray) -> Pixels:
        values = values[..., None]
        return Pixels(values, valid_mask(values, ((),)), self.info.scale, self.info.offset)

    def leading(self, most_bytes: int) -> tuple[Box, Pixels] | None:
        """The first planes, of at most so many bytes, and their box: without a copy of a compressed
        file on disk. None where that takes too long; ``ReadError`` where the file fails."""
        plane_bytes = self._layout.volume_bytes // self.info.extent[0]
        planes = min(self.info.extent[0], max(1, most_bytes // plane_bytes))
        box = Box.whole((planes, *self.info.extent[1:]))
        if self._plain is not None:
            return box, self.read(box)
        if self._boxes.first + planes * plane_bytes > _LEADING_BYTES:
            return None
        try:
            data = leading_bytes(self._layout.data, self._boxes.first, planes * plane_bytes)
        except (OSError, *GZIP_ERRORS) as error:
            raise read_error(self.info, box, error) from error
        values = np.frombuffer(data, self._layout.dtype).reshape(box.shape)
        return box, self._pixels(values.astype(values.dtype.newbyteorder("="), copy=False))

    def _descriptor(self) -> int:
        """The open file; a compressed one is staged to a private folder at the first read."""
        with self._lock:
            if self._closed:
                raise ValueError(f"{self._path}: read after close")
            if self._plain is None:
                self._folder = tempfile.TemporaryDirectory(prefix="segbatch-")
                self._plain = stage(self._path, Path(self._folder.name))
            if self._file is None:
                self._file = os.open(self._plain, os.O_RDONLY)
            return self._file

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._file is not None:
                os.close(self._file)
            if self._folder is not None:
                self._folder.cleanup()
            self._file = self._folder = None


def open_nifti(path: Path, *, volume: int | None = None, staged: Path | None = None) -> NiftiSource:
    """Open one volume of a NIfTI file; ``InputError`` in one line for what can't be used."""
    layout = read_layout(path)
    what = f"a 4-D image of {layout.volumes} volumes"
    volume = chosen_volume(path, what, layout.volumes, volume)
    after = 0 if staged else bytes_after_end(layout)
    info = _describe(path, layout, after)
    plain = staged if layout.compressed else layout.data
    if layout.compressed and staged is not None:
        whole = staged.is_file() and staged.stat().st_size >= layout.stop_bytes
        if not whole:
            raise InputError(f"{staged}: not a whole copy of {path}; remove it and run again")
    return NiftiSource(path, info, layout, layout.offset + volume * layout.volume_bytes, plain)


def _surplus(after: int) -> list[str]:
    if not after:
        return []
    return [
        f"{with_commas(after)} {plural(after, 'byte')} after the end of the gzip data: not read"
    ]


def _describe(path: Path, layout: NiftiLayout, after: int) -> SourceInfo:
    plane_bytes = layout.volume_bytes // layout.shape[0]
    planes = min(layout.shape[0], max(1, _CHEAP_BYTES // plane_bytes))  # each lies in one piece
    scale, offset = scaling(layout)
    try:
        georef = volume_georef(layout.header)
    except ValueError as error:
        raise InputError(
            f"{path}: its affine can't be inverted ({error}), so that no voxel has a place; "
            "mend the header (nibabel: image.set_sform)"
        ) from error
    return SourceInfo(
        path=str(path),
        format="nifti",
        kind="volume",
        extent=layout.shape,
        channels=("intensity",),
        dtype=layout.dtype.newbyteorder("=").name,
        georef=georef,
        chunk=(planes, *layout.shape[1:]),
        nodata=(None,),
        identity=volume_identity(path, [layout.data]),
        warnings=(
            *georef_warnings(georef, layout.shape, layout.header),
            *layout.oddities,
            *_surplus(after),
        ),
        facts={
            "orientation": "".join(nibabel.aff2axcodes(georef.matrix)),
            "volumes": layout.volumes,
            "compressed": layout.compressed,
            "byte_order": "big" if layout.header.endianness == ">" else "little",
            "block_bytes": plane_bytes,
        },
        scale=scale,
        offset=offset,
    )
