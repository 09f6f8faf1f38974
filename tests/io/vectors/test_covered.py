"""The pixels that polygons cover: against slow references, in any box, and shared out among neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from seg_batch.core.geometry import Box
from seg_batch.io.vectors.covered import Edges, centres, shares

EXTENT = (53, 87)
BOXES = [Box((10, 20), (30, 50)), Box((22, 33), (23, 34)), Box((20, 60), EXTENT)]


def star(seed: int, x: float, y: float, radius: float) -> shapely.Polygon:
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.random(9)) * 2 * np.pi
    reach = radius * (0.4 + 0.6 * rng.random(9))
    return shapely.Polygon(np.c_[x + reach * np.cos(angle), y + reach * np.sin(angle)])


def shape(seed: int) -> shapely.Geometry:
    """Two parts, one with a hole, partly off the raster."""
    ring = star(seed, 30.3, 22.7, 29).difference(star(seed + 1, 30.1, 22.2, 6))
    return ring.union(star(seed + 2, 76.2, 41.3, 17))


@pytest.mark.parametrize("seed", range(5))
def test_both_are_what_shapely_says_in_any_box(seed: int) -> None:
    polygon, whole = shape(seed), Box.whole(EXTENT)
    edges = Edges.of(np.array([polygon], object))
    y, x = np.mgrid[: EXTENT[0], : EXTENT[1]]
    inside, share = centres(edges, whole), shares(edges, whole)
    assert np.array_equal(inside, shapely.contains_xy(polygon, x + 0.5, y + 0.5))
    squares = shapely.box(x, y, x + 1, y + 1)
    assert np.allclose(share, shapely.area(shapely.intersection(polygon, squares)), 0, 1e-9)
    for box in BOXES:
        assert np.array_equal(centres(edges, box), inside[box.slices()])
        assert np.allclose(shares(edges, box), share[box.slices()], 0, 1e-12)


def test_neighbours_share_no_pixel_and_leave_none_out() -> None:
    """Borders run through centres and along sides of pixels."""
    corners = [(0.5, 0.5), (20.5, 10.5), (40, 0), (7.5, 30.5), (19.5, 21.5), (33, 29)]
    parts = shapely.get_parts(shapely.delaunay_triangles(shapely.MultiPoint(corners)))
    whole = Box.whole((31, 41))
    each = [centres(Edges.of(np.array([part], object)), whole).astype(int) for part in parts]
    joined = Edges.of(np.array([shapely.union_all(parts)], object))
    assert len(parts) > 3
    assert np.array_equal(sum(each), centres(joined, whole))


def test_shares_are_those_of_exactextract() -> None:
    exactextract = pytest.importorskip("exactextract")
    from exactextract.feature import JSONFeatureSource
    from exactextract.raster import NumPyRasterSource

    polygon, (height, width) = shape(3), EXTENT
    values = np.arange(height * width, dtype=np.float64).reshape(EXTENT) % 7
    flipped = shapely.transform(polygon, lambda xy: np.c_[xy[:, 0], height - xy[:, 1]])
    feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(flipped)}
    raster = NumPyRasterSource(values, 0, 0, width, height)
    row = exactextract.exact_extract(raster, JSONFeatureSource([feature]), ["sum", "count"])[0]
    share = shares(Edges.of(np.array([polygon], object)), Box.whole(EXTENT))
    assert np.isclose(share.sum(), row["properties"]["count"], 1e-6, 0)
    assert np.isclose((share * values).sum(), row["properties"]["sum"], 1e-6, 0)
