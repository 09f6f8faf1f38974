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

from seg_batch.core.geometry import Box, Shape, Tile
from seg_batch.core.resample.pasted import WayBack
from seg_batch.core.spells import Spell
from seg_batch.inference.sliding_window.alone import Alone
from seg_batch.inference.sliding_window.band import Direct
from seg_batch.inference.sliding_window.empty import Emptiness
from seg_batch.inference.sliding_window.labels import Labels, without_model
from seg_batch.inference.sliding_window.seams import SeamCounter, SeamCounts
from seg_batch.inference.sliding_window.stitch import Counts, Stitcher
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
    ``fell_back``: see ``BlockResult``; only where there is such a line.
    ``spells``: of all stages, where a profile was asked for. ``idle``: why no worker did it: ``outside`` the area, or ``empty`` by
    the file's index; it has then no ``spell``."""

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
    spells: NotRequired[list[Spell]]
    idle: NotRequired[str]


def predict_block(
    stitcher: Stitcher,
    read: Read,
    box: Box,
    ids: np.ndarray,
    *,
    way_back: WayBack | None = None,
    probabilities: np.ndarray | None = None,
    on_tiles: Callable[[int], None] = lambda n: None,
    on_rows: Callable[[Rows], None] | None = None,
) -> BlockResult:
    """Read the window of ``box`` and label the box; ``ids``: the label of each class.

    ``way_back``: from the grid of the model to that of the product, in which ``box`` lies; None: they are one. It may
    reach a part of the product, and nothing of the box.

    ``probabilities``: uint8 ``(classes, *box.shape)``, filled where given. ``on_tiles`` gets the number
    of tiles done since its last call. ``on_rows`` gets rows top to bottom, valid until it returns; a
    block whose whole window is empty has none.
    """
    wanted = box if way_back is None else way_back.needed(box)
    window = stitcher.grid.window(wanted) if wanted.size else wanted
    seen = read(window, box)
    pixels, place = (seen.window, window) if way_back is None else (seen.inside, box)
    empty, counts = Emptiness(pixels, place, stitcher.empty), Counts()
    seams = SeamCounter(stitcher.taper, ids, box, way_back, stitcher.scores)
    if empty.fills(place):
        counts.tiles = counts.skipped = stitcher.grid.count(wanted)
        on_tiles(counts.tiles)
        labels = without_model(empty, box, ids, probabilities)
    else:
        found = Labels(box, ids, empty, probabilities, stitcher.scores)
        labels = found.labels
        skips = empty.skipping(window, box)
        if way_back is not None:
            skips = _feeding_nothing(empty, box, way_back)
        alone = None
        if way_back is None and on_rows is None:
            alone = Alone(stitcher.taper, box, [np.concatenate(kinds) for kinds in seams.planes])
        direct = None if alone is None else _direct(alone, found)
        parts = stitcher.sums(seen.window, window, wanted, counts, on_tiles, skips, direct)
        for row, sums in parts if way_back is None else way_back.roll(parts, box):
            part = Box((row, *box.start[1:]), (row + len(sums), *box.stop[1:]))
            found.of_rows(sums, part, [part] if alone is None else alone.rest(part))
            rows = slice(row - box.start[0], row - box.start[0] + len(sums))
            decided = found.decided(rows)
            seams.add(row, sums, labels[rows], decided)
            if on_rows is not None:
                on_rows(Rows(part, sums, labels[rows], decided))
    holes = [hole.intersection(box) for hole in seen.unreadable]
    if any(hole.size for hole in holes) and not labels.flags.writeable:
        labels = labels.copy()
    for hole in (hole for hole in holes if hole.size):
        labels[hole.slices(box.start)] = stitcher.empty.unreadable
    return BlockResult(labels, seams.counts, counts.tiles, counts.skipped, seen.unreadable)


def _direct(alone: Alone, found: Labels) -> Direct:
    """Labels of a tile what it decides alone."""

    def label(tile: Tile, values: np.ndarray | None, steps: Shape) -> Box | None:
        box = alone.of(tile)
        if box is None:
            return None
        if values is None:
            found.undecided(box)
        else:
            found.of_values(box, values, tile.box, steps)
        return box

    return label


def _feeding_nothing(empty: Emptiness, box: Box, way_back: WayBack) -> Callable[[Tile], bool]:
    """Whether all voxels of the box that a tile has a say in are empty: only then it may be skipped (law 8), since
    a voxel of the product may hold data where those of the model's grid around it seem empty."""

    def skips(tile: Tile) -> bool:
        part = way_back.reached(tile.trusted).intersection(box)
        return part.size == 0 or empty.fills(part)

    return skips
