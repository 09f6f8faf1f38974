"""One block, from its window to its labels: the one loop of prediction and of evaluation.

The window is read once and stitched (``stitch``). Rows become labels as they are finished, and
probabilities where those are kept; then their sums are freed. Voxels that no model decides
get what ``EmptyRule`` says, whether or not their tile was predicted (law 8).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import numpy as np

from seg_batch.core.geometry import Box, Tile
from seg_batch.core.normalise import Pixels
from seg_batch.core.resample.resampler import Resampler
from seg_batch.core.spells import Spell
from seg_batch.inference.sliding_window.seams import SeamCounter, SeamCounts
from seg_batch.inference.sliding_window.stitch import (
    Counts,
    EmptyRule,
    Stitcher,
    is_all_empty,
    is_empty,
    low_values,
    quantised,
    winners,
)
from seg_batch.io.sources.views.open_view import Seen

# The pixels of a window of the model's grid and of a box of the product, and what could not be read.
Read = Callable[[Box, Box], Seen]


@dataclass(frozen=True)
class Rows:
    """Finished rows of a block. ``sums``: see ``Stitcher.sums``. ``decided``: bool, True where the
    model decides the label; None: everywhere."""

    box: Box
    sums: np.ndarray
    labels: np.ndarray
    decided: np.ndarray | None


@dataclass(frozen=True)
class BlockResult:
    """``labels``: ``box.shape``, in the dtype of the ids. ``tiles``: all that touch the block, of
    which ``skipped`` are empty. ``unreadable``: boxes of the product that may reach past the block."""

    labels: np.ndarray
    seams: SeamCounts
    tiles: int
    skipped: int
    unreadable: list[Box]


class Receipt(TypedDict):
    """What a worker returns of a block. ``seams``: ``SeamCounts.to_json``; ``unreadable``: boxes of the
    file; ``seconds``: per stage; ``spell``: unix seconds of the read and of the write. A marker in a store
    has no ``seconds`` and no ``peak_rss_bytes``; one of an earlier version may lack ``spell`` and ``seams``.
    ``spells``: of all stages, where a profile was asked for.
    ``first``: patches and seconds of the first call of the model in the process, where this block made it."""

    tiles: int
    skipped: int
    seams: NotRequired[dict[str, Any]]
    lost_voxels: int
    unreadable: list[str]
    worker: str
    spell: NotRequired[list[float]]
    seconds: NotRequired[dict[str, float]]
    first: NotRequired[tuple[int, float]]
    peak_rss_bytes: NotRequired[int]
    spells: NotRequired[list[Spell]]


class _Blank:
    """Voxels of a block that no model decides: ``low`` by the skip rule, ``without`` any data (None: there
    are none). ``sure``: uint8 ``(classes, 1)``, 255 for the class of the skip rule."""

    def __init__(self, inside: Pixels, empty: EmptyRule, ids: np.ndarray) -> None:
        self.empty = empty
        self.low = None if empty.below is None else low_values(inside, empty)
        self.without = None if inside.valid is None else ~inside.with_data(empty.missing)
        self.sure = (ids == empty.below_label)[:, None] * np.uint8(255)

    def decided(self, rows: slice) -> np.ndarray | None:
        """bool, True where the model decides; None: everywhere."""
        parts = [part[rows] for part in (self.low, self.without) if part is not None]
        return ~np.logical_or.reduce(parts) if parts else None

    def fill(self, rows: slice, labels: np.ndarray, probabilities: np.ndarray | None) -> None:
        """Set these voxels in the given rows of a block's labels and probabilities."""
        rules = ((self.low, self.empty.below_label, self.sure), (self.without, self.empty.label, 0))
        for where, label, probability in rules:
            if where is not None:
                labels[rows][where[rows]] = label
                if probabilities is not None:
                    probabilities[:, rows][:, where[rows]] = probability


def predict_block(
    stitcher: Stitcher,
    read: Read,
    box: Box,
    ids: np.ndarray,
    *,
    way_back: Resampler | None = None,
    probabilities: np.ndarray | None = None,
    on_tiles: Callable[[int], None] = lambda n: None,
    on_rows: Callable[[Rows], None] = lambda rows: None,
) -> BlockResult:
    """Read the window of ``box`` and label the box; ``ids``: the label of each class.

    ``way_back``: from the grid of the model to that of the product, in which ``box`` lies; None: they are one.

    ``probabilities``: uint8 ``(classes, *box.shape)``, filled where given. ``on_tiles`` gets the number
    of tiles done since its last call. ``on_rows`` gets rows top to bottom, valid until it returns; a
    block whose whole window is empty has none.
    """
    wanted = box if way_back is None else way_back.needed(box)
    window = stitcher.grid.window(wanted)
    seen = read(window, box)
    blank = _Blank(seen.inside, stitcher.empty, ids)
    labels, counts = np.empty(box.shape, ids.dtype), Counts()
    seams = SeamCounter(stitcher.taper, ids, box, way_back)
    if is_all_empty(seen.window if way_back is None else seen.inside, stitcher.empty):
        counts.tiles = counts.skipped = stitcher.grid.count(wanted)
        on_tiles(counts.tiles)
        blank.fill(slice(None), labels, probabilities)
    else:
        skips = None if way_back is None else _feeding_nothing(seen.inside, box, way_back, stitcher)
        parts = stitcher.sums(seen.window, window, wanted, counts, on_tiles, skips)
        for row, sums in parts if way_back is None else way_back.roll(parts, box):
            rows = slice(row - box.start[0], row - box.start[0] + len(sums))
            labels[rows] = winners(sums, ids)
            if probabilities is not None:
                probabilities[:, rows] = quantised(sums)
            blank.fill(rows, labels, probabilities)
            place = Box((row, *box.start[1:]), (row + len(sums), *box.stop[1:]))
            finished = Rows(place, sums, labels[rows], blank.decided(rows))
            seams.add(row, sums, finished.labels, finished.decided)
            on_rows(finished)
    for part in (hole.intersection(box) for hole in seen.unreadable):
        if part.size:
            labels[part.slices(box.start)] = stitcher.empty.unreadable
    return BlockResult(labels, seams.counts, counts.tiles, counts.skipped, seen.unreadable)


def _feeding_nothing(
    inside: Pixels, box: Box, way_back: Resampler, stitcher: Stitcher
) -> Callable[[Tile], bool]:
    """Whether all voxels of the box that a tile has a say in are empty: only then it may be skipped (law 8), since
    a voxel of the product may hold data where those of the model's grid around it seem empty."""

    def skips(tile: Tile) -> bool:
        part = way_back.reached(tile.trusted).intersection(box)
        return part.size == 0 or is_empty(inside[part.slices(box.start)], stitcher.empty)

    return skips
