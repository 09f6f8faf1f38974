"""Losses from plain values, class weights, and distillation."""

import math

import numpy as np
import pytest

from seg_batch.core.errors import InputError
from seg_batch.nn.losses.build import LOSSES, build_loss, over_heads
from seg_batch.nn.losses.overlap import dice, tversky
from seg_batch.nn.losses.voxelwise import cross_entropy, distillation, focal, inverse_frequency

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 3, (2, 5, 5))
P = RNG.dirichlet(np.ones(3), (2, 5, 5)).astype(np.float32)


def value(loss: object) -> float:
    return float(np.asarray(loss))


def built(*terms: dict[str, object], background: bool = False, weights=None) -> float:  # type: ignore[no-untyped-def]
    return value(build_loss(terms, background=background, class_weights=weights)(TRUTH, P, None))


def test_a_sum_of_terms_with_their_own_arguments() -> None:
    found = built(
        {"name": "tversky", "weight": 0.5, "alpha": 0.1, "beta": 0.9},
        {"name": "focal", "weight": 2, "gamma": 1, "class_weights": "inverse"},
        {"name": "dice", "weight": 0},
        weights=(1.0, 2.0, 0.5),
    )
    expected = 0.5 * value(tversky(TRUTH, P, alpha=0.1, beta=0.9))
    expected += 2 * value(focal(TRUTH, P, gamma=1.0, class_weights=(1.0, 2.0, 0.5)))
    assert found == pytest.approx(expected, abs=1e-6)


def test_class_weights_are_used_by_terms_that_ask() -> None:
    weights, plain = (1.0, 5.0, 0.1), {"name": "cross_entropy"}
    assert built(plain, weights=weights) == value(cross_entropy(TRUTH, P))
    asked = built({**plain, "class_weights": "inverse"}, weights=weights)
    assert asked == value(cross_entropy(TRUTH, P, class_weights=weights))
    listed = built({**plain, "class_weights": [1, 5, 0.1]})
    assert listed == asked
    assert built({**plain, "class_weights": None}, weights=weights) == built(plain)


def test_background_is_told_once_and_a_term_may_differ() -> None:
    term = {"name": "dice"}
    assert built(term, background=True) == value(dice(TRUTH, P, background=True))
    assert built(term) == value(dice(TRUTH, P))
    assert built({**term, "background": False}, background=True) == built(term)


@pytest.mark.parametrize(
    ("term", "says"),
    [
        ({"name": "generalized-dice"}, "no loss 'generalized-dice'; did you mean generalised_dice"),
        ({"name": "xyz"}, "known are cross_entropy, focal, dice"),
        ({}, "no loss None"),
        ({"name": "focal", "gama": 1}, "focal has no argument 'gama'; did you mean gamma"),
        ({"name": "dice", "wieght": 1}, "did you mean weight"),
        ({"name": "dice", "truth": 1}, "no argument 'truth'"),
        ({"name": "dice", "smooth": "much"}, "smooth = 'much'; use a number of 0.0 or more"),
        ({"name": "dice", "smooth": True}, "smooth = True"),
        ({"name": "dice", "pooled": 1}, "pooled = 1; use true or false"),
        ({"name": "dice", "weight": -1}, "weight = -1"),
        ({"name": "dice", "weight": math.nan}, "weight = nan"),
        ({"name": "dice", "weight": 0}, "a loss without a term"),
        ({"name": "distance", "reach": 0}, "use a whole number of 1 or more"),
        ({"name": "distance", "reach": 2.5}, "reach = 2.5"),
        ({"name": "cross_entropy", "smoothing": 1}, "at most 0.99"),
        ({"name": "paper", "clamp": 0}, "clamp = 0"),
        ({"name": "focal", "class_weights": "inverse"}, "frequencies of the classes are not known"),
        ({"name": "focal", "class_weights": "some"}, "class_weights = 'some'"),
        ({"name": "focal", "class_weights": [0, 0]}, "one number of 0 or more"),
        ({"name": "focal", "class_weights": [1, -1]}, "one number of 0 or more"),
    ],
)
def test_what_no_loss_has_is_refused_before_the_first_step(
    term: dict[str, object], says: str
) -> None:
    with pytest.raises(InputError) as error:
        build_loss([term], background=False)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_too_few_class_weights_are_counted() -> None:
    with pytest.raises(InputError, match="2 class weights for 3 classes"):
        built({"name": "cross_entropy", "class_weights": [1, 2]})


