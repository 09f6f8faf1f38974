"""Some channels of a source, in an order of their own; only these are read where the format can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.protocol import Source, known_empty


def selected(source: Source, indices: Sequence[int], line: str = "") -> Source:
    """``source`` with the channels of these indices, in this order; ``line``: what is to be told of it. The source is
    used through the result alone from then on, and closed with it."""
    only: Any = getattr(source, "only", None)
    part: Source | None = None if only is None else only(tuple(indices), line)
    return Selected(source, tuple(indices), line) if part is None else part


class Selected:
    """Channels of a source that reads all of them at once."""

    def __init__(self, source: Source, indices: tuple[int, ...], line: str = "") -> None:
        self._source, self._indices = source, list(indices)
        info, held = source.info.of_channels(indices, line), source.info.voxel_bytes
        self.info = replace(info, facts={**info.facts, "held_bytes": held})
        if (reduced := getattr(source, "reduced", None)) is not None:
            self.reduced = lambda shape: self._of(reduced(shape))

    def read(self, box: Box) -> Pixels:
        return self._of(self._source.read(box))

    def _of(self, pixels: Pixels) -> Pixels:
        return pixels.channels(self._indices)

    def known_empty(self, box: Box) -> bool:
        return known_empty(self._source, box)

    def close(self) -> None:
        self._source.close()
