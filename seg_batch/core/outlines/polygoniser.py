"""The polygons of a map that comes in strips of whole rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from seg_batch.core.outlines.polygons import (
    BYTES,
    CORNERS,
    HALVES,
    Batch,
    batch_for,
    work_for,
    write,
)
from seg_batch.core.outlines.pools import index_all
from seg_batch.core.outlines.state import CLOSED, POINTS, State, empty_rows, empty_state, roomy
from seg_batch.core.outlines.sweep import end, sweep

POLYGONS = 1 << 15  # of a batch, at most
BATCH_BYTES = 8 << 20  # of the geometries of a batch, unless one alone is larger
_MOST_CLOSED = 1 << 15
NO_AREAS = np.zeros((0, 0), np.int64)
NO_SCORES = np.zeros((0, 0), np.uint8)
Affine = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Polygons:
    """A batch. ``labels``: of each polygon; ``pixels``; ``units``: of area; ``scores``: summed over its pixels; ``border``: whether it
    touches the border of the raster; ``ends``: where its geometry begins in ``wkb``, and where the last ends."""

    labels: np.ndarray
    pixels: np.ndarray
    units: np.ndarray
    scores: np.ndarray
    border: np.ndarray
    ends: np.ndarray
    wkb: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Simplify:
    """``tolerance`` in metres; ``metric``: the metres that a step along x and y goes: ``(xx, xy, yx, yy)``, of which the first two
    give the first coordinate."""

    tolerance: float
    metric: tuple[float, float, float, float]


class Polygoniser:
    """Takes strips from the top to the bottom, and gives polygons in the order in which objects end: by their last row,
    then by the first column of that. What it holds is a row, and objects that have not ended with the arcs around them.

    ``labels``: those that get polygons. ``least_units`` and ``least_pixels``: smaller ones are left out.
    """

    def __init__(
        self,
        width: int,
        labels: list[int],
        affine: Affine,
        simplify: Simplify | None = None,
        least_units: int = 0,
        least_pixels: int = 0,
    ) -> None:
        self._width, self._affine = width, np.array(affine, np.float64)
        self._code_of = np.zeros(1 << 16, np.int32)
        self._code_of[labels] = np.array(labels, np.int32) + 1
        self._wanted = np.zeros((1 << 16) + 1, np.uint8)
        self._wanted[[label + 1 for label in labels]] = 1
        self._least = np.array([least_units, least_pixels], np.int64)
        self._tolerance = -1.0 if simplify is None else float(simplify.tolerance)
        self._metric = np.array(simplify.metric if simplify else (1, 0, 0, 1), np.float64)
        # What gets no polygon is followed, too, where lines are simplified: they must not touch those on its other side.
        self._followed = 1 if simplify is None else 0
        self._state = empty_state(width, simplify is not None)
        self._rows, self._work = empty_rows(width), work_for(1 << 10, 1 << 14)
        self._size, self._y = BATCH_BYTES, 0

    def add(
        self,
        strip: np.ndarray,
        areas: np.ndarray = NO_AREAS,
        area_of: np.ndarray | None = None,
        scores: np.ndarray = NO_SCORES,
    ) -> Iterator[Polygons]:
        """``strip``: labels uint8 or uint16 ``(rows, width)``. ``areas``: sums along a row from its left end, int64 ``(kinds, width + 1)``;
        ``area_of``: which of them is that of each row; ``scores``: uint8 of each pixel."""
        strip = np.ascontiguousarray(strip)
        of = np.zeros(len(strip), np.int64) if area_of is None else area_of
        done = 0
        while done < len(strip):
            self._make_room()
            done = sweep(
                self._state,
                self._rows,
                strip,
                self._code_of,
                self._followed,
                self._y,
                done,
                areas,
                of,
                scores,
                _MOST_CLOSED,
            )
            if done < len(strip) or self._state.counts[CLOSED] >= _MOST_CLOSED:
                yield from self._written()
        self._y += len(strip)

    def end(self) -> Iterator[Polygons]:
        """What is left, after the last strip."""
        yield from self._written()
        self._make_room()
        end(self._state, self._rows, self._y)
        yield from self._written()

    @property
    def held_bytes(self) -> int:
        """Of the arrays of what is open, and of a row."""
        return sum(array.nbytes for array in (*self._state, *self._rows, *self._work))

    def _make_room(self) -> None:
        self._state = roomy(self._state, self._width)
        corners, cells = int(self._state.counts[POINTS + 2]), self._state.cells.size
        if cells > 1 and corners > 8 * cells:
            self._state = _reindexed(self._state, 8 * cells)

    def _written(self) -> Iterator[Polygons]:
        done, closed = 0, int(self._state.counts[CLOSED])
        while done < closed:
            out = batch_for(POLYGONS, self._size)
            done = write(
                self._state,
                done,
                self._work,
                out,
                self._wanted,
                self._least,
                self._affine,
                self._metric,
                self._tolerance,
            )
            if out.written[0]:
                yield _polygons(out)
            if done < closed:
                self._enlarge(bool(out.written[0]))
        self._state.counts[CLOSED] = 0

    def _enlarge(self, some: bool) -> None:
        """For an object that had no room. ``some``: the batch was not empty, so it may find room in another."""
        needs, work = self._work.needs, self._work
        halves, corners = int(needs[HALVES]), int(needs[CORNERS])
        if halves >= work.halves.size or corners + 2 > work.x.size:
            self._work = work_for(halves + halves // 2, corners + corners // 2)
        self._size = BATCH_BYTES if some else max(BATCH_BYTES, int(needs[BYTES]))


def _reindexed(state: State, cells: int) -> State:
    """With an index of corners of so many cells."""
    state = state._replace(cells=np.full(cells, -1, np.int32))
    index_all(state.counts, state.points, state.cells)
    return state


def _polygons(out: Batch) -> Polygons:
    n = int(out.written[0])
    size = int(out.ends[n])
    return Polygons(
        out.code[:n] - 1,
        out.pixels[:n],
        out.units[:n],
        out.score[:n],
        out.border[:n] > 0,
        out.ends[: n + 1],
        out.wkb[:size],
    )
