"""Surfaces, bands and distances against their definitions, voxel by voxel."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist

from seg_batch.core.geometry import Box
from seg_batch.evaluation.metrics import surface
from tests.support.evaluation.label_maps import SPACINGS, pairs, scored


def surface_voxels(mask: np.ndarray) -> np.ndarray:
    """The definition: a face neighbour outside the mask, or outside of everything."""
    found = []
    for voxel in zip(*np.nonzero(mask), strict=True):
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            near = list(voxel)
            near[axis] += step
            inside = all(0 <= v < n for v, n in zip(near, mask.shape, strict=True))
            if not inside or not mask[tuple(near)]:
                found.append(voxel)
                break
    return np.array(found).reshape(-1, mask.ndim)


def reference(truth: np.ndarray, found: np.ndarray, spacing) -> list[float]:
    t, p = surface_voxels(truth), surface_voxels(found)
    if not len(t) or not len(p):
        return [math.inf if len(t) or len(p) else math.nan] * 3
    apart = cdist(t * np.array(spacing), p * np.array(spacing))
    there, back = apart.min(1), apart.min(0)
    p95 = max(np.quantile(d, 0.95, method="inverted_cdf") for d in (there, back))
    return [max(there.max(), back.max()), p95, np.concatenate([there, back]).mean()]


@given(st.data())
def test_distances_are_their_definition(data: st.DataObject) -> None:
    truth, found, valid = data.draw(pairs())
    spacing = data.draw(st.tuples(*[SPACINGS] * truth.ndim))
    scores = scored(truth, found, valid, spacing=spacing)
    for k in range(3):
        wanted = reference((truth == k) & valid, (found == k) & valid, spacing)
        measured = [scores.hausdorff[k], scores.hausdorff95[k], scores.surface_distance[k]]
        np.testing.assert_allclose(measured, wanted, rtol=1e-12)


@given(st.data())
def test_boundary_iou_is_that_of_masks_less_their_erosion(data: st.DataObject) -> None:
    truth, found, valid = data.draw(pairs())
    reach = data.draw(st.tuples(*[st.integers(1, 4)] * truth.ndim))
    scores = scored(truth, found, valid, reach=reach)
    box = np.ones([2 * r + 1 for r in reach])
    for k in range(3):
        masks = [(a == k) & valid for a in (truth, found)]
        t, p = (m & ~ndimage.binary_erosion(m, box, border_value=0) for m in masks)
        wanted = (t & p).sum() / (t | p).sum() if (t | p).any() else math.nan
        np.testing.assert_allclose(scores.boundary_iou[k], wanted, rtol=1e-12)


@given(pairs())
def test_nothing_is_between_a_map_and_itself(pair) -> None:
    truth, _, valid = pair
    scores = scored(truth, truth, valid)
    there = [bool(((truth == k) & valid).any()) for k in range(3)]
    for name in ("hausdorff", "hausdorff95", "surface_distance"):
        np.testing.assert_array_equal(getattr(scores, name), np.where(there, 0, np.nan))
    np.testing.assert_array_equal(scores.boundary_iou, np.where(there, 1, np.nan))


@given(st.data())
def test_swapping_truth_and_prediction_changes_no_distance(data: st.DataObject) -> None:
    truth, found, valid = data.draw(pairs())
    a, b = scored(truth, found, valid), scored(found, truth, valid)
    for name in ("hausdorff", "hausdorff95", "surface_distance", "boundary_iou"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-12)


def test_two_squares_by_hand() -> None:
    """Squares of 3 x 3, one moved by 2 rows of 5 m and 1 column of 1 m."""
    truth, found = np.zeros((2, 9, 9), np.uint8)
    truth[1:4, 1:4] = 1
    found[3:6, 2:5] = 1
    scores = scored(truth, found, spacing=(5.0, 1.0), classes=2)
    assert scores.hausdorff[1] == pytest.approx(math.hypot(10, 1))
    assert scores.confusion[1, 1] == 2


def test_the_larger_directed_percentile_counts_not_the_pooled_one() -> None:
    """A long true line all found, and a short false one far away: pooled, it would be 0."""
    truth, found = np.zeros((2, 100, 100), np.uint8)
    truth[0] = found[0] = 1
    found[90, :6] = 1  # 6 of 106 found surface voxels, 6 of 206 pooled
    scores = scored(truth, found, classes=2)
    assert scores.hausdorff95[1] == 90
    assert scores.surface_distance[1] == pytest.approx(6 * 90 / 206)


def test_one_empty_mask_is_infinitely_far_and_two_are_undefined() -> None:
    truth, found = np.zeros((2, 5, 5), np.uint8)
    truth[2, 2] = 1
    scores = scored(truth, found)
    assert np.isinf(scores.hausdorff[1])
    assert np.isinf(scores.surface_distance[1])
    assert scores.boundary_iou[1] == 0
    assert np.isnan(scores.hausdorff95[2])
    assert np.isnan(scores.boundary_iou[2])


def test_the_band_is_two_percent_of_the_diagonal_within_bounds() -> None:
    assert surface.default_reach((300, 400)) == (10, 10)
    assert surface.default_reach((30, 40)) == (1, 1)
    assert surface.default_reach((40_000, 30_000)) == (surface.WIDEST,) * 2
    # 100 slices of 5 mm, 300 x 400 voxels of 1 mm: 2 % of 707 mm is 14 mm
    assert surface.default_reach((100, 300, 400), (5.0, 1.0, 1.0)) == (3, 14, 14)


def test_many_lookups_come_in_chunks_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    truth, found = rng.integers(0, 2, (2, 30, 30)).astype(np.uint8)
    whole = scored(truth, found, classes=2)
    monkeypatch.setattr(surface, "CHUNK", 7)
    np.testing.assert_array_equal(whole.hausdorff95, scored(truth, found, classes=2).hausdorff95)


def test_frames_hold_outside_where_the_window_ends() -> None:
    labels = np.ones((2, 3), np.int64)
    frame = surface.framed(labels, None, Box((0, 1), (2, 3)), Box((0, 0), (2, 3)), (1, 1), 7)
    np.testing.assert_array_equal(frame, [[7] * 4, [1, 1, 1, 7], [1, 1, 1, 7], [7] * 4])
    assert frame.dtype == np.uint8
