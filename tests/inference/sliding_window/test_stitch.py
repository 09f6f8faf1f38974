"""Stitching against a slow, obvious reference: every tile over the whole image, in float64.

The predictor depends on the position inside the patch, so that a seam can be seen (law 11).
"""

from __future__ import annotations

import math
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core.errors import BundleError, SegbatchError
from seg_batch.core.geometry import Blocks, Box, Grid
from seg_batch.core.normalise import Normaliser, Pixels
from seg_batch.core.taper import TAPERS, Taper
from seg_batch.inference.sliding_window.empty import Emptiness, EmptyRule
from seg_batch.inference.sliding_window.stitch import Counts, Stitcher, cut

CLASSES = 3
PLAIN = Normaliser((0.0,), (1.0,))


def address(extent: tuple[int, ...]) -> np.ndarray:
    """An image that carries its own address and has no symmetry: ``(*extent, 1)`` float32."""
    steps = [np.arange(n) * k for n, k in zip(extent, (97, 13, 1), strict=False)]
    grid = sum(np.meshgrid(*steps, indexing="ij"))
    return np.sin(grid)[..., None].astype(np.float32)


def crooked(patches: np.ndarray) -> np.ndarray:
    """A predictor that sees where in the patch it is."""
    places = np.indices(patches.shape[1:-1]).astype(np.float32)
    ramp = sum((k + 1) * p / p.size for k, p in enumerate(places))
    value = patches[..., 0]
    return np.stack([value * ramp, 0.3 * np.cos(3 * value) + ramp, 0.5 - ramp * value], -1)


def make(
    grid: Grid, taper: str = "hann", batch: int = 2, empty: EmptyRule | None = None
) -> Stitcher:
    return Stitcher(
        grid=grid,
        taper=Taper(grid, taper),
        normaliser=PLAIN,
        predictor=crooked,
        classes=CLASSES,
        rank=len(grid.extent),
        batch=batch,
        empty=empty or EmptyRule(255),
    )


def reference(image: np.ndarray, stitcher: Stitcher) -> np.ndarray:
    total = np.zeros((*stitcher.grid.extent, CLASSES))
    whole = Box.whole(stitcher.grid.extent)
    for tile in stitcher.grid:
        patch = cut(Pixels(image), whole, tile.box, stitcher.grid.extent).values
        inside = tile.box.intersection(whole)
        probabilities = crooked(patch[None])[0][inside.slices(tile.box.start)]
        total[inside.slices()] += probabilities * stitcher.taper.weights(tile)[..., None]
    return total


