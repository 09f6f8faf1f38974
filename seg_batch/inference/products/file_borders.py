"""How often labels flip where one piece of a mosaic ends and another begins, against elsewhere.

The index of seams counts at the borders of tiles, which know nothing of files. Here neighbouring voxels are compared that come
from two files, and those that come from one, in the same boxes of the finished map.
"""

from __future__ import annotations

from contextlib import closing

import numpy as np

from seg_batch.core.geometry import Blocks, Box, Shape
from seg_batch.core.spells import spell
from seg_batch.inference.plan import Plan
from seg_batch.inference.products.facts import BorderFacts
from seg_batch.inference.products.on_product import OnProduct, index_for, on_product
from seg_batch.inference.request import Prepared
from seg_batch.io.sources import open_source
from seg_batch.io.sources.protocol import Source

_SIDE = 1024
_MOST_BOXES = 512  # evenly spread over those with a border
_NONE = -1


def file_borders(prepared: Prepared[Plan]) -> BorderFacts | None:
    """Of a finished map; None where the input is no mosaic of several pieces, or the map has another grid. Memory is that of a
    box."""
    info, grid = prepared.info, prepared.plan.model_grid
    if len(info.pieces) < 2 or (grid and grid["output"] == "model"):
        return None
    with spell("file borders"), closing(open_source(prepared.outputs.product)) as source:
        placed = on_product(index_for(prepared), source.info)
        return _counted(source, placed, prepared.plan.nodata)


def _counted(source: Source, placed: OnProduct, nodata: int) -> BorderFacts:
    pairs, flips = np.zeros(2, np.int64), np.zeros(2, np.int64)
    for box in _boxes(placed, source.info.extent):
        labels, owner = source.read(box).values[..., 0], _owners(placed, box)
        known = (labels != nodata) & (owner != _NONE)
        for axis in (0, 1):
            # Voxels of the last row and column are those of the next box.
            across = tuple(
                slice(None, -1)
                if box.stop[1 - axis] < source.info.extent[1 - axis] and a != axis
                else slice(None)
                for a in (0, 1)
            )
            first, second = (_along(axis, half) for half in (slice(None, -1), slice(1, None)))
            both = (known[first] & known[second])[across]
            border = (owner[first] != owner[second])[across] & both
            flip = (labels[first] != labels[second])[across] & both
            at_border = int(border.sum()), int((flip & border).sum())
            pairs += at_border[0], int(both.sum()) - at_border[0]
            flips += at_border[1], int(flip.sum()) - at_border[1]
    rates = flips / np.maximum(pairs, 1)
    return {
        "index": round(float(rates[0] / rates[1]), 4) if pairs.all() and rates[1] else None,
        "pairs": {"border": int(pairs[0]), "elsewhere": int(pairs[1])},
        "flips": {"border": int(flips[0]), "elsewhere": int(flips[1])},
    }


def _along(axis: int, part: slice) -> tuple[slice, slice]:
    return (part, slice(None)) if axis == 0 else (slice(None), part)


def _boxes(placed: OnProduct, extent: Shape) -> list[Box]:
    """Boxes with several pieces, each one voxel longer than its share where another follows: pairs across count once."""
    some = []
    for block in Blocks(extent, (_SIDE, _SIDE)):
        stop = tuple(min(b + 1, n) for b, n in zip(block.box.stop, extent, strict=True))
        box = Box(block.box.start, stop)
        if len(placed.find(box)) > 1:
            some.append(box)
    return some[:: max(1, -(-len(some) // _MOST_BOXES))]


def _owners(placed: OnProduct, box: Box) -> np.ndarray:
    """The number of the piece that each voxel comes from, int32; ``_NONE``: of none."""
    owner = np.full(box.shape, _NONE, np.int32)
    for number in reversed(placed.find(box)):
        owner[placed.box(number).intersection(box).slices(box.start)] = number
    return owner
