"""What every source offers: enough to plan without reading, and one way to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from seg_batch.geometry import Box, Shape
from seg_batch.georef import Georef
from seg_batch.normalise import Pixels


@dataclass(frozen=True)
class SourceInfo:
    """What is known of an input without reading its pixels.

    ``kind``: ``raster`` (extent ``y, x``) or ``volume`` (extent ``z, y, x``). ``chunk``: a box
    shape that is cheap to read. ``identity``: what a resumed run compares, so that a changed
    input is noticed (size, modification time, digest of head and tail). ``warnings``: traps
    found, one sentence each. ``facts``: anything worth showing in ``inspect``.
    """

    path: str
    format: str
    kind: str
    extent: Shape
    channels: tuple[str, ...]
    dtype: str
    georef: Georef
    chunk: Shape
    nodata: tuple[float | None, ...] = ()
    identity: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def voxel_bytes(self) -> int:
        """Bytes per voxel of what ``read`` returns at most: values and mask of all channels."""
        import numpy as np

        return len(self.channels) * (np.dtype(self.dtype).itemsize + 1)


@runtime_checkable
class Source(Protocol):
    """Where pixels come from. Opened anew in every process; cheap to open; closed after use.

    ``read(box)`` returns exactly the box (inside the extent) as :class:`Pixels`, and raises
    ``ReadError`` naming the file and the box when the file can't deliver it. It may be called
    from several threads at once.
    """

    @property
    def info(self) -> SourceInfo: ...

    def read(self, box: Box) -> Pixels: ...

    def close(self) -> None: ...
