"""Dice and its kin on numbers worked out by hand, and what follows from one for another."""

import numpy as np
import pytest

from seg_batch.nn.losses.overlap import dice, focal_tversky, generalised_dice, tversky

# Two samples of four voxels, three classes. Sample 0 has classes 0 and 1, sample 1 classes 0 and 2.
TRUTH = np.array([[0, 0, 1, 1], [0, 0, 0, 2]])
PROBABILITY = np.array(
    [
        [[0.8, 0.2, 0.0], [0.6, 0.2, 0.2], [0.5, 0.5, 0.0], [0.2, 0.7, 0.1]],
        [[1.0, 0.0, 0.0], [0.9, 0.0, 0.1], [0.7, 0.0, 0.3], [0.6, 0.0, 0.4]],
    ],
    np.float32,
)


def value(loss: object) -> float:
    return float(np.asarray(loss))


def noise(seed: int, shape: tuple[int, ...] = (2, 5, 6), classes: int = 4):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(classes), shape).astype(np.float32)
    return rng.integers(0, classes, shape), p


def test_alpha_weighs_false_positives_and_beta_false_negatives() -> None:
    # sample 0, class 1: TP .5 + .7 = 1.2, FP .2 + .2 = .4, FN .5 + .3 = .8
    one = (TRUTH[:1], PROBABILITY[:1])
    by_hand = 1 - 1.2 / (1.2 + 0.2 * 0.4 + 0.9 * 0.8)
    found = tversky(*one, alpha=0.2, beta=0.9, smooth=0.0)
    assert value(found) == pytest.approx(by_hand, abs=1e-6)
    swapped = 1 - 1.2 / (1.2 + 0.9 * 0.4 + 0.2 * 0.8)
    assert abs(by_hand - swapped) > 0.05  # so the numbers above can tell the two apart
    smoothed = 1 - 2.2 / (1.2 + 0.3 * 0.4 + 0.7 * 0.8 + 1)
    assert value(tversky(*one)) == pytest.approx(smoothed, abs=1e-6)


def test_a_missed_object_costs_more_than_an_invented_one_when_beta_is_larger() -> None:
    """Hard predictions: one false negative, then one false positive, beside two hits."""
    truth = np.array([[1, 1, 1, 0, 0]])
    missed, invented = np.eye(2, dtype=np.float32)[[[[1, 1, 0, 0, 0]], [[1, 1, 1, 1, 0]]]]
    options = {"alpha": 0.25, "beta": 0.75, "smooth": 0.0}
    assert value(tversky(truth, missed, **options)) == pytest.approx(1 - 2 / 2.75, abs=1e-6)
    assert value(tversky(truth, invented, **options)) == pytest.approx(1 - 3 / 3.25, abs=1e-6)


def test_focal_tversky_is_the_mean_of_roots() -> None:
    # sample 1, class 2: TP .4, FP .4, FN .6
    apart = [1 - 1.2 / (1.2 + 0.3 * 0.4 + 0.7 * 0.8), 1 - 0.4 / (0.4 + 0.3 * 0.4 + 0.7 * 0.6)]
    by_hand = sum(x**0.75 for x in apart) / 2
    found = focal_tversky(TRUTH, PROBABILITY, smooth=0.0)
    assert value(found) == pytest.approx(by_hand, abs=1e-6)
    flat = focal_tversky(TRUTH, PROBABILITY, gamma=1.0)
    assert value(flat) == pytest.approx(value(tversky(TRUTH, PROBABILITY)), abs=1e-6)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("background", [False, True])
def test_tversky_of_halves_is_dice(pooled: bool, background: bool) -> None:
    """TP / (TP + FP/2 + FN/2) = 2 TP / (P + T), with half of the smoothing above and below."""
    options = {"pooled": pooled, "background": background}
    t, p = noise(3)
    half = tversky(t, p, alpha=0.5, beta=0.5, smooth=0.5, **options)
    assert value(half) == pytest.approx(value(dice(t, p, **options)), abs=1e-6)


def test_generalised_dice_by_hand() -> None:
    # sample 0: class 0 has 2 voxels, overlap 1.4, p sum 2.1; class 1 has 2, 1.2, 1.6
    first = 1 - 2 * (1.4 / 4 + 1.2 / 4) / ((2.1 + 2) / 4 + (1.6 + 2) / 4)
    # sample 1: class 0 has 3, overlap 2.6, p sum 3.2; class 2 has 1, .4, .8
    second = 1 - 2 * (2.6 / 9 + 0.4) / ((3.2 + 3) / 9 + (0.8 + 1))
    found = generalised_dice(TRUTH, PROBABILITY, background=True)
    assert value(found) == pytest.approx((first + second) / 2, abs=1e-6)


def test_generalised_dice_of_one_class_is_dice() -> None:
    t, p = noise(4, classes=2)
    plain = dice(t, p, smooth=0.0)
    assert value(generalised_dice(t, p)) == pytest.approx(value(plain), abs=1e-6)


def test_generalised_dice_forgets_the_size_of_classes_of_large_patches() -> None:
    """Half of every class missed, whether it has one voxel in 10^6 or the rest."""
    truth = np.zeros((1, 1000, 1000), np.int32)
    truth[0, 0, :2] = 1
    p = np.zeros((1, 1000, 1000, 2), np.float32)
    p[..., 0] = 1.0
    p[0, 0, 0] = (0.0, 1.0)
    # class 1: overlap 1, sizes 1 + 2; class 0 is right but for one voxel, so 2 / 3 rules
    found = generalised_dice(truth, p, background=True)
    assert value(found) == pytest.approx(1 - 2 / 3, abs=1e-3)


def test_pooled_sums_run_over_the_batch() -> None:
    # class 1: overlap 1.2, sizes 1.6 + 2; class 2: overlap .4, sizes .3 + .8 + 1
    by_hand = ((1 - 2.4 / 3.6) + (1 - 0.8 / 2.1)) / 2
    assert value(dice(TRUTH, PROBABILITY, smooth=0.0, pooled=True)) == pytest.approx(
        by_hand, abs=1e-6
    )
    t, p = noise(5, (3, 4, 4))
    for loss in (dice, generalised_dice, tversky, focal_tversky):
        joined = loss(t.reshape(1, 12, 4), p.reshape(1, 12, 4, 4))
        assert value(loss(t, p, pooled=True)) == pytest.approx(value(joined), abs=1e-6)


@pytest.mark.parametrize("loss", [dice, generalised_dice, tversky, focal_tversky])
def test_a_sample_without_any_class_is_no_part_of_the_mean(loss) -> None:  # type: ignore[no-untyped-def]
    truth = np.concatenate([TRUTH, np.zeros_like(TRUTH[:1])])
    p = np.concatenate([PROBABILITY, PROBABILITY[:1]])
    assert value(loss(truth, p)) == pytest.approx(value(loss(TRUTH, PROBABILITY)), abs=1e-6)
    assert value(loss(np.zeros_like(TRUTH), PROBABILITY)) == 0.0
