"""Bootstrap intervals against a loop, against theory, and where there can be none."""

import numpy as np
import pytest
from scipy import stats

from seg_batch.evaluation.metrics.confusion import dice, iou
from seg_batch.evaluation.metrics.intervals import (
    DRAWS,
    interval,
    resampled_means,
    resampled_scores,
)


def bootstrap(
    values: np.ndarray, seed: int = 0, draws: int = DRAWS, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """``low, high`` of the mean over cases, column by column, as ``summarise`` takes it."""
    return interval(resampled_means(values, seed, draws), np.asarray(values), level)


def test_the_interval_is_that_of_means_drawn_one_by_one() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0.8, 0.1, 30)
    values[3] = np.nan
    means = [np.nanmean(values[rng.integers(0, 30, 30)]) for _ in range(20_000)]
    low, high = bootstrap(values, draws=20_000)
    assert low == pytest.approx(np.quantile(means, 0.025), abs=0.002)
    assert high == pytest.approx(np.quantile(means, 0.975), abs=0.002)


def test_it_is_near_the_interval_of_theory_for_many_cases() -> None:
    values = np.random.default_rng(1).normal(0.7, 0.05, 200)
    wanted = stats.norm.interval(0.9, values.mean(), stats.sem(values))
    np.testing.assert_allclose(bootstrap(values, level=0.9), wanted, atol=0.001)


def test_it_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for i in range(300):
        low, high = bootstrap(rng.normal(0.5, 0.2, 25), seed=i, draws=400)
        hits += low <= 0.5 <= high
    assert 0.88 < hits / 300 < 0.98


def test_columns_are_drawn_together_and_the_seed_decides() -> None:
    values = np.random.default_rng(3).random((12, 2))
    both = bootstrap(values)
    for k in range(2):
        one = bootstrap(values[:, k])
        np.testing.assert_allclose([both[0][k], both[1][k]], one)
    np.testing.assert_array_equal(bootstrap(values), both)
    assert not np.array_equal(bootstrap(values, seed=1)[0], both[0])
    drawn = resampled_means(np.stack([values[:, 0], 1 - values[:, 0]], axis=1))
    np.testing.assert_allclose(drawn.sum(1), 1)


def test_fewer_than_two_numbers_have_no_interval() -> None:
    values = np.array([[0.5, np.nan, 0.2], [0.7, np.nan, np.nan]])
    low, high = bootstrap(values)
    assert low[0] <= 0.6 <= high[0]
    assert np.isnan(low[1:]).all()
    assert np.isnan(high[1:]).all()
    assert np.isnan(bootstrap(np.array([0.5]))).all()
    assert np.isnan(bootstrap(np.zeros((0, 3)))).all()


def test_cells_are_added_up_before_they_are_scored() -> None:
    rng = np.random.default_rng(4)
    cells = rng.integers(0, 50, (9, 2, 2))
    drawn = resampled_scores(cells, dice, draws=5000)
    wanted = np.array([dice(cells[rng.integers(0, 9, 9)].sum(0)) for _ in range(5000)])
    np.testing.assert_allclose(drawn.mean(0), wanted.mean(0), atol=0.005)
    np.testing.assert_allclose(drawn.std(0), wanted.std(0), atol=0.005)
    low, high = interval(drawn, dice(cells))
    assert (low < dice(cells.sum(0))).all()
    assert (dice(cells.sum(0)) < high).all()
    nothing = np.zeros((0, 2, 2), np.int64)
    assert np.isnan(interval(resampled_scores(nothing, iou), iou(nothing))).all()
