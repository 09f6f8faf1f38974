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
from seg_batch.core.resample.resampler import Resampler
from seg_batch.inference.sliding_window.band import as_lines, in_lines, loops
from seg_batch.inference.sliding_window.empty import DECIDED, LOW, Emptiness
from seg_batch.inference.sliding_window.seams import SeamCounter, SeamCounts
from seg_batch.inference.sliding_window.stitch import Counts, Stitcher
from seg_batch.io.sources.views.open_view import Seen

_NO_STATES = np.empty((0, 0, 0), np.uint8)
_NOT_KEPT = np.empty((0, 0, 0, 0), np.uint8)

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
    which ``skipped`` are empty. ``unreadable``: boxes of the product that may reach past the block.
    ``fell_back``: why the CPU computed it instead of a GPU, in one line."""

    labels: np.ndarray
    seams: SeamCounts
    tiles: int
    skipped: int
    unreadable: list[Box]
    fell_back: str = ""


class Receipt(TypedDict):
    """What a worker returns of a block. ``seams``: ``SeamCounts.to_json``; ``unreadable``: boxes of the
    file; ``seconds``: per stage; ``spell``: unix seconds of the read and of the write. A marker in a store
    has no ``seconds`` and no ``peak_rss_bytes``; one of an earlier version may lack ``spell`` and ``seams``.
    ``first``: patches and seconds of the first call of the model in the process, where this block made it.
    ``fell_back``: see ``BlockResult``; only where there is such a line."""

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
    fell_back: NotRequired[str]


class _Labels:
    """Labels of a block, and probabilities where they are kept, as its rows are finished."""

    def __init__(
        self, box: Box, ids: np.ndarray, empty: Emptiness, probabilities: np.ndarray | None
    ) -> None:
        self.ids, self.rule, self.probabilities = ids, empty.rule, probabilities
        self.labels, self.states = np.empty(box.shape, ids.dtype), empty.of(box)
        self._loops = loops(box.size * len(ids))
        self._others = np.array(self.rule.others, ids.dtype)
        self._sure = (ids == self.rule.below_label) * np.uint8(255)

    def fill(self) -> None:
        """A block without a voxel that the model decides."""
        low = None if self.rule.below is None else self.states == LOW
        self.labels[...] = self.rule.label
        if low is not None:
            self.labels[low] = self.rule.below_label
        if self.probabilities is not None:
            self.probabilities[...] = 0
            if low is not None:
                self.probabilities[:, low] = self._sure[:, None]

    def add(self, rows: slice, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Labels of finished rows, which are ``rows`` of the block, and where the model decides them (None: everywhere)."""
        labels = self.labels[rows]
        states = None if self.states is None else self.states[rows]
        kept = self.probabilities
        self._loops.label(
            in_lines(sums),
            self.ids,
            self._others,
            _NO_STATES if states is None else as_lines(states),
            as_lines(labels),
            self._sure,
            _NOT_KEPT if kept is None else as_lines(kept, 1),
            rows.start,
        )
        return labels, None if states is None else states == DECIDED


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
    pixels, place = (seen.window, window) if way_back is None else (seen.inside, box)
    empty = Emptiness(pixels, place, stitcher.empty)
    found, counts = _Labels(box, ids, empty, probabilities), Counts()
    seams = SeamCounter(stitcher.taper, ids, box, way_back)
    if empty.fills(place):
        counts.tiles = counts.skipped = stitcher.grid.count(wanted)
        on_tiles(counts.tiles)
        found.fill()
    else:
        skips = empty.skipping(window)
        if way_back is not None:
            skips = _feeding_nothing(empty, box, way_back)
        parts = stitcher.sums(seen.window, window, wanted, counts, on_tiles, skips)
        for row, sums in parts if way_back is None else way_back.roll(parts, box):
            rows = slice(row - box.start[0], row - box.start[0] + len(sums))
            labels, decided = found.add(rows, sums)
            seams.add(row, sums, labels, decided)
            part = Box((row, *box.start[1:]), (row + len(sums), *box.stop[1:]))
            on_rows(Rows(part, sums, labels, decided))
    for hole in (hole.intersection(box) for hole in seen.unreadable):
        if hole.size:
            found.labels[hole.slices(box.start)] = stitcher.empty.unreadable
    return BlockResult(found.labels, seams.counts, counts.tiles, counts.skipped, seen.unreadable)


def _feeding_nothing(empty: Emptiness, box: Box, way_back: Resampler) -> Callable[[Tile], bool]:
    """Whether all voxels of the box that a tile has a say in are empty: only then it may be skipped (law 8), since
    a voxel of the product may hold data where those of the model's grid around it seem empty."""

    def skips(tile: Tile) -> bool:
        part = way_back.reached(tile.trusted).intersection(box)
        return part.size == 0 or empty.fills(part)

    return skips
