"""A small picture of a whole mosaic, of a few pixels of each piece."""

from __future__ import annotations

import numpy as np

from seg_batch.core.geometry import Box, Shape
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.mosaic.handles import Handles
from seg_batch.io.sources.mosaic.index import MosaicIndex
from seg_batch.io.sources.protocol import SourceInfo

_MOST_READ = 1 << 20  # pixels of a piece without overviews that are read for a picture


def reduced(index: MosaicIndex, info: SourceInfo, handles: Handles, shape: Shape) -> Pixels:
    """``(*shape, channels)``: of each pixel of the picture the one in the middle of its share. ``ReadError`` where a piece can't be
    read."""
    values = np.zeros((*shape, len(info.channels)), info.dtype)
    valid, seen = np.zeros(values.shape, bool), np.zeros(shape, bool)
    places = [
        ((np.arange(m) + 0.5) * n / m).astype(np.int64)
        for n, m in zip(info.extent, shape, strict=True)
    ]
    for number in range(len(index.paths)):
        box = index.box(number)
        spans = tuple(
            slice(int(np.searchsorted(at, a)), int(np.searchsorted(at, b)))
            for at, a, b in zip(places, box.start, box.stop, strict=True)
        )
        if any(s.start == s.stop for s in spans) or seen[spans].all():
            continue
        pixels = _few(handles, number, box, [at[s] for at, s in zip(places, spans, strict=True)])
        sure = np.ones(pixels.values.shape, bool) if pixels.valid is None else pixels.valid
        new = sure.any(-1) & ~seen[spans]
        values[spans][new], valid[spans][new] = pixels.values[new], sure[new]
        seen[spans] |= new
    return Pixels(values, valid, info.scale, info.offset)


def _few(handles: Handles, number: int, box: Box, places: list[np.ndarray]) -> Pixels:
    """The pixels of a piece at these places of the mosaic."""
    rows, columns = (at - a for at, a in zip(places, box.start, strict=True))
    with handles.source(number) as source:
        shrunk = getattr(source, "reduced", None)
        if shrunk is not None and box.size > _MOST_READ:
            pixels: Pixels = shrunk((len(rows), len(columns)))
            return pixels
        lines = [_line(source, int(row), columns) for row in rows]
    values = np.stack([line.values for line in lines])
    valid = [line.valid for line in lines]
    if all(each is None for each in valid):
        return Pixels(values)
    return Pixels(
        values,
        np.stack(
            [np.ones_like(v, bool) if s is None else s for v, s in zip(values, valid, strict=True)]
        ),
    )


def _line(source: object, row: int, columns: np.ndarray) -> Pixels:
    first, last = int(columns[0]), int(columns[-1]) + 1
    pixels = source.read(Box((row, first), (row + 1, last)))  # type: ignore[attr-defined]
    return pixels[0, columns - first]  # type: ignore[no-any-return]
