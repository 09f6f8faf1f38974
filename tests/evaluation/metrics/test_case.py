"""A case scored block by block is the case scored whole; what is not valid is not there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_batch.core.geometry import Box
from seg_batch.evaluation.metrics.case import CaseScorer, CaseScores
from seg_batch.evaluation.metrics.confusion import Confusion
from tests.support.evaluation.label_maps import SPACINGS, cuts, pairs, scored

FIELDS = ("cells", "bands", "hausdorff", "hausdorff95", "surface_distance", "boundary_iou")


def assert_same(a: CaseScores, b: CaseScores) -> None:
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


@given(st.data())
def test_blocks_of_any_shape_in_any_order_give_the_same_numbers(data: st.DataObject) -> None:
    truth, found, valid = data.draw(pairs())
    options = {
        "spacing": data.draw(st.none() | st.tuples(*[SPACINGS] * truth.ndim)),
        "reach": data.draw(st.none() | st.tuples(*[st.integers(1, 4)] * truth.ndim)),
    }
    boxes = data.draw(cuts(truth.shape))
    whole = scored(truth, found, valid, **options)
    assert_same(scored(truth, found, valid, boxes, **options), whole)
    counted = Confusion(3)
    counted.add(truth, found, valid)
    np.testing.assert_array_equal(whole.confusion, counted.matrix)


@settings(max_examples=60)
@given(st.data())
def test_what_lies_at_invalid_voxels_changes_nothing(data: st.DataObject) -> None:
    truth, found, valid = data.draw(pairs())
    other = np.where(valid, truth, 255).astype(np.uint8)  # not even a class
    assert_same(scored(other, found, valid), scored(truth, np.where(valid, found, 0), valid))


@settings(max_examples=60)
@given(st.data())
def test_invalid_voxels_are_as_if_the_region_ended_there(data: st.DataObject) -> None:
    truth, found, _ = data.draw(pairs())
    wide = [np.pad(a, 3, constant_values=1) for a in (truth, found)]
    valid = np.pad(np.ones(truth.shape, bool), 3)
    narrow = scored(truth, found, reach=(2,) * truth.ndim)
    padded = scored(*wide, valid, reach=(2,) * truth.ndim)
    np.testing.assert_array_equal(narrow.confusion, padded.confusion)
    np.testing.assert_array_equal(narrow.bands.sum(0), padded.bands.sum(0))
    np.testing.assert_allclose(narrow.surface_distance, padded.surface_distance)
    np.testing.assert_allclose(narrow.hausdorff95, padded.hausdorff95)


@given(pairs(), st.integers(-50, 50))
def test_a_region_scores_the_same_wherever_it_lies(pair, offset: int) -> None:
    truth, found, valid = pair
    region = Box.whole(truth.shape).shift((offset,) * truth.ndim)
    scorer = CaseScorer(3, region)
    scorer.add(region, region, truth, found, valid)
    assert_same(scorer.finish(), scored(truth, found, valid))


def test_a_window_that_lacks_the_halo_is_refused() -> None:
    region, box = Box((0, 0), (10, 10)), Box((0, 0), (5, 10))
    scorer = CaseScorer(2, region)
    assert scorer.reach == (1, 1)
    assert scorer.window(box) == Box((0, 0), (6, 10))
    array = np.zeros((5, 10), np.uint8)
    with pytest.raises(ValueError, match="is needed"):
        scorer.add(box, box, array, array)
    with pytest.raises(ValueError, match="array of"):
        scorer.add(region, region, array, array)


def test_labels_that_are_no_classes_are_refused_where_they_count() -> None:
    truth = np.zeros((4, 4), np.int16)
    for wrong in (-1, 3, 300):
        found = truth.copy()
        found[1, 1] = wrong
        with pytest.raises(ValueError, match="class indices"):
            scored(truth, found)
        scored(truth, found, valid=found == truth)
    with pytest.raises(ValueError, match="whole numbers"):
        scored(truth, truth.astype(float))


def test_more_classes_than_a_byte_holds() -> None:
    truth = np.arange(20 * 20).reshape(20, 20) % 300
    scores = scored(truth, truth, classes=300)
    np.testing.assert_array_equal(scores.hausdorff, 0)
    assert scores.confusion.trace() == 400


def test_surfaces_too_long_to_hold_are_not_measured_and_said_so() -> None:
    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, 3, (2, 20, 20)).astype(np.uint8)
    halves = [Box((0, 0), (10, 20)), Box((10, 0), (20, 20))]
    for boxes in (halves, halves[::-1], None):
        scores = scored(truth, found, boxes=boxes, limit=500)
        assert not scores.measured
        assert np.isnan(scores.hausdorff).all()
        assert not np.isnan(scores.boundary_iou).any()
    assert scored(truth, found, limit=800).measured


def test_the_band_must_be_at_least_a_voxel() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        CaseScorer(2, Box((0, 0), (4, 4)), reach=(0, 1))
