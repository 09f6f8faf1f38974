"""Bootstrap intervals of means over cases, and of ratios over the cells of one case.

The percentile bootstrap (Efron and Tibshirani, 1993): draw as many cases as there are, with
repeats, take the mean, ``draws`` times; the interval holds the middle 95 % of these means. With
fewer than two cases there is none (NaN). With few cases (below ten, say) it is too narrow.

Where there is one case only, its cells are drawn instead: their confusion matrices are added up
and scored. Neighbouring cells are alike, so such an interval tells how the score varies within
the scene, not how another scene would score.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

DRAWS = 2000


def resampled_means(values: np.ndarray, seed: int = 0, draws: int = DRAWS) -> np.ndarray:
    """``draws`` means of cases drawn with repeats: (draws,) of (N,), (draws, K) of (N, K)."""
    values = np.asarray(values, float)
    times = _times(len(values), seed, draws)
    there = ~np.isnan(values)
    total = times @ np.where(there, values, 0.0)
    count = times @ there.astype(float)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def resampled_scores(
    counts: np.ndarray,
    score: Callable[[np.ndarray], np.ndarray],
    seed: int = 0,
    draws: int = DRAWS,
) -> np.ndarray:
    """``score`` of the sums of counts (N, ...) drawn with repeats: ``draws`` values of it."""
    times = _times(len(counts), seed, draws)
    sums = np.tensordot(times, counts.astype(float), axes=1)
    return score(sums)


def interval(
    means: np.ndarray, values: np.ndarray, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """The middle ``level`` of ``means`` (draws, ...); NaN where fewer than two ``values`` (N, ...)
    are defined, for one number says nothing about how much numbers differ."""
    enough = (~np.isnan(values)).sum(0) >= 2
    tail = (1 - level) / 2
    usable = np.where(np.isnan(means).all(0), 0.0, means)
    low, high = np.nanquantile(usable, [tail, 1 - tail], axis=0)
    return np.where(enough, low, np.nan), np.where(enough, high, np.nan)


def _times(cases: int, seed: int, draws: int) -> np.ndarray:
    """How often each draw has each case: (draws, cases), rows that sum to the number of cases."""
    if not cases:
        return np.zeros((draws, 0))
    rng = np.random.default_rng(seed)
    return rng.multinomial(cases, np.full(cases, 1 / cases), size=draws).astype(float)
