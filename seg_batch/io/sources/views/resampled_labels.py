"""A label image on the grid of a model: the class with the largest share of a voxel, thin ones kept.

Each class is a mask of its own, which comes to the grid as an image does: by linear interpolation where the grid is
finer, by area where it is coarser, across thick slices by whole slices. The largest share wins; of equal ones that of
the nearest voxel, so that objects neither grow nor shrink. Nodata is one more class.

A sheet or a line one voxel thick has the largest share of no voxel of a coarser grid. A class that wins nowhere in a
neighbourhood takes the voxels of its largest share there, if it has as much of the neighbourhood as half a line.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box, Shape
from seg_batch.core.normalise import Pixels
from seg_batch.core.resample.resampler import Resampler
from seg_batch.io.sources.protocol import Source, require_inside
from seg_batch.io.sources.views.model_grid import ModelGrid
from seg_batch.io.sources.views.resampled import in_parts, seen_on

MOST_CLASSES = 4096  # in one part; more are numbered objects or measurements
_NEAREST = np.float32(
    1e-4
)  # what makes the nearest of equal shares the largest, above their rounding
_HALF = np.float32(0.5 - 1e-4)
# An axis made so many times finer, or more, loses nothing: the middle of a voxel is its own by more than
# half, in three dimensions too, since (1 - 1 / (2 * 2.5)) ** 3 > 1 / 2.
_FINE = 2.5
_TARGET_BYTES, _SOURCE_BYTES = 48, 16  # held per voxel of both grids


class ResampledLabels:
    """``source``, a label image of one channel, on a ``ModelGrid``. Values are the file's, in its type.

    A voxel depends on those around it alone: its bits are the same in whichever box it is read. A box is
    read in parts, of which one class is held at a time. ``InputError`` where a part has more than ``MOST_CLASSES`` values.
    """

    def __init__(self, source: Source, grid: ModelGrid) -> None:
        self._source, self._votes = source, Votes.on(grid)
        self.info = replace(seen_on(source.info, grid), dtype=source.info.dtype)

    def read(self, box: Box) -> Pixels:
        require_inside(self.info, box)
        return in_parts(box, self._bytes, self._read)

    def _bytes(self, box: Box) -> int:
        outer = self._votes.around(box)
        return outer.size * _TARGET_BYTES + self._votes.needed(outer).size * _SOURCE_BYTES

    def _read(self, box: Box) -> Pixels:
        outer = self._votes.around(box)
        window = self._votes.needed(outer)
        held = self._source.read(window)
        values = held.values[..., 0]
        missing = ~np.isfinite(values) if values.dtype.kind == "f" else None
        if held.valid is not None:
            missing = ~held.valid[..., 0] if missing is None else missing | ~held.valid[..., 0]
        distinct, indices = self._indexed(values, missing)
        won = self._votes(indices, window, outer)[box.slices(outer.start)][..., None]
        valid = won < len(distinct)
        shown = np.append(distinct, np.zeros(1, distinct.dtype))[won]
        return Pixels(shown, None if valid.all() else valid, held.scale, held.offset)

    def close(self) -> None:
        self._source.close()

    def _indexed(
        self, values: np.ndarray, missing: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The values that occur, sorted, and the place of each voxel's among them; past them where it is ``missing``."""
        known = values if missing is None else values[~missing]
        if values.dtype in (np.uint8, np.uint16):  # a table is faster than sorting
            distinct = np.flatnonzero(np.bincount(known.ravel())).astype(values.dtype)
        else:
            distinct = np.unique(known)
        if len(distinct) > MOST_CLASSES:
            raise InputError(
                f"{self._source.info.path} has more than {MOST_CLASSES} different values, which are "
                "numbered objects or measurements and no classes: give a class per voxel"
            )
        indices = np.searchsorted(distinct, values).astype(np.int32)
        if missing is not None:
            indices[missing] = len(distinct)
        return distinct, indices


