"""From a held window to the sums of one block: cut, normalise, predict, weigh, add.

The sum is a *band* that rolls along the first axis: rows that no later tile touches are finished,
yielded and freed, so memory follows the patch and the block's width, not its length::

    tiles of row i      ████████████████          rows above the next tile row's
    tiles of row i+1        ████████████████      start are finished: yield them
                        ^^^^ yielded

Everything is added in grid order by one thread, so the bytes of a block depend on nothing but
its tiles (law 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from seg_batch.core.errors import SegbatchError
from seg_batch.core.geometry import Box, Grid, Shape, Tile
from seg_batch.core.normalise import Normaliser, Pixels
from seg_batch.core.taper import Taper

ROWS_VOXELS = 1 << 18  # values of all channels that are examined together

# A predictor: array in, array out: ``(n, *patch, channels) -> (n, *patch, classes)``, float32 in
# 0..1. The result for one patch depends neither on ``n`` nor on its neighbours in the batch.
Predictor = Callable[[np.ndarray], np.ndarray]
Skips = Callable[[Tile], bool]


@dataclass(frozen=True)
class EmptyRule:
    """Which voxels are empty, and their labels: ``any`` or ``all`` channels ``missing`` -> ``label``; first channel at
    most ``below`` (physical units) -> ``below_label``. Tiles of empty voxels alone are not predicted.
    Voxels that could not be read have no valid channel and get ``unreadable_label`` (None: ``label``)."""

    label: int
    below: float | None = None
    below_label: int = 0
    unreadable_label: int | None = None
    missing: str = "all"

    @property
    def unreadable(self) -> int:
        return self.label if self.unreadable_label is None else self.unreadable_label


def _mirrored(start: int, stop: int, extent: int) -> np.ndarray:
    """Indices ``start..stop`` folded back into ``0..extent-1`` at its ends (edge voxel repeated)."""
    folded = np.arange(start, stop) % (2 * extent)
    return np.where(folded < extent, folded, 2 * extent - 1 - folded)


def cut(held: Pixels, window: Box, box: Box, extent: Shape) -> Pixels:
    """The pixels of ``box`` out of ``held``, which covers ``window``.

    Where the box reaches past the extent (an image smaller than the patch), the image is
    mirrored at its border. Prediction and training cut with this one function.
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


def low_values(pixels: Pixels, empty: EmptyRule) -> np.ndarray:
    """bool ``shape``: first channel valid and at most ``empty.below``; all False without a rule."""
    if empty.below is None:
        return np.zeros(pixels.values.shape[:-1], bool)
    physical = pixels[..., :1].physical(np.float64)[..., 0]
    with np.errstate(invalid="ignore"):
        low = physical <= empty.below
    return low if pixels.valid is None else low & pixels.valid[..., 0]


def is_empty(patch: Pixels, empty: EmptyRule) -> bool:
    """True when no voxel of the patch needs the model: skipping it changes no label (law 8)."""
    if patch.valid is None and empty.below is None:
        return False
    return not (patch.with_data(empty.missing) & ~low_values(patch, empty)).any()


