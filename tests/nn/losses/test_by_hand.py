"""Losses on numbers worked out by hand."""

import math

import numpy as np
import pytest

from seg_batch.nn.losses.build import build_loss, over_heads
from seg_batch.nn.losses.overlap import dice
from seg_batch.nn.losses.voxelwise import cross_entropy, focal, paper

SUM = build_loss([{"name": n} for n in ("dice", "cross_entropy", "focal")], background=False)

# One sample of four voxels in a row, three classes; class 2 is absent from the truth.
TRUTH = np.array([[0, 0, 1, 1]])
PROBABILITY = np.array(
    [[[0.8, 0.2, 0.0], [0.6, 0.2, 0.2], [0.5, 0.5, 0.0], [0.2, 0.7, 0.1]]], np.float32
)


def value(loss: object) -> float:
    return float(np.asarray(loss))


def test_dice_leaves_absent_classes_out() -> None:
    # class 1: overlap .5 + .7 = 1.2; sizes 1.6 + 2; smooth 1: 1 - (2.4 + 1) / (3.6 + 1)
    assert value(dice(TRUTH, PROBABILITY)) == pytest.approx(1 - 3.4 / 4.6, abs=1e-6)


def test_dice_with_background_averages_present_classes() -> None:
    # class 0: overlap .8 + .6; sizes 2.1 + 2: 1 - (2.8 + 1) / (4.1 + 1)
    expected = ((1 - 3.8 / 5.1) + (1 - 3.4 / 4.6)) / 2
    assert value(dice(TRUTH, PROBABILITY, background=True)) == pytest.approx(expected, abs=1e-6)


def test_dice_is_zero_for_a_perfect_or_an_empty_truth() -> None:
    perfect = np.eye(3, dtype=np.float32)[TRUTH]
    assert value(dice(TRUTH, perfect)) == pytest.approx(0.0, abs=1e-6)
    assert value(dice(np.zeros_like(TRUTH), PROBABILITY)) == 0.0


def test_dice_is_per_sample() -> None:
    truth = np.concatenate([TRUTH, np.zeros_like(TRUTH)])
    both = np.concatenate([PROBABILITY, PROBABILITY])
    assert value(dice(truth, both)) == pytest.approx(value(dice(TRUTH, PROBABILITY)), abs=1e-6)


def test_cross_entropy_by_hand() -> None:
    logs = [math.log(p) for p in (0.8, 0.6, 0.5, 0.7)]
    assert value(cross_entropy(TRUTH, PROBABILITY)) == pytest.approx(-sum(logs) / 4, abs=1e-5)
    weighted = -(logs[0] + logs[1] + 3 * (logs[2] + logs[3])) / 8
    by_class = cross_entropy(TRUTH, PROBABILITY, class_weights=(1.0, 3.0, 9.0))
    assert value(by_class) == pytest.approx(weighted, abs=1e-5)


def test_focal_by_hand() -> None:
    terms = [(1 - p) ** 2 * math.log(p) for p in (0.8, 0.6, 0.5, 0.7)]
    assert value(focal(TRUTH, PROBABILITY)) == pytest.approx(-sum(terms) / 4, abs=1e-5)
    plain = cross_entropy(TRUTH, PROBABILITY)
    assert value(focal(TRUTH, PROBABILITY, gamma=0.0)) == pytest.approx(value(plain), abs=1e-5)


def test_paper_by_hand_and_finite_at_its_pole() -> None:
    truth, p = np.array([[1, 0]]), np.array([[[0.9], [0.3]]], np.float32)
    # |.9 - .5| = .4, |.3 - .5| = .2; the second voxel has no cross-entropy term
    first = 1 - (0.25 * math.log(0.9) / 0.4**2 + (1.8 + 1) / (0.81 + 1 + 1))
    second = 1 - (0 + 1) / (0.09 + 1)
    assert value(paper(truth, p)) == pytest.approx((first + second) / 2, abs=1e-5)
    assert math.isfinite(value(paper(truth, np.full_like(p, 0.5))))


@pytest.mark.parametrize("loss", [dice, cross_entropy, focal, paper, SUM])
def test_voxels_that_are_not_valid_change_nothing(loss) -> None:  # type: ignore[no-untyped-def]
    valid = np.array([[True, False, True, True]])
    other, moved = TRUTH.copy(), PROBABILITY.copy()
    other[0, 1], moved[0, 1] = 255, (0.0, 0.0, 1.0)
    assert value(loss(other, moved, valid)) == value(loss(TRUTH, PROBABILITY, valid))
    assert value(loss(TRUTH, PROBABILITY, valid)) != value(loss(TRUTH, PROBABILITY, None))
    assert math.isfinite(value(loss(TRUTH, PROBABILITY, np.zeros_like(valid))))


@pytest.mark.parametrize("loss", [dice, cross_entropy, focal, paper])
def test_one_hot_equals_sparse_and_sigmoid_equals_two_classes(loss) -> None:  # type: ignore[no-untyped-def]
    one_hot = np.eye(3, dtype=np.float32)[TRUTH]
    assert value(loss(one_hot, PROBABILITY)) == value(loss(TRUTH, PROBABILITY))
    p = PROBABILITY[..., 1:2]
    both = np.concatenate([1 - p, p], axis=-1)
    assert value(loss(TRUTH, p)) == pytest.approx(value(loss(TRUTH, both)), abs=1e-6)


def test_heads_are_averaged_with_weights() -> None:
    uniform = np.full_like(PROBABILITY, 1 / 3)
    a, b = (value(cross_entropy(TRUTH, p)) for p in (PROBABILITY, uniform))
    mean = over_heads(cross_entropy, TRUTH, [PROBABILITY, uniform])
    assert value(mean) == pytest.approx((a + b) / 2, abs=1e-6)
    tilted = over_heads(cross_entropy, TRUTH, [PROBABILITY, uniform], weights=(1.0, 3.0))
    assert value(tilted) == pytest.approx((a + 3 * b) / 4, abs=1e-6)


def test_label_smoothing_mixes_in_the_uniform() -> None:
    p = PROBABILITY + 0.1
    mixed = value(cross_entropy(TRUTH, p, smoothing=0.3))
    plain = value(cross_entropy(TRUTH, p))
    uniform = -np.log(p).mean()
    assert mixed == pytest.approx(0.7 * plain + 0.3 * uniform, abs=1e-5)
