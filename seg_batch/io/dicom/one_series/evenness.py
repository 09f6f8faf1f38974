"""When slices lie evenly, and when two lie at one place: the one rule that every part of a survey goes by."""

from __future__ import annotations

import numpy as np

# A slice may lie off its place by what positions lose that are written with one decimal (0.05 mm, and a little that the
# fitted line follows them), or by 1 % of a step, which no mask shows. A missing slice moves others by a third of a step and
# more, so that a tenth of a step, the most for thin slices, never hides one.
_ROUNDING_MM, _SHARE, WHOLE_STEPS = 0.06, 0.01, 0.1
ONE_PLACE_MM = 0.02  # along the normal; nearer slices lie at one place


def off_place_mm(step_mm: float) -> float:
    """How far each coordinate of a slice may lie from its place, for slices so far apart."""
    return min(max(_ROUNDING_MM, _SHARE * step_mm), WHOLE_STEPS * step_mm)


def off_line(positions: np.ndarray) -> np.ndarray:
    """``(n, 3)``: where positions in their order lie, beside the evenly divided straight line that fits them best."""
    index = np.arange(len(positions)) - (len(positions) - 1) / 2
    step = index @ positions / (float(index @ index) or 1.0)
    off: np.ndarray = positions - positions.mean(axis=0) - np.outer(index, step)
    return off


def lie_evenly(positions: np.ndarray, step_mm: float) -> bool:
    """Whether positions in their order are a straight, even stack."""
    return bool(np.abs(off_line(positions)).max() <= off_place_mm(step_mm))


def usual_gap(gaps: np.ndarray) -> float:
    """Between most slices; of two unlike gaps the smaller."""
    return float(np.sort(gaps)[(len(gaps) - 1) // 2])
