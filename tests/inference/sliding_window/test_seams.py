"""The seam index: against a slow count, and that it sees a seam where there is one and only there.

Images have no symmetry and everything is stitched by the real thing (law 11).
"""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core.geometry import Blocks, Box, Grid, Shape
from seg_batch.core.normalise import Normaliser, Pixels
from seg_batch.core.resample.resampler import Resampler
from seg_batch.core.taper import TAPERS, Taper
from seg_batch.inference.sliding_window import plain_sums
from seg_batch.inference.sliding_window.seams import (
    FAR,
    SeamCounter,
    SeamCounts,
    border_planes,
    seam_sides,
)
from seg_batch.inference.sliding_window.stitch import Counts, EmptyRule, Predictor, Stitcher
from tests.support.strategies import grids

IDS = np.array([7, 0, 3], np.uint8)


def softmax(values: np.ndarray) -> np.ndarray:
    e = np.exp(values - values.max(axis=-1, keepdims=True))
    return (e / e.sum(axis=-1, keepdims=True)).astype(np.float32)


def blind(patches: np.ndarray) -> np.ndarray:
    """Three classes by the value alone: no tile disagrees with another."""
    v = patches[..., 0]
    return softmax(np.stack([3 * v, -3 * v, 0.8 - 4 * v**2], -1))


def crooked(patches: np.ndarray) -> np.ndarray:
    """The same, but leaning from one end of the patch to the other."""
    rank = patches.ndim - 2
    places = np.indices(patches.shape[1:-1]).astype(np.float32)
    lean = sum((k + 1) * (p / p.shape[k] - 0.5) for k, p in enumerate(places))
    v = patches[..., 0] + 0.8 * lean / rank
    return softmax(np.stack([3 * v, -3 * v, 0.8 - 4 * v**2], -1))


def rough(extent: Shape, seed: int = 5) -> np.ndarray:
    """Noise over waves that run askew: ``(*extent, 1)`` float32, nothing repeats."""
    rng = np.random.default_rng(seed)
    places = np.indices(extent)
    wave = sum(np.sin(p / (5 + 2 * k) + k) for k, p in enumerate(places))
    return (0.5 * wave + 0.5 * rng.standard_normal(extent))[..., None].astype(np.float32)


def count(
    image: np.ndarray,
    grid: Grid,
    taper: str,
    predictor: Predictor,
    block: Shape,
    valid: np.ndarray | None = None,
) -> tuple[SeamCounts, np.ndarray, np.ndarray]:
    """Counts over all blocks, the labels and the probabilities."""
    made = Taper(grid, taper)
    stitcher = Stitcher(
        grid, made, Normaliser((0.0,), (1.0,)), predictor, 3, len(grid.extent), 2, EmptyRule(255)
    )
    labels = np.zeros(grid.extent, np.uint8)
    probabilities = np.zeros((*grid.extent, 3), np.float32)
    total = SeamCounts.zero(len(grid.extent), 3)
    for b in Blocks(grid.extent, block):
        counter, window = SeamCounter(made, IDS, b.box), grid.window(b.box)
        held = Pixels(image[window.slices()])
        for row, sums in stitcher.sums(held, window, b.box, Counts()):
            rows = Box((row, *b.box.start[1:]), (row + len(sums), *b.box.stop[1:])).slices()
            labels[rows], probabilities[rows] = IDS[sums.argmax(-1)], sums
            counter.add(row, sums, labels[rows], None if valid is None else valid[rows])
        total = total + counter.counts
    return total, labels, probabilities


def slow_planes(taper: Taper, axis: int) -> tuple[list[int], list[int]]:
    """Borders from the tiles that count at each voxel, and the one that counts most; beside them by
    trying distances."""
    extent, starts = taper.grid.extent[axis], taper.grid.axes[axis].starts
    weights = [
        {
            i: row[v - s]
            for i, (s, row) in enumerate(zip(starts, taper.rows[axis], strict=True))
            if 0 <= v - s < len(row) and row[v - s] > 0
        }
        for v in range(extent)
    ]
    seen = [(set(some), max(some, key=lambda i: some[i])) for some in weights]
    borders = [p for p in range(1, extent) if seen[p - 1] != seen[p]]
    kept, inside = [], []
    for p in borders:
        for d in range(FAR, 0, -1):
            near = any(abs(q - r) <= d for q in (p - d, p + d) for r in borders if r != p)
            if p - d >= 1 and p + d < extent and not near:
                kept.append(p)
                inside += [p - d, p + d]
                break
    return kept, inside