def test_losses_go_by_their_names() -> None:
    assert set(LOSSES) == {
        *("cross_entropy", "focal", "dice", "generalised_dice", "tversky"),
        *("focal_tversky", "edge", "distance", "paper"),
    }


def test_inverse_frequencies_by_hand() -> None:
    # 8/8, 8/4, 8/1 are 1, 2, 8, mean 11/3; clipped at 4: 1, 2, 4, mean 7/3
    assert inverse_frequency([8, 4, 1]) == pytest.approx([3 / 11, 6 / 11, 24 / 11])
    assert inverse_frequency([8, 4, 1], clip=4) == pytest.approx([3 / 7, 6 / 7, 12 / 7])


@pytest.mark.parametrize("seed", range(5))
def test_inverse_frequencies_have_mean_one_and_a_bounded_ratio(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = (10 ** rng.uniform(0, 9, 7)).astype(int)
    counts[seed] = 0
    weights = np.array(inverse_frequency(counts.tolist(), clip=20))
    occurs = counts > 0
    assert weights[occurs].mean() == pytest.approx(1.0)
    assert weights[seed] == 1.0
    assert weights[occurs].max() / weights[occurs].min() <= 20 * (1 + 1e-9)
    order = np.argsort(counts[occurs])
    assert np.all(np.diff(weights[occurs][order]) <= 1e-12)


@pytest.mark.parametrize("counts", [[], [0, 0], [1, -1], [1, math.nan], [1, math.inf]])
def test_no_weights_from_no_voxels(counts: list[float]) -> None:
    with pytest.raises(InputError, match="no class weights"):
        inverse_frequency(counts)


def test_distillation_by_hand() -> None:
    """T = 2 takes square roots: (.64, .36) -> (8, 6) / 14, (.5, .5) stays."""
    teacher = np.array([[[0.64, 0.36], [0.5, 0.5]]], np.float32)
    student = np.array([[[0.5, 0.5], [0.5, 0.5]]], np.float32)
    a, b = 8 / 14, 6 / 14
    by_hand = 4 * (a * math.log(a / 0.5) + b * math.log(b / 0.5)) / 2
    assert value(distillation(teacher, student, None, 2.0)) == pytest.approx(by_hand, abs=1e-6)
    first = distillation(teacher, student, np.array([[True, False]]), 2.0)
    assert value(first) == pytest.approx(2 * by_hand, abs=1e-6)
    single = distillation(teacher[..., 1:], student[..., 1:], None, 2.0)
    assert value(single) == pytest.approx(by_hand, abs=1e-6)


def test_distillation_is_zero_only_for_the_teacher_and_takes_hard_probabilities() -> None:
    assert value(distillation(P, P)) == pytest.approx(0.0, abs=1e-6)
    hard = np.eye(3, dtype=np.float32)[TRUTH]
    assert 0.1 < value(distillation(hard, P)) < math.inf
    # At T = 1 a hard teacher is a truth, and the divergence from it the cross-entropy.
    plain = value(cross_entropy(TRUTH, P))
    assert value(distillation(hard, P, None, 1.0)) == pytest.approx(plain, abs=1e-4)
    with pytest.raises(InputError, match="temperature"):
        distillation(P, P, None, 0.0)


@pytest.mark.parametrize("weights", [(1.0,), (0.0, 0.0), (2.0, -1.0)])
def test_head_weights_must_fit(weights: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="head weights"):
        over_heads(dice, TRUTH, [P, P], weights=weights)


def test_a_head_of_weight_zero_is_not_looked_at() -> None:
    only = over_heads(dice, TRUTH, [np.full_like(P, np.nan), P], weights=(0.0, 3.0))
    assert value(only) == pytest.approx(value(dice(TRUTH, P)), abs=1e-6)
