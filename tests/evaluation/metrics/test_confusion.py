"""Scores against their definitions on sets of voxels, and the cases that definitions leave out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.evaluation.metrics import confusion as metrics


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_scores_are_what_sets_of_voxels_say(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    truth, found = rng.integers(0, classes, (2, 5, 7)).astype(np.uint8)
    valid = rng.random((5, 7)) < 0.8
    confusion = metrics.Confusion(classes)
    for row in range(5):  # in pieces, as regions come
        confusion.add(truth[row], found[row], valid[row])
    dice, iou = metrics.dice(confusion.matrix), metrics.iou(confusion.matrix)
    for k in range(classes):
        t, p = (truth == k) & valid, (found == k) & valid
        if t.sum() + p.sum() == 0:
            assert np.isnan(dice[k])
            assert np.isnan(iou[k])
        else:
            assert dice[k] == pytest.approx(2 * (t & p).sum() / (t.sum() + p.sum()))
            assert iou[k] == pytest.approx((t & p).sum() / (t | p).sum())
        shares = {
            metrics.sensitivity: ((t & p).sum(), t.sum()),
            metrics.precision: ((t & p).sum(), p.sum()),
            metrics.specificity: ((valid & ~t & ~p).sum(), (valid & ~t).sum()),
        }
        for share, (part, whole) in shares.items():
            wanted = part / whole if whole else np.nan
            assert share(confusion.matrix)[k] == pytest.approx(wanted, nan_ok=True)
    if valid.any():
        assert metrics.accuracy(confusion.matrix) == pytest.approx((truth == found)[valid].mean())
        most = max(((truth == k) & valid).sum() for k in range(classes))
        assert metrics.commonest(confusion.matrix) == pytest.approx(most / valid.sum())


def test_nothing_counted_is_undefined_and_null_in_json() -> None:
    empty = metrics.Confusion(3).matrix
    assert np.isnan(metrics.accuracy(empty))
    assert metrics.plain(metrics.dice(empty)) == [None, None, None]
    assert metrics.plain(0.123456) == 0.1235


def test_a_class_wrongly_found_scores_zero_and_an_absent_one_does_not_count() -> None:
    confusion = metrics.Confusion(3)
    confusion.add(np.zeros(10, np.uint8), np.array([0] * 9 + [1]))
    dice = metrics.dice(confusion.matrix)
    assert dice[1] == 0
    assert np.isnan(dice[2])
    assert metrics.mean_over_classes(dice) == pytest.approx((2 * 9 / 19 + 0) / 2)


def test_the_mean_over_cases_counts_each_case_once() -> None:
    small, large = metrics.Confusion(2), metrics.Confusion(2)
    small.add(np.array([1, 1]), np.array([1, 1]))
    large.add(np.ones(100, int), np.zeros(100, int))
    np.testing.assert_allclose(metrics.per_case([small.matrix, large.matrix]), [0.0, 0.5])


def test_a_stack_of_matrices_is_scored_matrix_by_matrix() -> None:
    stack = np.random.default_rng(0).integers(0, 9, (2, 5, 3, 3))
    for share in (
        metrics.dice,
        metrics.iou,
        metrics.sensitivity,
        metrics.precision,
        metrics.specificity,
    ):
        one_by_one = [[share(matrix) for matrix in row] for row in stack]
        np.testing.assert_array_equal(share(stack), one_by_one)


def test_what_is_no_class_index_is_refused() -> None:
    for wrong in ([3], [-1], [255]):
        with pytest.raises(ValueError, match="class indices"):
            metrics.Confusion(3).add(np.zeros(1, int), np.array(wrong))
