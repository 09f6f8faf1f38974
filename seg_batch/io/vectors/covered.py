"""Which pixels polygons cover: by their centres, or by shares.

Both follow from each edge alone, in the coordinates of the whole raster, so no pixel depends on the box that it is asked
for in. A centre on an edge belongs to the polygon on the right of it, or below it: polygons that share an edge share no pixel,
and leave none out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg_batch.core.geometry import Box

_NOISE = 1e-12  # of a share: what sums of many edges leave


@dataclass(frozen=True, eq=False)
class Edges:
    """Edges of polygons, each from its upper end ``x0, y0`` to its lower one, ``(n,)`` float64 in pixels of the raster; ``sign``: 1
    where the ring goes down along it, else -1. Level ones bound nothing and are left out."""

    x0: np.ndarray
    y0: np.ndarray
    x1: np.ndarray
    y1: np.ndarray
    sign: np.ndarray

    @classmethod
    def of(cls, polygons: np.ndarray) -> Edges:
        """Of valid polygons in pixels, which share no interior."""
        import shapely

        parts = shapely.get_parts(shapely.get_parts(polygons))
        parts = parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]
        rings = shapely.get_rings(shapely.orient_polygons(parts))
        xy, ring = shapely.get_coordinates(rings, return_index=True)
        same = ring[1:] == ring[:-1]
        a, b = xy[:-1][same], xy[1:][same]
        slanted = a[:, 1] != b[:, 1]
        a, b = a[slanted], b[slanted]
        down = a[:, 1] < b[:, 1]
        upper, lower = np.where(down[:, None], a, b), np.where(down[:, None], b, a)
        (x0, y0), (x1, y1) = upper.T.copy(), lower.T.copy()
        return cls(x0, y0, x1, y1, np.where(down, 1.0, -1.0))

    def between(self, top: float, bottom: float) -> Edges:
        """Those that lie in part between two rows."""
        near = np.flatnonzero((self.y0 < bottom) & (self.y1 > top))
        return self if len(near) == len(self.x0) else self._of(near)

    def _of(self, chosen: np.ndarray) -> Edges:
        return Edges(*(side[chosen] for side in (self.x0, self.y0, self.x1, self.y1, self.sign)))


def around(bounds: np.ndarray) -> Box:
    """The pixels that a shape with these bounds may cover."""
    left, top, right, bottom = bounds
    start, stop = np.floor([top, left]), np.ceil([bottom, right])
    return Box(tuple(start.astype(int).tolist()), tuple(stop.astype(int).tolist()))


def centres(edges: Edges, box: Box) -> np.ndarray:
    """bool ``box.shape``: whether the centre of a pixel lies inside."""
    (top, left), (bottom, right) = box.start, box.stop
    height, width = box.shape
    edges = edges.between(top, bottom)
    first = np.maximum(np.ceil(edges.y0 - 0.5), top).astype(np.int64)
    last = np.minimum(np.ceil(edges.y1 - 0.5), bottom).astype(np.int64)
    edge, step = _runs(np.maximum(last - first, 0))
    row, slope = first[edge] + step, (edges.x1 - edges.x0) / (edges.y1 - edges.y0)
    x = edges.x0[edge] + (row + 0.5 - edges.y0[edge]) * slope[edge]
    column = np.clip(np.ceil(x - 0.5), left, right).astype(np.int64)
    places = (row - top) * (width + 1) + column - left
    crossed = np.bincount(places, minlength=height * (width + 1)).reshape(height, width + 1)
    return np.asarray(np.cumsum(crossed[:, :width], axis=1) & 1, bool)


def shares(edges: Edges, box: Box) -> np.ndarray:
    """float64 ``box.shape``: the share of the area of each pixel that lies inside.

    Each piece of an edge inside one pixel adds the area on its right to that pixel, and its height to all on the right of it
    in the row; with the sign of its direction, what lies outside cancels."""
    (top, left), (bottom, right) = box.start, box.stop
    height, width = box.shape
    edges = edges.between(top, bottom)
    edge, start, stop = _pieces(edges, box)
    middle, dy = (start + stop) / 2, (edges.y1 - edges.y0)[edge]
    x = edges.x0[edge] + middle * (edges.x1 - edges.x0)[edge]
    y = edges.y0[edge] + middle * dy
    weight = edges.sign[edge] * (stop - start) * dy
    inside = (y > top) & (y < bottom) & (x < right)
    x, y, weight = np.maximum(x[inside], left), y[inside], weight[inside]
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    place = (row - top) * (width + 1) + column - left
    beyond = weight * (x - column)  # first seen by the next pixel
    size = height * (width + 1)
    steps = np.bincount(place, weight - beyond, size) + np.bincount(place + 1, beyond, size)
    share = np.abs(np.cumsum(steps.reshape(height, width + 1)[:, :width], axis=1))
    share[share < _NOISE] = 0
    return np.asarray(np.minimum(share, 1))


def _pieces(edges: Edges, box: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges cut at the borders of the pixels of a box: the edge of each piece, and where on it, from 0 to 1, it begins and ends."""
    n = np.arange(len(edges.x0))
    rows = _cuts(edges.y0, edges.y1, box.start[0], box.stop[0])
    low, high = np.minimum(edges.x0, edges.x1), np.maximum(edges.x0, edges.x1)
    columns = _cuts(low, high, box.start[1], box.stop[1])
    at_rows = (rows[1] - edges.y0[rows[0]]) / (edges.y1 - edges.y0)[rows[0]]
    at_columns = (columns[1] - edges.x0[columns[0]]) / (edges.x1 - edges.x0)[columns[0]]
    edge = np.concatenate([n, n, rows[0], columns[0]])
    at = np.concatenate([np.zeros(len(n)), np.ones(len(n)), at_rows, np.clip(at_columns, 0, 1)])
    order = np.lexsort((at, edge))
    edge, at = edge[order], at[order]
    same = (edge[1:] == edge[:-1]) & (at[1:] > at[:-1])
    return edge[1:][same], at[:-1][same], at[1:][same]


def _cuts(
    low: np.ndarray, high: np.ndarray, first: int, last: int
) -> tuple[np.ndarray, np.ndarray]:
    """The whole numbers between ``low`` and ``high``, of those from ``first`` to ``last``: of which one, and the number."""
    begin = np.maximum(np.floor(low) + 1, first).astype(np.int64)
    end = np.minimum(np.ceil(high) - 1, last).astype(np.int64)
    index, step = _runs(np.maximum(end - begin + 1, 0))
    return index, begin[index] + step


def _runs(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each index as often as its count, and the place within its run."""
    index = np.repeat(np.arange(len(counts)), counts)
    return index, np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
