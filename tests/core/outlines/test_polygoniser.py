"""Outlines against another polygoniser, burnt back, and whatever the strips."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from rasterio.features import rasterize, shapes
from scipy.ndimage import gaussian_filter

from seg_batch.core.outlines.polygoniser import Polygoniser, Polygons, Simplify

pytestmark = pytest.mark.full  # the kernels take half a minute to compile

PLAIN = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
FIELDS = arrays(
    np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 3)
)


def batches(labels: np.ndarray, rows: int, wanted: list[int], **options: object) -> list[Polygons]:
    polygoniser = Polygoniser(labels.shape[1], wanted, PLAIN, **options)  # type: ignore[arg-type]
    parts = []
    for y in range(0, len(labels), rows):
        parts += list(polygoniser.add(labels[y : y + rows]))
    return [*parts, *polygoniser.end()]


def polygons(parts: list[Polygons]) -> list[tuple[int, shapely.Polygon]]:
    """Labels and geometries, in order."""
    found = []
    for part in parts:
        wkb, ends = part.wkb.tobytes(), part.ends.tolist()
        pairs = itertools.pairwise(ends)
        geometries = [shapely.from_wkb(wkb[a:b]) for a, b in pairs]
        found += list(zip(part.labels.tolist(), geometries, strict=True))
    return found


def plain(found: list[tuple[int, shapely.Polygon]]) -> list[tuple[int, bytes]]:
    return sorted((label, shapely.normalize(geometry).wkb) for label, geometry in found)


def of_rasterio(labels: np.ndarray, wanted: list[int]) -> list[tuple[int, bytes]]:
    chosen = np.isin(labels, wanted)
    found = shapes(labels, mask=chosen)
    return plain([(int(label), shapely.geometry.shape(one)) for one, label in found])


@given(FIELDS, st.integers(1, 9), st.sets(st.integers(0, 3)))
@settings(max_examples=150, deadline=None)
def test_polygons_are_those_of_rasterio_whatever_the_strips(
    labels: np.ndarray, rows: int, chosen: set[int]
) -> None:
    wanted = sorted(chosen)
    found = polygons(batches(labels, rows, wanted))
    assert found == polygons(batches(labels, len(labels), wanted))  # in the same order, too
    assert plain(found) == of_rasterio(labels, wanted)
    assert all(geometry.is_valid for _, geometry in found)
    if found:
        burnt = rasterize([(one, label + 1) for label, one in found], labels.shape)
        assert np.array_equal(burnt, np.where(np.isin(labels, wanted), labels + 1, 0))


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_larger_fields(rows: int) -> None:
    y, x = np.mgrid[:64, :53]
    address = (x * 53 + y * 64) % 251
    for labels in (
        ((x + y) % 2).astype(np.uint8),  # a checkerboard: all corners meet
        (np.maximum(abs(x - 26), abs(y - 32)) // 2 % 2).astype(np.uint8),  # holes in holes
        (gaussian_filter(address / 251.0, 1.5) * 40 % 4).astype(np.uint16),
        np.full((64, 53), 3, np.uint8),
    ):
        wanted = np.unique(labels).tolist()
        found = polygons(batches(labels, rows, wanted))
        assert plain(found) == of_rasterio(labels, wanted)


def test_order_is_by_the_last_row_then_its_first_column() -> None:
    labels = np.array([[1, 0, 2, 0, 3], [1, 0, 0, 0, 3], [0, 4, 0, 0, 0]], np.uint8)
    found = polygons(batches(labels, 1, [1, 2, 3, 4]))
    assert [label for label, _ in found] == [2, 1, 3, 4]


@given(FIELDS, st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_sums_are_those_of_the_pixels_inside(labels: np.ndarray, rows: int) -> None:
    height, width = labels.shape
    units = (np.arange(height * width).reshape(height, width) * 37) % 101 + 1
    scores = ((units * 5) % 256).astype(np.uint8)
    sums = np.pad(np.cumsum(units, 1), ((0, 0), (1, 0)))
    polygoniser = Polygoniser(width, [1, 2], PLAIN, least_units=60)
    parts = []
    for y in range(0, height, rows):
        part = slice(y, min(y + rows, height))
        of = np.arange(part.stop - part.start)
        parts += list(polygoniser.add(labels[part], sums[part], of, scores[part]))
    parts += list(polygoniser.end())
    expected = []
    for geometry, label in shapes(labels, mask=(labels == 1) | (labels == 2)):
        inside = rasterize([geometry], labels.shape).astype(bool)
        rim = np.ones_like(inside)
        rim[1:-1, 1:-1] = False
        sizes = inside.sum(), units[inside].sum(), scores[inside].sum(dtype=np.int64)
        if sizes[1] >= 60:
            expected.append((int(label), *map(int, sizes), bool((inside & rim).any())))
    found: list[tuple[int | bool, ...]] = []
    for p in parts:
        columns = (p.labels, p.pixels, p.units, p.scores, p.border)
        found += list(zip(*(c.tolist() for c in columns), strict=True))
    assert sorted(found) == sorted(expected)


@given(
    st.integers(0, 10_000),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.sampled_from([0.0, 0.6, 1.0, 1.5, 3.0, 20.0]),
    st.integers(1, 30),
    st.booleans(),
)
@settings(max_examples=70, deadline=None)
def test_simplified_neighbours_keep_one_line(
    seed: int, shape: tuple[int, int], tolerance: float, rows: int, every: bool
) -> None:
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.random(shape), rng.uniform(0, 2.5))
    labels = np.digitize(smooth, np.quantile(smooth, [0.3, 0.7])).astype(np.uint8)
    wanted = np.unique(labels).tolist()[0 if every else 1 :]
    simplify = Simplify(tolerance, (1, 0, 0, 1))
    found = polygons(batches(labels, rows, wanted, simplify=simplify))
    assert found == polygons(batches(labels, len(labels), wanted, simplify=simplify))
    exact = polygons(batches(labels, rows, wanted))
    assert [label for label, _ in found] == [label for label, _ in exact]
    geometries = np.array([geometry for _, geometry in found], object)
    assert shapely.is_valid(geometries).all()
    for (_, geometry), (_, before) in zip(found, exact, strict=True):
        assert shapely.hausdorff_distance(geometry.boundary, before.boundary) <= tolerance + 1e-9
    assert_apart(geometries)
    if every:
        assert shapely.coverage_is_valid(geometries)
        assert shapely.area(shapely.union_all(geometries)) == pytest.approx(
            shapely.area(geometries).sum()
        )


def assert_apart(geometries: np.ndarray) -> None:
    one, other = shapely.STRtree(geometries).query(geometries, "intersects")
    pairs = one < other
    common = shapely.intersection(geometries[one[pairs]], geometries[other[pairs]])
    assert (shapely.area(common) < 1e-9).all()


def test_a_slope_becomes_one_line_and_what_lies_in_between_keeps_its_place() -> None:
    y, x = np.mgrid[:40, :40]
    labels = (x > y).astype(np.uint8)
    labels[20, 20] = 2  # on the line: a corner of the stairs is a junction
    simplify = Simplify(1.0, (1, 0, 0, 1))
    found = polygons(batches(labels, 40, [0, 1, 2], simplify=simplify))
    corners = {label: shapely.get_num_coordinates(geometry) for label, geometry in found}
    assert corners[0] < 15
    assert corners[1] < 15
    assert corners[2] == 5
    assert_apart(np.array([geometry for _, geometry in found], object))


def test_what_is_held_is_a_row_and_open_objects() -> None:
    """Rows of small objects: the arrays stay as large as after the first."""
    polygoniser = Polygoniser(600, [1, 2], PLAIN)
    x = np.arange(600)
    held, count = [], 0
    for y in range(0, 900, 30):
        rows = np.arange(y, y + 30)[:, None]
        strip = ((x // 5 + rows // 6) % 2 + 1).astype(np.uint8)
        count += sum(len(part) for part in polygoniser.add(strip))
        held.append(polygoniser.held_bytes)
    count += sum(len(part) for part in polygoniser.end())
    assert count == 120 * 150
    assert held[-1] == held[3]
