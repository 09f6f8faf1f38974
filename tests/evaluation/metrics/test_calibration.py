"""Calibration error against a table worked by hand and against its formula."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.evaluation.metrics.calibration import Calibration


def test_a_table_by_hand() -> None:
    """Bins (0, .5] and (.5, 1]: 4 voxels at .5, 1 hit; 5 at .9 and one at .7, 3 hits."""
    calibration = Calibration(bins=2)
    calibration.add(np.full(4, 0.5), np.array([1, 0, 0, 0], bool))
    calibration.add(np.array([[0.9] * 3, [0.9, 0.9, 0.7]]), np.array([[1, 1, 1], [0, 0, 0]], bool))
    # .4 * |.25 - .5| + .6 * |.5 - 5.2 / 6|
    assert calibration.error == pytest.approx(0.4 * 0.25 + 0.6 * (5.2 / 6 - 0.5))
    assert calibration.table == [
        {"low": 0.0, "high": 0.5, "voxels": 4, "probability": 0.5, "accuracy": 0.25},
        {"low": 0.5, "high": 1.0, "voxels": 6, "probability": 0.866667, "accuracy": 0.5},
    ]


@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_pieces_give_the_formula_of_the_whole(seed: int, bins: int) -> None:
    rng = np.random.default_rng(seed)
    p, hit, valid = rng.random(200), rng.random(200) < 0.6, rng.random(200) < 0.8
    calibration = Calibration(bins)
    for part in np.split(np.arange(200), np.sort(rng.integers(0, 200, 3))):
        calibration.add(p[part], hit[part], valid[part])
    p, hit, wanted = p[valid], hit[valid], 0.0
    for m in range(bins):
        inside = (m / bins < p) & (p <= (m + 1) / bins)
        if inside.any():
            wanted += inside.mean() * abs(hit[inside].mean() - p[inside].mean())
    assert calibration.error == pytest.approx(wanted)


def test_a_model_as_sure_as_right_has_no_error() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(200_000)
    calibration = Calibration()
    calibration.add(p, rng.random(p.size) < p)
    assert calibration.error < 0.01
    calibration.add(np.ones(200_000), np.zeros(200_000, bool))
    assert calibration.error == pytest.approx(0.5, abs=0.01)


def test_without_voxels_it_is_undefined_and_no_probability_is_refused() -> None:
    assert np.isnan(Calibration().error)
    assert Calibration(3).table[0]["accuracy"] is None
    for wrong in (1.2, -0.1, np.nan):
        with pytest.raises(ValueError, match="no probabilities"):
            Calibration().add(np.array([0.5, wrong]), np.array([True, True]))
    rounded = Calibration(2)
    rounded.add(np.array([1.0002, 0.0], np.float32), np.array([True, False]))
    assert [row["voxels"] for row in rounded.table] == [1, 1]
