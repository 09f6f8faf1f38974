"""What must be read of a window for an area: the chunks of the file that tiles with a voxel of it see, each once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from seg_batch.config.card import ModelCard
from seg_batch.core.geometry import Block, Box, Grid, Shape
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.protocol import Source, SourceInfo
from seg_batch.io.sources.tolerant_read import Reader
from seg_batch.io.vectors.area import Area

_LEAST = 256  # pixels


def wanted_part(area: Area | None, box: Box) -> Box | None:
    """What of a block is predicted; None: nothing."""
    return box if area is None else area.part(box)


def wanted_voxels(area: Area | None, blocks: Iterable[Block]) -> int:
    """How many voxels are predicted, of all blocks."""
    parts = (wanted_part(area, block.box) for block in blocks)
    return sum(part.size for part in parts if part is not None)


def area_warnings(area: Area | None, card: ModelCard) -> list[str]:
    """A line where more is read than the area needs."""
    own = card.normalisation
    if area is None or (own.normaliser() is not None):
        return []
    return [
        f"the model is given {own.measures or 'the range of values'} of the whole image, which is read once for it, "
        "so that pixels of the area get the labels that they have in the whole map"
    ]


def seen_for(area: Area, grid: Grid, box: Box) -> Iterator[Box]:
    """What the model sees of the tiles that have a say in a pixel of the area inside ``box``."""
    whole = Box.whole(grid.extent)
    for tile in grid.touching(box):
        if area.touches(tile.trusted.intersection(box)):
            yield grid.seen(tile).intersection(whole)


def unit_of(info: SourceInfo) -> Shape:
    """What is read or left: the file's own blocks, or so many that each side is worth a read."""
    blocks = info.facts.get("block", ())
    if len(blocks) != len(info.chunk):
        return info.chunk
    sides = zip(info.chunk, blocks, strict=True)
    return tuple(min(chunk, -(-_LEAST // block) * block) for chunk, block in sides)


def parts_of(window: Box, seen: Iterable[Box], chunk: Shape) -> list[Box]:
    """The runs of chunks of a window that any of these boxes touches, row of chunks by row; they overlap nowhere."""
    first = tuple(a // c for a, c in zip(window.start, chunk, strict=True))
    counts = tuple(-(-b // c) - f for b, c, f in zip(window.stop, chunk, first, strict=True))
    wanted = np.zeros(counts, bool)
    for box in seen:
        ends = zip(box.start, box.stop, chunk, first, strict=True)
        wanted[tuple(slice(a // c - f, -(-b // c) - f) for a, b, c, f in ends)] = True
    parts = []
    for row, cells in enumerate(wanted):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], cells, [False]]).astype(np.int8)))
        for a, b in edges.reshape(-1, 2).tolist():
            start = tuple((n + f) * c for n, f, c in zip((row, a), first, chunk, strict=True))
            stop = tuple((n + f) * c for n, f, c in zip((row + 1, b), first, chunk, strict=True))
            parts.append(Box(start, stop).intersection(window))
    return parts


def reading_parts(parts: list[Box], read: Reader) -> Reader:
    """A reader of a window that reads these parts of it alone; the rest is not valid."""

    def read_parts(source: Source, window: Box) -> tuple[Pixels, list[Box]]:
        if sum(part.size for part in parts) == window.size:
            return read(source, window)
        info, holes = source.info, list[Box]()
        values = np.zeros((*window.shape, len(info.channels)), info.dtype)
        valid = np.zeros(values.shape, bool)
        for part in parts:
            pixels, lost = read(source, part)
            here = part.slices(window.start)
            values[here] = pixels.values
            valid[here] = True if pixels.valid is None else pixels.valid
            holes += lost
        return Pixels(values, valid, info.scale, info.offset), holes

    return read_parts
