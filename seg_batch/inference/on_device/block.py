"""One block on a GPU: its stored values go up tile row by tile row, its labels come back.

The same block as ``block.predict_block`` makes, and the same sums in the same order: tiles are added in grid order to
a band that lies on the device. Rows go up before those above them are computed, and come back while the next are::

    host     slab 0 up   slab 1 up   slab 2 up   rows 0 back   ...
    device        tiles of slab 0  |  tiles of slab 1  |  ...

Where the device has too little memory the batch is halved and the block begins again. Where it stops working, or gives
values that are not finite, the CPU computes the block, and a line in the log says so.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seg_batch.core.geometry import Box, Shape, Tile
from seg_batch.core.normalise import Pixels
from seg_batch.inference.on_device.stored_values import stored
from seg_batch.inference.sliding_window.block import BlockResult, Read, predict_block
from seg_batch.inference.sliding_window.empty import DECIDED, LOW, WITHOUT, Emptiness
from seg_batch.inference.sliding_window.seams import SeamCounter
from seg_batch.inference.sliding_window.stitch import Counts, Stitcher, cut
from seg_batch.io.sources.views.open_view import Seen
from seg_batch.nn.engines.device import Device, DeviceLost

PLANES = 8  # planes come back by so many, since each number of them is another program

_log = logging.getLogger(__name__)


class _NotFiniteError(Exception):
    """The device gave values of which no labels can be made."""


def predict_on_device(
    stitcher: Stitcher,
    device: Device,
    read: Read,
    box: Box,
    ids: np.ndarray,
    *,
    probabilities: np.ndarray | None = None,
    on_tiles: Callable[[int], None] = lambda n: None,
) -> BlockResult:
    """``predict_block`` on a device, for a product on the grid of the model. ``stitcher``: its predictor is not called."""
    window = stitcher.grid.window(box)
    seen = read(window, box)
    empty = Emptiness(seen.window, window, stitcher.empty)
    block = _Block(stitcher, seen, window, empty, box, ids, probabilities, _Onwards(on_tiles))
    why = ""
    if not empty.fills(window):
        try:
            while True:
                shared = device.shared()
                try:
                    return block.labelled(shared)
                except Exception as error:
                    if not device.failed(shared, error):
                        raise
        except DeviceLost as error:
            why = str(error)
        except _NotFiniteError:
            why = "the GPU gave values that are not finite; the CPU computes such blocks"
            _log.warning("%s", why)
    result = predict_block(
        replace(stitcher, predictor=device.on_cpu, batch=1),
        lambda *_: seen,
        box,
        ids,
        probabilities=probabilities,
        on_tiles=block.on_tiles.again(),
    )
    return replace(result, fell_back=why)


class _Onwards:
    """Numbers of tiles done, passed on without those of an attempt that failed."""

    def __init__(self, on_tiles: Callable[[int], None]) -> None:
        self._on_tiles, self._most, self._now = on_tiles, 0, 0

    def again(self) -> Callable[[int], None]:
        """From the first tile on."""
        self._now = 0
        return self

    def __call__(self, tiles: int) -> None:
        self._now += tiles
        self._on_tiles(max(0, self._now - self._most))
        self._most = max(self._most, self._now)


@dataclass(frozen=True)
class _Block:
    """One block and what was read for it."""

    stitcher: Stitcher
    seen: Seen
    window: Box
    empty: Emptiness
    box: Box
    ids: np.ndarray
    probabilities: np.ndarray | None
    on_tiles: _Onwards

    def labelled(self, shared: Any) -> BlockResult:
        """Its labels, computed in the shared batch; ``_NotFiniteError``, or an error of the device."""
        self.on_tiles.again()
        grid, counts, skips = (
            self.stitcher.grid,
            Counts(),
            self.empty.skipping(self.window, self.box),
        )
        out = _Returned(self, shared)
        canvas = _Canvas(shared, self, out.seams.planes)
        for _, row in itertools.groupby(grid.touching(self.box), lambda tile: tile.index[0]):
            tiles = list(row)
            canvas.move_to(tiles[0].box.start[0])
            wanted = [tile for tile in tiles if not skips(tile)]
            if wanted:
                canvas.add(wanted)
            counts.tiles += len(tiles)
            counts.skipped += len(tiles) - len(wanted)
            self.on_tiles(len(tiles))
            for rows in canvas.finished():
                out.take(*rows)
        for rows in canvas.end():
            out.take(*rows)
        for part in (hole.intersection(self.box) for hole in self.seen.unreadable):
            if part.size:
                out.labels[part.slices(self.box.start)] = self.empty.rule.unreadable
        unreadable = self.seen.unreadable
        return BlockResult(out.labels, out.seams.counts, counts.tiles, counts.skipped, unreadable)

    def cut(self, box: Box) -> Pixels:
        return cut(self.seen.window, self.window, box, self.stitcher.grid.extent)


@dataclass(frozen=True)
class _Addition:
    """A tile, whose probabilities are to be added to the band that begins at ``top``."""

    tile: Tile
    place: Any
    top: int


class _Canvas:
    """The band of one block on the device, and what is still to be done to it, in order."""

    def __init__(self, shared: Any, block: _Block, planes: Sequence[list[np.ndarray]]) -> None:
        self._shared, self._programs = shared, shared.programs
        self._block, self._planes = block, planes
        touching = list(block.stitcher.grid.touching(block.box))
        self.place = touching[0].box.union(touching[-1].box)
        patch = block.stitcher.grid.patch
        sides = zip(self.place.shape[1:], patch[1:], strict=True)
        self.width = tuple(-(-n // side) * side for n, side in sides)
        self._band = self._programs.empty_band(self.width)
        self._top = self.place.start[0]
        self._todo: deque[_Addition | tuple[int, int]] = deque()  # or first row and number of rows
        self._back: deque[tuple[int, int, Any]] = deque()

    @property
    def origin(self) -> Shape:
        """The first voxel of the band across its rows."""
        return self.place.start[1:]

    def move_to(self, row: int) -> None:
        """No later tile reaches above this row."""
        if row > self._top:
            self._todo.append((self._top, row - self._top))
            self._top = row

    def add(self, tiles: list[Tile]) -> None:
        """Send the rows of some tiles of one tile row up, and take places for the tiles."""
        depth = self._programs.patch[0]
        row = Box((self._top, *self.place.start[1:]), (self._top + depth, *self.place.stop[1:]))
        pixels, normaliser = self._block.cut(row), self._block.stitcher.normaliser
        shape = (depth, *self.width)
        slab = self._programs.upload(*stored(pixels, normaliser, shape))
        starts = np.array([self._start(tile, self._top) for tile in tiles], np.int32)
        places = self._shared.take(slab, starts)
        self._todo.extend(
            _Addition(tile, place, self._top) for tile, place in zip(tiles, places, strict=True)
        )

    def _start(self, tile: Tile, top: int) -> Shape:
        return tuple(a - o for a, o in zip(tile.box.start, (top, *self.origin), strict=True))

    def finished(self, keep: int = 1) -> Iterator[tuple[int, int, Any]]:
        """First row, number and values of rows that are done, but for the last few, which still are on their way."""
        while self._todo and self._step():
            while len(self._back) > keep:
                yield self._back.popleft()

    def end(self) -> Iterator[tuple[int, int, Any]]:
        """All that is left."""
        stop = min(self._block.box.stop[0], self._top + self._programs.patch[0])
        self.move_to(stop)
        places = [each.place for each in self._todo if isinstance(each, _Addition)]
        if places:
            self._shared.flush(places[-1])
        yield from self.finished()
        yield from self._back

    def _step(self) -> bool:
        """Do the next that can be done; False where there is none."""
        if isinstance(self._todo[0], tuple):
            top, rows = self._todo.popleft()  # type: ignore[misc]
            self._finish(top, rows)
            return True
        batch, some = self._todo[0].place.batch, list[_Addition]()
        if batch is None:
            return False
        while self._todo and isinstance(each := self._todo[0], _Addition):
            if each.place.batch is not batch:
                break
            some.append(each)
            self._todo.popleft()
        self._add(batch, some)
        return True

    def _add(self, batch: Any, some: list[_Addition]) -> None:
        size, patch = self._programs.batch, self._programs.patch
        starts, mine = np.zeros((size, len(patch)), np.int32), np.zeros(size, bool)
        tapers = [np.zeros((size, side), np.float32) for side in patch]
        for each in some:
            k = each.place.index
            starts[k], mine[k] = self._start(each.tile, each.top), True
            for taper, rows, i in zip(
                tapers, self._block.stitcher.taper.rows, each.tile.index, strict=True
            ):
                taper[k, : len(rows[i])] = rows[i]
        self._band = self._programs.add(self._band, batch, starts, tapers, mine)

    def _finish(self, top: int, rows: int) -> None:
        planes = [np.concatenate(each) for each in self._planes]
        origin = (top, *self.origin)
        planes[0] = planes[0][(top <= planes[0]) & (planes[0] < top + rows)]
        indices = [_padded(each - o) for each, o in zip(planes, origin, strict=True)]
        wanted = self._block.probabilities is not None
        self._band, back = self._programs.finish(self._band, rows, indices, wanted)
        self._back.append((top, rows, back))


def _padded(planes: np.ndarray) -> np.ndarray:
    """Planes, and as many planes 0, which any side has, as make their number a multiple of ``PLANES``."""
    out = np.zeros(max(PLANES, -(-len(planes) // PLANES) * PLANES), np.int32)
    out[: len(planes)] = planes
    return out


class _Returned:
    """What came back of a block: labels, probabilities, seams."""

    def __init__(self, block: _Block, shared: Any) -> None:
        self._block, self._fetch = block, shared.programs.fetch
        self.labels = np.empty(block.box.shape, block.ids.dtype)
        self.seams = SeamCounter(block.stitcher.taper, block.ids, block.box)
        self._states = block.empty.of(block.box)
        first = next(block.stitcher.grid.touching(block.box))
        self._origin = first.box.start[1:]  # of the band, across its rows

    def take(self, top: int, rows: int, back: Any) -> None:
        """Rows from ``top`` on, of which some may lie above the block."""
        if not self._fetch(back.finite):
            raise _NotFiniteError
        box, ids = self._block.box, self._block.ids
        first = max(top, box.start[0])
        if first >= top + rows:
            return
        inside = Box((first, *box.start[1:]), (top + rows, *box.stop[1:]))
        band, here = inside.slices((top, *self._origin)), inside.slices(box.start)
        self.labels[here] = ids[self._fetch(back.winners)[band]]
        if self._block.probabilities is not None:
            shares = self._fetch(back.probabilities)[:, *band]
            self._block.probabilities[:, *here] = shares
        decided = self._without_undecided(here)
        self.seams.add(first, np.empty((*inside.shape, 0), np.float32), self.labels[here], decided)
        self._add_jumps(top, rows, inside, [self._fetch(each) for each in back.jumps])

    def _without_undecided(self, here: tuple[slice, ...]) -> np.ndarray | None:
        """Label what no model decides in some rows; where one does (None: everywhere)."""
        if self._states is None:
            return None
        rule, states, labels = self._block.empty.rule, self._states[here], self.labels[here]
        kept = self._block.probabilities
        sure = (self._block.ids == rule.below_label)[:, None] * np.uint8(255)
        for state, shares in ((LOW, sure), (WITHOUT, np.uint8(0))):
            where = states == state
            labels[where] = rule.others[state]
            if kept is not None:
                kept[:, *here][:, where] = shares
        return np.asarray(states == DECIDED)

    def _add_jumps(self, top: int, rows: int, inside: Box, jumps: list[np.ndarray]) -> None:
        """Jumps between voxels that a model decides, at the planes that were asked for (``_Canvas``)."""
        box, band = self._block.box, inside.slices((top, *self._origin))
        for axis, kinds in enumerate(self.seams.planes):
            done = 0
            for kind, planes in enumerate(kinds):
                if axis == 0:
                    planes = planes[(top <= planes) & (planes < top + rows)]
                index = list(band)
                index[axis] = slice(done, done + len(planes))
                done += len(planes)
                amounts = jumps[axis][tuple(index)]
                if self._states is not None:
                    place = list(inside.slices(box.start))
                    sides = []
                    for side in (planes - 1, planes):
                        place[axis] = side - box.start[axis]  # type: ignore[call-overload]
                        sides.append(self._states[tuple(place)] == DECIDED)
                    amounts = amounts[sides[0] & sides[1]]
                self.seams.counts.jumps[axis, kind] += amounts.sum(dtype=np.float64) / 2
