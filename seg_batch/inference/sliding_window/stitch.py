"""From a held window to the sums of one block: cut, normalise, predict, weigh, add (``band``).

Everything is added in grid order by one thread, so the bytes of a block depend on nothing but
its tiles (law 2). Memory follows the patch and the block's width, not its length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from seg_batch.core.errors import BundleError
from seg_batch.core.geometry import Box, Grid, Shape, Tile
from seg_batch.core.normalise import Normaliser, Pixels
from seg_batch.core.taper import Taper
from seg_batch.inference.sliding_window.ahead import Ahead, Result
from seg_batch.inference.sliding_window.band import Band, Direct
from seg_batch.inference.sliding_window.empty import Emptiness, EmptyRule
from seg_batch.inference.sliding_window.scores import PROBABILITIES, Scores

# A predictor: array in, array out: ``(n, *patch, channels) -> (n, *patch, classes)``, float32 in 0..1 (logits where the card
# blends those), or uint8 0 and 1; less ``Grid.shrink`` on each side of the result. The result for one patch depends neither on ``n`` nor on its neighbours in the batch. What lies
# in memory with the classes first is added without a turn; the patches are overwritten by later ones.
Predictor = Callable[[np.ndarray], np.ndarray]
Skips = Callable[[Tile], bool]


def _mirrored(start: int, stop: int, extent: int) -> np.ndarray:
    """Indices ``start..stop`` folded back into ``0..extent-1`` at its ends (edge voxel repeated)."""
    folded = np.arange(start, stop) % (2 * extent)
    return np.where(folded < extent, folded, 2 * extent - 1 - folded)


def cut(held: Pixels, window: Box, box: Box, extent: Shape) -> Pixels:
    """The pixels of ``box`` out of ``held``, which covers ``window``.

    Where the box reaches past the extent (an image smaller than the patch, a model that sees more than it labels), the
    image is mirrored at its border. Prediction and training cut with this one function.
    """
    if window.contains(box):
        return held[box.slices(window.start)]
    index = np.ix_(
        *(
            _mirrored(a, b, n) - o
            for a, b, n, o in zip(box.start, box.stop, extent, window.start, strict=True)
        )
    )
    return held[index]


@dataclass
class Counts:
    """Tiles met while stitching: all of them, and those skipped as empty."""

    tiles: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class Stitcher:
    """How tiles become a block: the grid and its tapers, the numbers for the model, the model.

    ``rank``: spatial rank of the model; a 2-D model on a volume sees patches of one slice.
    ``batch``: patches handed to the predictor at once. ``scores``: what the predictor gives.
    """

    grid: Grid
    taper: Taper
    normaliser: Normaliser
    predictor: Predictor
    classes: int
    rank: int
    batch: int
    empty: EmptyRule
    scores: Scores = PROBABILITIES

    def sums(
        self,
        held: Pixels,
        window: Box,
        box: Box,
        counts: Counts,
        on_tiles: Callable[[int], None] = lambda n: None,
        skips: Skips | None = None,
        direct: Direct | None = None,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """``(first row, sums)`` of finished rows of ``box``, top to bottom; sums are float32
        ``(rows, *width, classes)`` views to be used before the next step, in memory with the classes before the width. ``skips``: which tiles are not predicted;
        None: the empty ones. ``direct``: see ``Band``; what it labels has no sums."""
        if skips is None:
            empty = Emptiness(held, window, self.empty)
            skips = empty.skipping(window)
        band = Band(self.taper, box, self.classes, direct)
        for tile, probabilities in self._predicted(held, window, box, counts, on_tiles, skips):
            yield from band.release(tile.trusted.start[0])
            band.add(tile, probabilities)
        yield from band.release(box.stop[0])

    def _predicted(
        self,
        held: Pixels,
        window: Box,
        box: Box,
        counts: Counts,
        on_tiles: Callable[[int], None],
        skips: Skips,
    ) -> Iterator[tuple[Tile, np.ndarray | None]]:
        """The tiles of the block in grid order, each with its probabilities (None: empty).

        While the model computes a batch, the one before it is handed out and the next is cut.
        """
        ahead = Ahead(self._predict, alone=self.grid.count(box) <= self.batch)
        before: tuple[list[tuple[Tile, bool]], Result] | None = None
        with ahead:
            for waiting, patches in self._batches(held, window, box, counts, skips):
                batch = waiting, ahead.begin(patches)
                if before is not None:
                    yield from _matched(*before)
                    on_tiles(len(before[0]))
                before = batch
            if before is not None:
                yield from _matched(*before)
                on_tiles(len(before[0]))

    def _batches(
        self, held: Pixels, window: Box, box: Box, counts: Counts, skips: Skips
    ) -> Iterator[tuple[list[tuple[Tile, bool]], np.ndarray | None]]:
        """Tiles with whether they are empty, and the patches of those that are not; two arrays take turns.

        Empty tiles take no place in a batch: every batch but the last is full.
        """
        waiting: list[tuple[Tile, bool]] = []
        arrays: list[np.ndarray | None] = [None, None]
        n = 0
        for tile in self.grid.touching(box):
            skip = skips(tile)
            counts.tiles += 1
            counts.skipped += skip
            waiting.append((tile, skip))
            if not skip:
                arrays[0], n = self._put(arrays[0], n, held, window, self.grid.seen(tile)), n + 1
            if n == self.batch:
                yield waiting, arrays[0]
                waiting, n = [], 0
                arrays.reverse()
        if waiting:
            yield waiting, None if n == 0 or arrays[0] is None else arrays[0][:n]

    def _put(
        self, patches: np.ndarray | None, n: int, held: Pixels, window: Box, box: Box
    ) -> np.ndarray:
        """The patches of a batch with the pixels of a box as the one of number ``n``; two arrays take turns."""
        inside = box.intersection(Box.whole(self.grid.extent))
        zeros = self.grid.tiling.padding == "zero" and inside != box
        pixels = cut(held, window, inside if zeros else box, self.grid.extent)
        as_read = self.normaliser.identity and self.batch == 1
        if as_read and not zeros:
            return self.normaliser(pixels)[None]
        if patches is None or as_read:
            dtype = self.normaliser.dtype(pixels)
            patches = np.empty((self.batch, *box.shape, pixels.values.shape[-1]), dtype)
        if zeros:
            patches[n] = 0
        self.normaliser(pixels, patches[n][inside.slices(box.start)] if zeros else patches[n])
        return patches

    def _predict(self, patches: np.ndarray) -> np.ndarray:
        shape = patches.shape[:1] + patches.shape[-1 - self.rank :]
        result = self.predictor(patches.reshape(shape))
        tiles = self.grid.patch
        expected = (len(patches), *tiles[len(tiles) - self.rank :], self.classes)
        if result.shape != expected:
            raise BundleError(
                f"the model gave {result.shape} for patches {shape}, and its card says {expected}: mend classes, finer and "
                "output.shrink of the card, or import the model again"
            )
        return result.reshape(len(patches), *tiles, self.classes)


def _matched(
    waiting: list[tuple[Tile, bool]], result: Result
) -> Iterator[tuple[Tile, np.ndarray | None]]:
    results = iter(result())
    return ((tile, None if skip else next(results)) for tile, skip in waiting)