def is_all_empty(held: Pixels, empty: EmptyRule) -> bool:
    """``is_empty`` of a whole window, some rows at a time: in most windows an early row holds data."""
    held = held.once()
    rows = max(1, ROWS_VOXELS // max(1, math.prod(held.values.shape[1:])))
    return all(is_empty(held[r : r + rows], empty) for r in range(0, len(held.values), rows))


@dataclass
class Counts:
    """Tiles met while stitching: all of them, and those skipped as empty."""

    tiles: int = 0
    skipped: int = 0


class _Band:
    """The rolling sum of one block: ``patch[0]`` rows of the block's width, for each class."""

    def __init__(self, box: Box, depth: int, classes: int) -> None:
        self.box, self.top = box, box.start[0]
        depth = min(depth, box.shape[0])
        self.sum = np.zeros((depth, *box.shape[1:], classes), np.float32)

    def add(self, inside: Box, probabilities: np.ndarray, weights: np.ndarray) -> None:
        origin = (self.top, *self.box.start[1:])
        self.sum[inside.slices(origin)] += probabilities * weights[..., None]

    def release(self, row: int) -> np.ndarray | None:
        """The finished rows above ``row`` (a view, valid until the next call of ``advance``)."""
        n = min(row, self.box.stop[0]) - self.top
        return self.sum[:n] if n > 0 else None

    def advance(self, n: int) -> None:
        """Forget the first ``n`` rows: what remains moves up, new rows start at zero."""
        keep = self.sum.shape[0] - n
        if keep > 0:
            self.sum[:keep] = self.sum[n:].copy() if keep > n else self.sum[n:]
        self.sum[max(0, keep) :] = 0
        self.top += n


@dataclass(frozen=True)
class Stitcher:
    """How tiles become a block: the grid and its tapers, the numbers for the model, the model.

    ``rank``: spatial rank of the model; a 2-D model on a volume sees patches of one slice.
    ``batch``: patches handed to the predictor at once.
    """

    grid: Grid
    taper: Taper
    normaliser: Normaliser
    predictor: Predictor
    classes: int
    rank: int
    batch: int
    empty: EmptyRule

    def sums(
        self,
        held: Pixels,
        window: Box,
        box: Box,
        counts: Counts,
        on_tiles: Callable[[int], None] = lambda n: None,
        skips: Skips | None = None,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """``(first row, sums)`` of finished rows of ``box``, top to bottom; sums are float32
        ``(rows, *width, classes)`` views to be used before the next step. ``skips``: which tiles are not predicted;
        None: the empty ones."""
        band = _Band(box, self.grid.patch[0], self.classes)
        for tile, probabilities in self._predicted(held, window, box, counts, on_tiles, skips):
            yield from self._finish(band, tile.trusted.start[0])
            if probabilities is not None:
                inside = tile.trusted.intersection(box)
                part = inside.slices(tile.box.start)
                band.add(inside, probabilities[part], self.taper.weights(tile)[part])
        yield from self._finish(band, box.stop[0])

    def _finish(self, band: _Band, row: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the rows above ``row``, as many at a time as the band holds."""
        while (rows := band.release(min(row, band.top + band.sum.shape[0]))) is not None:
            yield band.top, rows
            band.advance(len(rows))

    def _predicted(
        self,
        held: Pixels,
        window: Box,
        box: Box,
        counts: Counts,
        on_tiles: Callable[[int], None],
        skips: Skips | None,
    ) -> Iterator[tuple[Tile, np.ndarray | None]]:
        """The tiles of the block in grid order, each with its probabilities (None: empty).

        Empty tiles take no place in a batch: every batch but the last is full.
        """
        waiting: list[tuple[Tile, bool]] = []  # with whether it is empty
        cuts: list[Pixels] = []
        for tile in self.grid.touching(box):
            pixels = cut(held, window, tile.box, self.grid.extent)
            skip = is_empty(pixels, self.empty) if skips is None else skips(tile)
            counts.tiles += 1
            counts.skipped += skip
            waiting.append((tile, skip))
            cuts += [] if skip else [pixels]
            if len(cuts) == self.batch:
                yield from self._matched(waiting, cuts)
                on_tiles(len(waiting))
                waiting, cuts = [], []
        yield from self._matched(waiting, cuts)
        on_tiles(len(waiting))

    def _matched(
        self, waiting: list[tuple[Tile, bool]], cuts: list[Pixels]
    ) -> Iterator[tuple[Tile, np.ndarray | None]]:
        results = iter(self._predict(cuts) if cuts else ())
        return ((tile, None if skip else next(results)) for tile, skip in waiting)

    def _predict(self, cuts: list[Pixels]) -> np.ndarray:
        patches = np.stack([self.normaliser(pixels) for pixels in cuts])
        shape = patches.shape[:1] + patches.shape[-1 - self.rank :]
        result = self.predictor(patches.reshape(shape))
        expected = (*shape[:-1], self.classes)
        if result.shape != expected:
            raise ValueError(f"the model gave {result.shape} for patches {shape}, not {expected}")
        if not np.isfinite(result.sum(dtype=np.float32)):  # as labels they would all be the first
            raise SegbatchError(
                "the model gave values that are not finite, of which no labels can be made: its "
                "weights are damaged, or the input is far from what it was trained on"
            )
        return result.reshape(*patches.shape[:-1], self.classes)


def winners(sums: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """``ids[argmax(sums, -1)]``, the first of equals, for sums ``(rows, *width, classes)``.

    A running maximum over classes-first slabs that fit the cache: four times as fast as argmax
    over a short last axis.
    """
    out = np.empty(sums.shape[:-1], ids.dtype)
    dtype = np.uint8 if len(ids) <= 256 else np.uint16
    step = max(1, (1 << 17) // max(1, sums[0].size))
    for r in range(0, len(sums), step):
        slab = np.ascontiguousarray(np.moveaxis(sums[r : r + step], -1, 0))
        best, winner = slab[0], np.zeros(slab.shape[1:], dtype)
        for k in range(1, len(slab)):
            np.maximum(winner, (slab[k] > best).view(np.uint8) * dtype(k), out=winner)
            best = np.maximum(best, slab[k])
        out[r : r + step] = ids[winner]
    return out


def quantised(sums: np.ndarray) -> np.ndarray:
    """Probabilities as uint8, classes first: ``round(255 p)``, ``(classes, rows, *width)``."""
    scaled = np.rint(np.clip(sums, 0, 1) * np.float32(255)).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(scaled, -1, 0))
