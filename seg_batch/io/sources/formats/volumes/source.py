"""A volume that a header of text describes, read box by box; ``read`` gives ``(z, y, x, channel)``.

SimpleITK would read the whole of an NRRD, or of anything compressed, for any box of it. So the voxels are read
here from the file itself, or from its plain copy.
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
from seg_batch.io.sources.arrays.shown import source_html
from seg_batch.io.sources.formats.plain_boxes import PlainBoxes
from seg_batch.io.sources.formats.volumes.identity import volume_identity
from seg_batch.io.sources.formats.volumes.layout import VolumeLayout
from seg_batch.io.sources.formats.volumes.staging import stage_layout
from seg_batch.io.sources.protocol import SourceInfo, chosen_volume, read_error, require_inside
from seg_batch.io.sources.tolerant_read import RetryLimit
from seg_batch.io.sources.valid_mask import valid_mask

_CHEAP_BYTES = 4 << 20


class VolumeSource:
    """One volume of a layout. ``plain``: the file with its voxels uncompressed; None: made at the first read."""

    _repr_html_ = source_html

    def __init__(
        self, info: SourceInfo, layout: VolumeLayout, first: int, plain: Path | None
    ) -> None:
        self.info, self._layout, self._plain = info, layout, plain
        (z, y, x), n = layout.shape, layout.components  # which lie side by side
        self._boxes = PlainBoxes(layout.dtype, (z, y, x * n), first)
        self._lock, self._again = threading.Lock(), RetryLimit()
        self._file: int | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._closed = False

    def read(self, box: Box) -> Pixels:
        """``Pixels`` of shape ``(*box.shape, channels)``; ``ReadError`` where the file fails."""
        require_inside(self.info, box)
        try:
            values = self._again(lambda: self._fetch(box))
        except (OSError, EOFError) as error:
            raise read_error(self.info, box, error) from error
        return Pixels(values, valid_mask(values, ((),) * values.shape[-1]))

    def _fetch(self, box: Box) -> np.ndarray:
        n, (z0, y0, x0), (z1, y1, x1) = self._layout.components, box.start, box.stop
        rows = Box((z0, y0, x0 * n), (z1, y1, x1 * n))
        return self._boxes.read(self._descriptor(), rows).reshape(*box.shape, n)

    def _descriptor(self) -> int:
        """The open file; what is not plain is staged to a private folder at the first read."""
        with self._lock:
            if self._closed:
                raise ValueError(f"{self.info.path}: read after close")
            if self._plain is None:
                self._folder = tempfile.TemporaryDirectory(prefix="segbatch-")
                self._plain = stage_layout(self._layout, Path(self._folder.name))
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


def open_layout(
    name: str, layout: VolumeLayout, volume: int | None, staged: Path | None
) -> VolumeSource:
    """One volume of a layout; ``name``: of the format. ``InputError`` in one line for what can't be used."""
    what = f"a 4-D image of {layout.volumes} volumes"
    volume = chosen_volume(layout.path, what, layout.volumes, volume)
    if layout.is_plain:
        staged, first = layout.files[0], layout.first
    else:
        first = 0
        if staged is not None and not (
            staged.is_file() and staged.stat().st_size == layout.total_bytes
        ):
            raise InputError(
                f"{staged}: not a whole copy of {layout.path}; remove it and run again"
            )
    info = _describe(name, layout)
    return VolumeSource(info, layout, first + volume * layout.volume_bytes, staged)


def _describe(name: str, layout: VolumeLayout) -> SourceInfo:
    plane_bytes = layout.volume_bytes // layout.shape[0]
    planes = min(layout.shape[0], max(1, _CHEAP_BYTES // plane_bytes))  # each lies in one piece
    n = layout.components
    return SourceInfo(
        path=str(layout.path),
        format=name,
        kind="volume",
        extent=layout.shape,
        channels=("intensity",) if n == 1 else tuple(f"channel {c + 1}" for c in range(n)),
        dtype=layout.dtype.newbyteorder("=").name,
        georef=layout.georef,
        chunk=(planes, *layout.shape[1:]),
        nodata=(None,) * n,
        identity=volume_identity(layout.path, layout.files),
        warnings=layout.oddities,
        facts={
            "orientation": "".join(nibabel.aff2axcodes(layout.georef.matrix)),
            "volumes": layout.volumes,
            "compressed": not layout.is_plain,
            "byte_order": "big" if layout.dtype.str.startswith(">") else "little",
            "block_bytes": plane_bytes,
            "staged_bytes": 0 if layout.is_plain else layout.total_bytes,
        },
    )
