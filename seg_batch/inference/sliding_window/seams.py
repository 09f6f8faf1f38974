"""The seam index: how much more often labels flip across a tile border than beside it.

Plane ``p`` of an axis lies between voxels ``p - 1`` and ``p``. It is a *border* where the set of
tiles with a positive taper changes from one voxel to the next, or the tile of the largest taper
(the seam). Each border plane is compared with
two *inside* planes, ``p - d`` and ``p + d``, as far away as possible up to ``FAR`` voxels while
both are nearer to ``p`` than to any other border::

    tiles of the axis   ██████████████████████          border planes  |
                                        ██████████████  inside planes  :
                                :   |   :   :   |   :

Inside planes lie on both sides, because a scene is not the same everywhere: what changes steadily along
an axis, such as more edges towards its middle, cancels out. Borders nearer than
three voxels to the next, or to the end of the extent, have no inside planes and are left out.

Over neighbouring pairs of voxels ``a, b`` on either side of a plane, each with data::

    flip = label(a) != label(b)          jump = sum_k |p_k(a) - p_k(b)| / 2    (total variation)

    index = sum_axis flips on borders / sum_axis pairs on borders * rate of flips inside

Rates are taken axis by axis, because a thick slice flips more often than a row. An index of 1 means that
no seam can be seen. Pairs across the faces of a block are left out: a block reads no other.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, TypedDict

import numpy as np

from seg_batch.core.geometry import Box
from seg_batch.core.resample.pasted import WayBack
from seg_batch.core.taper import Taper
from seg_batch.inference.sliding_window.band import as_lines, in_lines, loops
from seg_batch.inference.sliding_window.scores import PROBABILITIES, Scores

FAR = 16
FEWEST = 60  # flips, a third of which lie on borders by chance; a ratio of fewer says nothing
ROUNDING = 1e-6  # a mean jump below this is float32, not the model
ALL_VALID = np.empty((0, 0, 0), bool)


def border_planes(taper: Taper, axis: int) -> np.ndarray:
    """Planes (int64, ascending) of one axis where the set of tiles that count changes, or the tile
    that counts most: with tapers that fade to nothing, a label changes hands there."""
    extent = taper.grid.extent[axis]
    most, owner = np.zeros(extent, np.float32), np.zeros(extent, np.int64)
    edges: set[int] = set()
    for k, (start, row) in enumerate(
        zip(taper.grid.axes[axis].firsts, taper.rows[axis], strict=True)
    ):
        counts = np.concatenate([[False], row > 0, [False]])
        edges.update((start + np.flatnonzero(counts[1:] != counts[:-1])).tolist())
        seen = row[: extent - start]
        where = start + np.flatnonzero(seen > most[start : start + len(seen)])
        most[where], owner[where] = seen[where - start], k
    edges.update((np.flatnonzero(np.diff(owner)) + 1).tolist())
    return np.array(sorted(edges - {0, extent}), np.int64)


def seam_sides(borders: np.ndarray, extent: int) -> tuple[np.ndarray, np.ndarray]:
    """``(border, inside)``: the border planes with room beside them, and two planes for each."""
    if not len(borders):
        return borders, borders
    gaps = np.diff(borders)
    room = np.concatenate([[borders[0] - 1], (gaps - 1) // 2, [extent - borders[-1] - 1]])
    far = np.minimum(FAR, np.minimum(room[:-1], room[1:]))
    kept, far = borders[far > 0], far[far > 0]
    return kept, np.sort(np.concatenate([kept - far, kept + far]))


@lru_cache(maxsize=12)
def _counted_planes(
    taper: Taper, axis: int, way_back: WayBack | None
) -> tuple[np.ndarray, np.ndarray]:
    """``seam_sides`` of the whole extent; all blocks of a run share it, since every tile takes time. On another grid
    each is the plane nearest to its place, the inside ones too: between voxels that were interpolated labels flip
    more often in some places than in others, and only equal places can be compared."""
    extent = taper.grid.extent[axis]
    sides = seam_sides(border_planes(taper, axis), extent)
    if way_back is None:
        return sides
    target, start = way_back.place.shape[axis], way_back.place.start[axis]
    borders, inside = (np.unique(np.rint(s * (target / extent)).astype(np.int64)) for s in sides)
    return tuple(start + s[(s > 0) & (s < target)] for s in (borders, inside))  # type: ignore[return-value]


@dataclass(frozen=True)
class SeamCounts:
    """Counts that ``+`` adds up. Each is ``(axes, 2)``, borders first and inside second, those
    of classes ``(axes, 2, classes)``. A pair involves the classes of both its voxels."""

    pairs: np.ndarray
    flips: np.ndarray
    jumps: np.ndarray
    class_pairs: np.ndarray
    class_flips: np.ndarray

    @classmethod
    def zero(cls, axes: int, classes: int) -> SeamCounts:
        shapes = [(axes, 2)] * 3 + [(axes, 2, classes)] * 2
        types = [np.int64, np.int64, np.float64, np.int64, np.int64]
        return cls(*(np.zeros(s, t) for s, t in zip(shapes, types, strict=True)))

    def __add__(self, other: SeamCounts) -> SeamCounts:
        names = [f.name for f in fields(self)]
        return SeamCounts(*(getattr(self, name) + getattr(other, name) for name in names))

    @property
    def index(self) -> float | None:
        """Flips on borders over those expected there; None where there are fewer than ``FEWEST`` in
        all, or none inside (the counts then say it)."""
        return _ratio(self.flips, self.pairs) if self.flips.sum() >= FEWEST else None

    @property
    def error(self) -> float | None:
        """Standard error of the index for independent flips; flips come in runs, so that it is
        rather too small: ``index * sqrt(1 / flips on borders + 1 / flips inside)``."""
        counts = self.flips.sum(axis=0)
        if not self.index or counts.min() == 0:
            return None
        return self.index * float(np.sqrt((1 / counts).sum()))

    @property
    def jump(self) -> float | None:
        """The index of how far probabilities jump; None where they do not move inside."""
        still = self.jumps[:, 1].sum() <= ROUNDING * self.pairs[:, 1].sum()
        return None if still else _ratio(self.jumps, self.pairs)

    @property
    def class_index(self) -> list[float | None]:
        """The index of each class: its flips, over the pairs that involve it."""
        flips, pairs = np.moveaxis(self.class_flips, -1, 0), np.moveaxis(self.class_pairs, -1, 0)
        return [
            _ratio(f, p) if f.sum() >= FEWEST else None for f, p in zip(flips, pairs, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name).tolist() for f in fields(self)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SeamCounts:
        return cls(*(np.array(data[f.name]) for f in fields(cls)))

    def summary(self, names: list[str], blocks: int) -> SeamSummary:
        """For a report: ``names`` of the classes, and how many blocks were counted."""
        each = zip(names, self.class_index, np.moveaxis(self.class_flips, -1, 0), strict=True)
        pairs, jumps = _by_kind(self.pairs), _by_kind(self.jumps)
        return {
            "index": _rounded(self.index),
            "error": _rounded(self.error),
            "jump": _rounded(self.jump),
            "per_class": {
                name: {"index": _rounded(index), "flips": _by_kind(flips)}
                for name, index, flips in each
            },
            "pairs": pairs,
            "flips": _by_kind(self.flips),
            "mean_jump": {k: round(jumps[k] / n, 6) if n else None for k, n in pairs.items()},
            "blocks": blocks,
        }


def _by_kind(counts: np.ndarray) -> dict[str, Any]:
    """Totals over the axes, of border planes and of inside planes."""
    border, inside = counts.sum(axis=0).tolist()
    return {"border": border, "inside": inside}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _ratio(amounts: np.ndarray, pairs: np.ndarray) -> float | None:
    """``sum_axis amount_border / sum_axis pairs_border * amount_inside / pairs_inside``."""
    both = (pairs > 0).all(axis=1)
    expected = (pairs[both, 0] * amounts[both, 1] / pairs[both, 1]).sum()
    return float(amounts[both, 0].sum() / expected) if expected > 0 else None


class SeamSummary(TypedDict):
    """The indices, and over how many pairs, flips and blocks they were taken; ``pairs``, ``flips`` and
    ``mean_jump``: on borders and inside."""

    index: float | None
    error: float | None
    jump: float | None
    per_class: dict[str, dict[str, Any]]
    pairs: dict[str, int]
    flips: dict[str, int]
    mean_jump: dict[str, float | None] | None
    blocks: int


class SeamCounter:
    """Counts one block as its rows are finished, top to bottom, in the axes of the taper's grid.

    ``ids``: the label of each class, in the order of the sums' last axis. ``way_back``: from that grid to the one
    that ``box`` and rows lie in, where it is another. ``scores``: what the sums are, of which probabilities jump.
    """

    def __init__(
        self,
        taper: Taper,
        ids: np.ndarray,
        box: Box,
        way_back: WayBack | None = None,
        scores: Scores = PROBABILITIES,
    ) -> None:
        self._scores = scores
        self._ids, self._row = ids, box.start[0]
        self._planes = [
            [
                planes[(box.start[axis] < planes) & (planes < box.stop[axis])]
                for planes in _counted_planes(taper, axis, way_back)
            ]
            for axis in range(len(taper.grid.extent))
        ]
        self._origin = box.start
        self._index = np.full(int(ids.max()) + 1, -1)
        self._index[ids] = np.arange(len(ids))
        self._loops = loops(box.size * len(ids))
        self._last: tuple[np.ndarray, ...] | None = None
        self.counts = SeamCounts.zero(len(box.start), len(ids))

    @property
    def planes(self) -> list[list[np.ndarray]]:
        """Those of each axis within the box, borders first and inside second."""
        return self._planes

    def add(
        self, row: int, sums: np.ndarray, labels: np.ndarray, valid: np.ndarray | None = None
    ) -> None:
        """Take in the rows from ``row`` on: sums ``(rows, *width, classes)``, which may be of no class where there are no
        probabilities; labels and valid ``(rows, *width)``. Rows come without gaps; nothing is kept but a copy of the
        last."""
        stop = row + len(labels)
        rows = (in_lines(sums), ALL_VALID if valid is None else as_lines(valid), as_lines(labels))
        if self._last is not None:
            both = tuple(np.concatenate([a, b[:1]]) for a, b in zip(self._last, rows, strict=True))
            self._count(both, 0, row - 1, row, row + 1)
        self._count(rows, 0, row, row + 1, stop)
        for axis in range(1, labels.ndim):
            self._count(rows, axis, self._origin[axis])
        self._last = None
        if any(stop in planes for planes in self._planes[0]):
            self._last = tuple(part[-1:].copy() for part in rows)

    def _count(
        self,
        rows: tuple[np.ndarray, ...],
        axis: int,
        origin: int,
        first: int | None = None,
        stop: int | None = None,
    ) -> None:
        """Count at the planes ``first <= plane < stop`` of an axis, None: all; the rows begin at ``origin`` of it."""
        counts, place = self.counts, axis + (axis > 0) * (3 - len(self._planes))
        for kind, planes in enumerate(self._planes[axis]):
            if first is not None:
                planes = planes[(first <= planes) & (planes < stop)]
            if not len(planes):
                continue
            totals = np.zeros(2, np.int64)
            classes = np.stack([counts.class_pairs[axis, kind], counts.class_flips[axis, kind]])
            how = totals, classes, *self._scores.how[:2]
            jumps = self._loops.count(*rows, self._index, place, planes - origin, *how)
            counts.pairs[axis, kind] += totals[0]
            counts.flips[axis, kind] += totals[1]
            counts.jumps[axis, kind] += jumps / 2
            counts.class_pairs[axis, kind], counts.class_flips[axis, kind] = classes