@dataclass(frozen=True)
class Votes:
    """``shares``: how a mask comes to the grid. ``covered``: the same without smoothing, the share of the mask in each voxel;
    ``nearest``: the one voxel under the middle of each. ``radius``: of the neighbourhood in which a class may be lost, per
    axis. ``least``: what half a line one voxel thick has of it, in voxels of the grid."""

    shares: Resampler
    covered: Resampler
    nearest: Resampler
    radius: Shape
    least: float

    @classmethod
    def on(cls, grid: ModelGrid) -> Votes:
        ratios = [n / m for n, m in zip(grid.source, grid.target, strict=True)]
        axes = list(zip(ratios, grid.rules, strict=True))
        whole = tuple("nearest" if r < 1 or rule == "nearest" else "area" for r, rule in axes)
        rules = tuple(
            "linear" if r < 1 and rule != "nearest" else way
            for (r, rule), way in zip(axes, whole, strict=True)
        )
        radius = tuple(map(_radius, ratios, rules))
        thinner = sorted(1 / max(1, r) for r, reach in zip(ratios, radius, strict=True) if reach)
        length = 3 if len(thinner) > 1 else 1
        least = length * math.prod(thinner[: max(1, len(thinner) - 1)]) / 2

        def by(names: tuple[str, ...]) -> Resampler:
            return Resampler(grid.source, grid.target, names)

        return cls(by(rules), by(whole), by(("nearest",) * len(rules)), radius, least)

    def around(self, box: Box) -> Box:
        """What decides on the labels of ``box``."""
        return box.grown(self.radius).intersection(Box.whole(self.shares.target))

    def needed(self, box: Box) -> Box:
        """The voxels of the file that make the shares in ``box``."""
        maps = (self.shares, self.covered, self.nearest)
        return reduce(Box.union, (way.needed(box) for way in maps))

    def __call__(self, indices: np.ndarray, window: Box, box: Box) -> np.ndarray:
        """The class of each voxel of ``box``, of class indices in ``window``; right further inside than ``radius``."""
        places = _places(indices, window)
        if len(places) == 1:
            return np.full(box.shape, next(iter(places)), np.int32)
        nearest = self.nearest(indices[..., None], None, window, box)[0][..., 0].astype(np.int32)
        won, best = np.zeros(box.shape, np.int32), np.zeros(box.shape, np.float32)
        for k, place in places.items():
            reached = self._reached(place, box)
            if not reached.size:
                continue
            share = _mapped(self.shares, indices == k, window, reached)
            at = reached.slices(box.start)
            share += _NEAREST * (nearest[at] == k)
            wins = share > best[at]
            best[at][wins], won[at][wins] = share[wins], k
        if max(self.radius):
            self._return_lost(won, nearest, indices, window, box, places)
        return won

    def _return_lost(
        self,
        won: np.ndarray,
        nearest: np.ndarray,
        indices: np.ndarray,
        window: Box,
        box: Box,
        places: dict[int, Box],
    ) -> None:
        """Give the classes that win nowhere around the voxels of their largest share."""
        before, most = won.copy(), np.zeros(won.shape, np.float32)
        alone = {*self.covered.rules} == {"nearest"}
        for k, place in places.items():
            reached = self._reached(place, box)
            if not reached.size:
                continue
            at = reached.slices(box.start)
            if alone:
                share = (nearest[at] == k).astype(np.float32)
            else:
                share = _mapped(self.covered, indices == k, window, reached)
            lost = (share > 0) & ~_around(before[at] == k, self.radius, np.logical_or)
            if not lost.any():
                continue
            lost &= _around(share, self.radius, np.add) >= self.least - 1e-4
            lost &= share >= _HALF * _around(share, self.radius, np.maximum)
            lost &= share > most[at]
            won[at][lost], most[at][lost] = k, share[lost]

    def _reached(self, place: Box, box: Box) -> Box:
        """The part of ``box`` where a class that lies in ``place`` has any share."""
        maps = (self.shares, self.covered)
        return reduce(Box.union, (way.reached(place) for way in maps)).intersection(box)


def _radius(ratio: float, rule: str) -> int:
    if ratio > 1 and rule == "area":
        return 1
    return math.ceil(1 / ratio) if 1 / _FINE < ratio < 1 and rule == "linear" else 0


def _places(indices: np.ndarray, window: Box) -> dict[int, Box]:
    """The smallest box of the file around each class."""
    from scipy.ndimage import find_objects

    boxes = enumerate(find_objects(indices + 1))
    return {
        k: Box(tuple(s.start for s in found), tuple(s.stop for s in found)).shift(window.start)
        for k, found in boxes
        if found is not None
    }


def _mapped(way: Resampler, mask: np.ndarray, window: Box, box: Box) -> np.ndarray:
    """The share of a mask over ``window`` in each voxel of ``box``."""
    return way(mask[..., None], None, window, box)[0][..., 0]


def _around(values: np.ndarray, radius: Shape, by: np.ufunc) -> np.ndarray:
    """The sum, or whatever ``by`` makes of two, over the neighbourhood of each voxel; beyond the array is 0."""
    for axis, reach in enumerate(radius):
        if reach:
            values = reduce(by, _shifted(values, axis, reach))
    return values


def _shifted(values: np.ndarray, axis: int, reach: int) -> Iterator[np.ndarray]:
    n = values.shape[axis]
    padded = np.pad(values, [(reach, reach) if a == axis else (0, 0) for a in range(values.ndim)])
    for first in range(2 * reach + 1):
        yield padded[(slice(None),) * axis + (slice(first, first + n),)]