def slow_count(
    taper: Taper, block: Shape, labels: np.ndarray, probabilities: np.ndarray, valid: np.ndarray
) -> SeamCounts:
    total = SeamCounts.zero(labels.ndim, 3)
    for axis, kind in itertools.product(range(labels.ndim), range(2)):
        planes = slow_planes(taper, axis)[kind]
        for b in np.ndindex(labels.shape):
            a = tuple(v - (k == axis) for k, v in enumerate(b))
            apart = b[axis] % block[axis] == 0  # the pair lies across a face of its block
            if b[axis] not in planes or apart or not (valid[a] and valid[b]):
                continue
            flip = labels[a] != labels[b]
            total.pairs[axis, kind] += 1
            total.flips[axis, kind] += flip
            total.jumps[axis, kind] += np.abs(probabilities[a] - probabilities[b]).sum() / 2
            for k in {IDS.tolist().index(labels[a]), IDS.tolist().index(labels[b])}:
                total.class_pairs[axis, kind, k] += 1
                total.class_flips[axis, kind, k] += flip
    return total


def assert_equal(found: SeamCounts, expected: SeamCounts) -> None:
    for name in ("pairs", "flips", "class_pairs", "class_flips"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    np.testing.assert_allclose(found.jumps, expected.jumps, rtol=1e-5, atol=1e-5)


@given(grids(), st.sampled_from(TAPERS))
def test_planes_are_where_the_set_of_tiles_changes(grid: Grid, name: str) -> None:
    taper = Taper(grid, name)
    for axis, extent in enumerate(grid.extent):
        kept, inside = seam_sides(border_planes(taper, axis), extent)
        slow = slow_planes(taper, axis)
        assert (kept.tolist(), inside.tolist()) == (slow[0], sorted(slow[1]))


@pytest.mark.parametrize("taper", TAPERS)
@pytest.mark.parametrize("block", [(47, 38), (20, 13), (1, 38)])
@pytest.mark.parametrize("small", [0, 1 << 20])
def test_counts_are_those_of_a_slow_count(
    taper: str, block: Shape, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_sums, "SMALL", small)  # by kernels, and by NumPy
    grid = Grid((47, 38), (16, 12), (6, 4), (1, 2))
    valid = np.random.default_rng(3).random(grid.extent) < 0.9
    found, labels, probabilities = count(rough(grid.extent), grid, taper, crooked, block, valid)
    assert_equal(found, slow_count(Taper(grid, taper), block, labels, probabilities, valid))
    assert found.pairs[0, 0] or block[0] == 1


def test_a_volume_is_counted_like_a_scene() -> None:
    grid = Grid((21, 17, 19), (8, 7, 9), (3, 2, 4), (1, 0, 1))
    valid = np.ones(grid.extent, bool)
    for block in ((21, 17, 19), (9, 17, 8)):
        found, labels, probabilities = count(rough(grid.extent), grid, "crop", crooked, block)
        assert_equal(found, slow_count(Taper(grid, "crop"), block, labels, probabilities, valid))
        assert found.pairs.min() > 0


def test_blocks_add_up_to_the_whole_but_for_their_faces() -> None:
    grid = Grid((120, 90), (32, 24), (8, 6), (0, 0))
    image = rough(grid.extent)
    whole, *_ = count(image, grid, "hann", crooked, grid.extent)
    parts, *_ = count(image, grid, "hann", crooked, (37, 29))  # no face lies on a plane in use
    for axis, side in enumerate((37, 29)):
        faces = range(side, grid.extent[axis], side)
        kept, inside = seam_sides(border_planes(Taper(grid), axis), grid.extent[axis])
        across = grid.extent[1 - axis]
        assert whole.pairs[axis, 0] - parts.pairs[axis, 0] == across * np.isin(kept, faces).sum()
        assert whole.pairs[axis, 1] - parts.pairs[axis, 1] == across * np.isin(inside, faces).sum()


@pytest.mark.parametrize("extent", [(700, 500), (70, 90, 80)])
def test_a_predictor_without_seams_has_an_index_of_one(extent: Shape) -> None:
    rank = len(extent)
    grid = Grid(extent, (24,) * rank, (6,) * rank, (0,) * rank)
    for taper in ("crop", "hann"):
        found, *_ = count(rough(extent), grid, taper, blind, extent)
        assert found.index == pytest.approx(1, abs=0.04)
        assert found.jump == pytest.approx(1, abs=0.04)
        assert found.class_index == pytest.approx([1, 1, 1], abs=0.06)


def test_the_error_is_how_much_the_index_of_noise_varies() -> None:
    grid = Grid((130, 110), (32, 24), (8, 6), (0, 0))
    found = [
        count(rough(grid.extent, seed), grid, "crop", blind, grid.extent)[0] for seed in range(40)
    ]
    spread = np.std([f.index for f in found])
    assert np.mean([f.error for f in found]) == pytest.approx(spread, rel=0.5)


def test_a_predictor_that_leans_has_an_index_above_one_and_a_taper_lowers_it() -> None:
    extent = (700, 500)
    grid = Grid(extent, (40, 32), (12, 8), (0, 0))
    smooth = rough(extent) * 0.3 + 0.7 * np.sin(np.indices(extent)[0] / 31)[..., None]
    found = {
        taper: count(smooth.astype(np.float32), grid, taper, crooked, (256, 250))[0]
        for taper in ("crop", "constant", "hann")
    }
    assert found["crop"].index > 1.2
    assert found["crop"].jump > 1.2
    assert max(found["crop"].class_index) > 1.2
    assert found["crop"].jump > found["constant"].jump > found["hann"].jump > 0.9


def test_axes_are_compared_each_with_itself() -> None:
    """An axis with many flips and few borders does not pass for a seam."""
    pairs = np.array([[10, 1000], [1000, 1000]])
    flips = np.array([[1, 100], [500, 500]])
    zero = SeamCounts.zero(2, 1)
    found = SeamCounts(pairs, flips, zero.jumps, zero.class_pairs, zero.class_flips)
    assert found.index == pytest.approx(1)
    assert flips[:, 0].sum() / pairs[:, 0].sum() > 1.6 * flips[:, 1].sum() / pairs[:, 1].sum()


def test_too_little_says_nothing() -> None:
    grid = Grid((64, 64), (32, 32), (8, 8), (0, 0))
    flat = np.ones((64, 64, 1), np.float32)
    found, *_ = count(flat, grid, "hann", blind, (64, 64))
    assert found.index is None
    assert found.class_index == [None] * 3
    assert found.jump is None  # nothing jumps: no ratio
    one, *_ = count(flat, Grid((64, 64), (64, 64), (8, 8), (0, 0)), "hann", crooked, (64, 64))
    assert one.pairs.sum() == 0
    assert (one.index, one.jump) == (None, None)


def test_a_seam_in_a_flat_scene_is_told_by_its_counts() -> None:
    """Nothing flips inside, so there is no ratio; one flip there is enough for one."""
    zero = SeamCounts.zero(1, 1)
    for inside, expected in ((0, None), (1, 1000.0)):
        pairs, flips = np.array([[1000, 2000]]), np.array([[500, inside]])
        found = SeamCounts(pairs, flips, zero.jumps, zero.class_pairs, zero.class_flips)
        assert found.index == expected
        assert found.summary(["a"], 1)["flips"] == {"border": 500, "inside": inside}


def test_counts_come_back_from_json() -> None:
    grid = Grid((120, 90), (32, 24), (8, 6), (0, 0))
    found, *_ = count(rough(grid.extent), grid, "crop", crooked, grid.extent)
    text = json.dumps(found.to_json(), allow_nan=False)
    assert_equal(SeamCounts.from_json(json.loads(text)), found)
    told = found.summary(["a", "b", "c"], 1)
    assert told["index"] == round(found.index, 4)
    assert told["flips"]["border"] == found.flips[:, 0].sum()
    assert set(told["per_class"]) == {"a", "b", "c"}


@pytest.mark.parametrize("taper", TAPERS)
def test_a_tile_that_sees_everything_otherwise_is_seen_whatever_the_taper(taper: str) -> None:
    """Each patch adds its own bias, by what it holds: the labels change hands along the seams."""
    grid = Grid((256, 224), (64, 56), (24, 20), (0, 0))

    def biased(patches: np.ndarray) -> np.ndarray:
        mean = patches[:, :3, :3].mean(axis=(1, 2, 3))
        v = patches[..., 0] + 1.2 * np.sign(mean)[:, None, None]
        return softmax(np.stack([9 * v, -9 * v, np.full_like(v, -9)], -1))

    found, *_ = count(rough(grid.extent), grid, taper, biased, grid.extent)
    assert found.index is not None
    assert found.index > 1.2


def test_planes_of_another_grid_lie_where_those_of_the_model_do() -> None:
    """Borders and the planes beside them alike: else an interpolated map would show seams that it has not."""
    grid = Grid((100, 64), (24, 20), (8, 6), (0, 0))
    taper = Taper(grid)
    finer = Resampler(grid.extent, (300, 96), ("linear", "linear"))
    for axis, ratio in ((0, 3), (1, 1.5)):
        own = seam_sides(border_planes(taper, axis), grid.extent[axis])
        seen = SeamCounter(taper, np.arange(2), Box.whole(finer.target), finer)._planes[axis]
        for there, here in zip(own, seen, strict=True):
            assert np.array_equal(here, np.rint(there * ratio))
