"""Resampling once more, slowly: dense matrices in float64 from the definitions, and the sums of the
kernels in plain NumPy, whose bits they must have."""

from functools import lru_cache

import numpy as np
from hypothesis import strategies as st
from scipy.interpolate import make_interp_spline

from seg_batch.core.resample.resampler import Resampler
from seg_batch.core.resample.weights import RULES, AxisRows

PAD = 40


def places(n_in: int, n_out: int) -> np.ndarray:
    """Centres of the output voxels in voxels of the input."""
    return (np.arange(n_out) + 0.5) * n_in / n_out - 0.5


@lru_cache(4096)
def dense(rule: str, n_in: int, n_out: int) -> np.ndarray:
    """``(n_out, n_in)`` weights in float64."""
    if n_in == n_out:
        return np.eye(n_in)
    x, eye = places(n_in, n_out), np.eye(n_in)
    if rule == "nearest":  # ties to the later voxel; sums of halves and ratios are not exact
        return eye[np.clip(np.floor(x + 0.5 + 1e-9), 0, n_in - 1).astype(int)]
    if rule == "area":
        edges = np.arange(n_out + 1) * n_in / n_out
        low = np.maximum(edges[:-1, None], np.arange(n_in))
        high = np.minimum(edges[1:, None], np.arange(1, n_in + 1))
        return np.maximum(high - low, 0) * n_out / n_in
    if rule == "linear":
        return np.stack([np.interp(x, np.arange(n_in), column) for column in eye], 1)
    padded = np.pad(eye, ((PAD, PAD), (0, 0)), mode="edge")
    return make_interp_spline(np.arange(-PAD, n_in + PAD), padded, k=3)(x)


def along(matrix: np.ndarray, values: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(np.tensordot(matrix, values, (1, axis)), 0, axis)


def dense_sums(resampler: Resampler, values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    sides = zip(resampler.rules, resampler.source, resampler.target, strict=True)
    for axis, side in enumerate(sides):
        values = along(dense(*side), values, axis)
    return values


def _row(x, missing, rows: AxisRows, i: int):  # type: ignore[no-untyped-def]
    """One output voxel of each line in float32, one operation after the other. ``x`` ``(n, lines)``."""
    bands, weights = rows.arrays
    first, stop, left, ref = bands[i]
    total = np.zeros_like(x[0])
    for k in range(first, stop):
        total = total + weights[i, k - left] * (x[k] - x[ref])
    y, gone = x[ref] + total, np.zeros_like(total)
    bands, weights = rows.soft.arrays
    for b in np.flatnonzero((missing[first:stop] > 0).any(0)):
        a, o, left, ref = bands[i]
        some = [k for k in (ref, *range(a, o)) if missing[k, b] < 1]
        y[b], gone[b] = 0, 1
        if some:
            total = held = np.float32(0)
            for k in range(a, o):
                weight = weights[i, k - left] * (1 - missing[k, b])
                held = held + weight
                total = total + weight * (x[k, b] - x[some[0], b])
            y[b], gone[b] = x[some[0], b] + total / held, max(np.float32(0), 1 - held)
    return y, gone


def slow_sums(resampler: Resampler, values: np.ndarray, valid: np.ndarray | None):  # type: ignore[no-untyped-def]
    """Values and missing shares with the bits that every block must have."""
    x = values.astype(np.float32)
    lost = ~np.isfinite(x) | (False if valid is None else ~valid)
    x, missing = np.where(lost, np.float32(0), x), lost.astype(np.float32)
    for axis in resampler.order:
        rows = resampler.axes[axis]
        x, missing = (np.moveaxis(a, axis, 0) for a in (x, missing))
        shape = x.shape[1:]
        flat = [np.ascontiguousarray(a).reshape(len(a), -1) for a in (x, missing)]
        sums = [_row(*flat, rows, i) for i in range(rows.n_out)]
        x, missing = (
            np.moveaxis(np.stack(a).reshape(-1, *shape), 0, axis) for a in zip(*sums, strict=True)
        )
    return x, missing


@st.composite
def resamplers(draw: st.DrawFn, rules: tuple[str, ...] = RULES) -> Resampler:
    """Of one to three axes, with ratios from 1/8 to 8."""
    rank = draw(st.integers(1, 3))
    most = (40, 16, 9)[rank - 1]
    source = draw(st.tuples(*[st.integers(1, most)] * rank))
    target = tuple(draw(st.integers(max(1, -(-n // 8)), min(8 * n, most))) for n in source)
    return Resampler(source, target, draw(st.tuples(*[st.sampled_from(rules)] * rank)))
