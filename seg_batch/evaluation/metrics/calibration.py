"""Whether a model is as sure as it is right: expected calibration error, streaming.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017: voxels are sorted into M bins of
equal width by the probability of the winning class, bin m holding ``(m-1)/M < p <= m/M``, and::

    ECE = sum_m  n_m / n  * | hits_m / n_m  -  mean p in bin m |
"""

from __future__ import annotations

import math

import numpy as np

from seg_batch.evaluation.metrics.confusion import plain

SLACK = 1e-3  # float16 sums of probabilities pass 1 by that much


class Calibration:
    """Counts, region by region: voxels, hits and the sum of probabilities in each bin."""

    def __init__(self, bins: int = 15) -> None:
        self.bins = bins
        self.count, self.hits = np.zeros((2, bins), np.int64)
        self.total = np.zeros(bins)

    def add(
        self, probability: np.ndarray, hit: np.ndarray, valid: np.ndarray | None = None
    ) -> None:
        """``probability`` of the winner, 0 to 1, and whether the winner is the true class; arrays of
        one shape. Where ``valid`` is False nothing is counted. ``ValueError``: no probability."""
        chosen = slice(None) if valid is None else valid
        p = np.asarray(probability)[chosen].ravel().astype(np.float64)
        right = np.asarray(hit)[chosen].ravel().astype(bool)
        if p.size and not (p.min() >= -SLACK and p.max() <= 1 + SLACK):
            raise ValueError(f"values from {p.min()} to {p.max()} are no probabilities")
        place = np.clip(np.ceil(p * self.bins).astype(np.intp) - 1, 0, self.bins - 1)
        self.count += np.bincount(place, minlength=self.bins)
        self.hits += np.bincount(place[right], minlength=self.bins)
        self.total += np.bincount(place, weights=p, minlength=self.bins)

    @property
    def error(self) -> float:
        """The expected calibration error, 0 (as sure as right) to 1; NaN without voxels."""
        n = int(self.count.sum())
        return float(np.abs(self.hits - self.total).sum() / n) if n else math.nan

    @property
    def table(self) -> list[dict[str, float | int | None]]:
        """Per bin, ready for JSON: its ends, its voxels, mean probability and share of hits (None
        in an empty bin)."""
        rows = zip(self.count.tolist(), self.total, self.hits, strict=True)
        return [
            {
                "low": plain(m / self.bins, 6),
                "high": plain((m + 1) / self.bins, 6),
                "voxels": n,
                "probability": plain(total / n, 6) if n else None,
                "accuracy": plain(hits / n, 6) if n else None,
            }
            for m, (n, total, hits) in enumerate(rows)
        ]