def by_blocks(
    image: np.ndarray, stitcher: Stitcher, shape: tuple[int, ...], valid: np.ndarray | None = None
) -> tuple[np.ndarray, Counts]:
    out, counts = np.full((*stitcher.grid.extent, CLASSES), np.nan, np.float32), Counts()
    held = Pixels(image, valid)
    for block in Blocks(stitcher.grid.extent, shape):
        window = stitcher.grid.window(block.box)
        part = out[block.box.slices()]
        for row, sums in stitcher.sums(held[window.slices()], window, block.box, counts):
            first = row - block.box.start[0]
            part[first : first + len(sums)] = sums
    return out, counts


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    rank = draw(st.sampled_from([2, 2, 3]))
    extent = tuple(draw(st.integers(1, 40 if rank == 2 else 14)) for _ in range(rank))
    patch = tuple(draw(st.integers(2, 12)) for _ in range(rank))
    overlap = tuple(draw(st.integers(0, p - 1)) for p in patch)
    margin = tuple(draw(st.integers(0, o // 2)) for o in overlap)
    return Grid(extent, patch, overlap, margin)


@given(grids(), st.sampled_from(TAPERS), st.integers(1, 5))
def test_one_block_equals_the_reference(grid: Grid, taper: str, batch: int) -> None:
    stitcher = make(grid, taper, batch)
    image = address(grid.extent)
    found, counts = by_blocks(image, stitcher, grid.extent)
    np.testing.assert_allclose(found, reference(image, stitcher), atol=2e-5)
    assert (counts.tiles, counts.skipped) == (len(grid), 0)


@given(grids(), st.data())
def test_any_blocks_give_the_same_bytes(grid: Grid, data: st.DataObject) -> None:
    image = address(grid.extent)
    whole, _ = by_blocks(image, make(grid), grid.extent)
    shape = tuple(data.draw(st.integers(1, n)) for n in grid.extent)
    pieces, _ = by_blocks(image, make(grid, batch=3), shape)
    assert whole.tobytes() == pieces.tobytes()


@given(grids(), st.integers(0, 2**32 - 1))
def test_skipping_changes_no_voxel_that_is_not_empty(grid: Grid, seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner = Box(
        tuple(int(rng.integers(0, n)) for n in grid.extent),
        tuple(int(n) for n in grid.extent),
    )
    valid = np.ones((*grid.extent, 1), bool)
    valid[corner.slices()] = False
    image = address(grid.extent)
    held = Pixels(image, valid)
    skipping, counts = by_blocks(image, make(grid), grid.extent, valid)
    zeroed = PLAIN(held)
    plain, _ = by_blocks(zeroed, make(grid), grid.extent)
    some = held.any_valid()
    assert skipping[some].tobytes() == plain[some].tobytes()
    assert counts.skipped == sum(
        not cut(held, Box.whole(grid.extent), t.box, grid.extent).any_valid().any() for t in grid
    )


@given(grids(), st.integers(0, 2**32 - 1), st.sampled_from([None, 0.5]), st.booleans())
def test_a_window_is_empty_if_no_voxel_of_it_needs_the_model(
    grid: Grid, seed: int, below: float | None, masked: bool
) -> None:
    rng = np.random.default_rng(seed)
    rare = rng.random((*grid.extent, 2)) < 2 / math.prod(grid.extent)
    values = np.where(rare, 1.0, 0.0) if below is not None else rng.random((*grid.extent, 2))
    held, empty = Pixels(values, rare if masked else None), EmptyRule(255, below)
    whole = Box.whole(grid.extent)

    def decided(box: Box) -> bool:
        pixels = held[box.slices()]
        data = np.ones(box.shape, bool) if pixels.valid is None else pixels.valid.any(-1)
        low = np.zeros(box.shape, bool) if below is None else pixels.values[..., 0] <= below
        low &= True if pixels.valid is None else pixels.valid[..., 0]
        return bool((data & ~low).any())

    with patch("seg_batch.inference.sliding_window.empty.ROWS_VOXELS", 4):
        found = Emptiness(held, whole, empty)
    skips = found.skipping(whole)
    assert found.fills(whole) is not decided(whole)
    assert [skips(t) for t in grid] == [not decided(t.box.intersection(whole)) for t in grid]


def test_the_predictor_can_see_a_seam() -> None:
    """Without a taper the crooked predictor leaves steps at the seams; hann hides most of them."""
    grid = Grid((64, 64), (16, 16), (8, 8), (0, 0))
    image = np.ones((64, 64, 1), np.float32)
    jumps = {}
    for taper in ("crop", "hann"):
        sums, _ = by_blocks(image, make(grid, taper), (64, 64))
        jumps[taper] = np.abs(np.diff(sums[..., 0], axis=0)).max()
    assert jumps["crop"] > 3 * jumps["hann"]


def test_a_small_image_is_mirrored_at_its_border() -> None:
    row = Pixels(np.arange(3.0, dtype=np.float32).reshape(1, 3, 1))
    found = cut(row, Box((0, 0), (1, 3)), Box((0, 0), (2, 8)), (1, 3))
    assert found.values[..., 0].tolist() == [[0, 1, 2, 2, 1, 0, 0, 1]] * 2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_no_labels(value: float) -> None:
    grid = Grid((12, 12), (8, 8), (4, 4), (0, 0))

    def broken(patches: np.ndarray) -> np.ndarray:
        found = crooked(patches)
        found[-1, -1, -1, 0] = value
        return found

    with pytest.raises(SegbatchError, match="not finite"):
        by_blocks(address((12, 12)), replace(make(grid), predictor=broken), (12, 12))


def test_a_model_with_the_wrong_classes_is_named() -> None:
    grid = Grid((8, 8), (8, 8), (0, 0), (0, 0))
    stitcher = Stitcher(grid, Taper(grid), PLAIN, lambda x: x, 2, 2, 1, EmptyRule(255))
    with pytest.raises(BundleError, match=r"gave \(1, 8, 8, 1\)"):
        by_blocks(address((8, 8)), stitcher, (8, 8))
