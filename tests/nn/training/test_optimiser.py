"""Schedules by hand-worked numbers, optimisers on weights whose next value is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.config.recipe import Optimiser, Schedule
from seg_batch.nn.backend import keras
from seg_batch.nn.training.optimiser import LEAST, optimiser, reductions, share_of_peak, since_best

NAMES = ("adamw", "adam", "sgd", "lion", "rmsprop", "nadam")


def schedule(name: str, **values: float) -> Schedule:
    return Schedule.model_validate({"name": name, "warmup": 0.1, "floor": 0.01, **values})


@pytest.mark.parametrize(
    ("name", "progress", "share"),
    [
        ("cosine", 0.0, 0.01),
        ("cosine", 0.05, 0.5),
        ("cosine", 0.1, 1.0),
        ("cosine", 0.325, 0.01 + 0.99 * (1 + math.sqrt(0.5)) / 2),
        ("cosine", 0.55, 0.505),
        ("cosine", 1.0, 0.01),
        ("cosine", 2.0, 0.01),
        ("polynomial", 0.05, 0.5),
        ("polynomial", 0.55, 0.01 + 0.99 * 0.25),
        ("polynomial", 1.0, 0.01),
        ("constant", 0.05, 0.5),
        ("constant", 0.9, 1.0),
        ("plateau", 0.05, 0.5),
        ("plateau", 0.9, 1.0),
    ],
)
def test_the_rate_by_hand(name: str, progress: float, share: float) -> None:
    assert share_of_peak(schedule(name, power=2.0), progress) == pytest.approx(share)


def test_without_warm_up_it_begins_at_the_peak() -> None:
    assert share_of_peak(schedule("cosine", warmup=0.0), 0.0) == 1.0


def test_plateau_halves_after_patience_and_not_below_the_floor() -> None:
    how = schedule("plateau", factor=0.5, patience=2, floor=0.2)
    scores = [0.1, 0.3, 0.3, 0.2, 0.4, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1]
    #                   1    2 *       1    2 *  1    2 *  1    2 *
    wanted = [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2]
    found = [share_of_peak(how, 0.5, scores[: i + 1]) for i in range(len(scores))]
    assert found == wanted
    assert reductions(scores, 2) == 4


def test_since_best_counts_from_the_first_of_equals() -> None:
    assert [since_best(s) for s in ([], [0.1], [0.1, 0.3, 0.3, 0.2])] == [0, 0, 2]
    assert since_best([math.nan, 0.2, math.nan]) == 1


@given(
    st.sampled_from(["cosine", "polynomial", "plateau", "constant"]),
    st.floats(0, 2),
    st.floats(0, 0.99),
    st.floats(0, 1),
    st.lists(st.floats(0, 1)),
)
def test_never_above_the_peak_and_after_warm_up_never_below_the_floor(
    name: str, progress: float, warmup: float, floor: float, scores: list[float]
) -> None:
    share = share_of_peak(schedule(name, warmup=warmup, floor=floor), progress, scores)
    assert min(floor, LEAST) <= share <= 1.0 + 1e-12
    assert progress < warmup or share >= floor - 1e-12


def updated(how: Optimiser, steps: int = 1) -> dict[str, np.ndarray]:
    """Weights of 1 after steps with gradients of 1 at a rate of 0.1."""
    names = ("kernel", "bias", "gamma", "beta")
    weights = [keras.Variable(np.ones(2, np.float32), name=name) for name in names]
    made = optimiser(how, weights)
    for _ in range(steps):
        made.learning_rate.assign(0.1)
        made.apply([keras.ops.ones(2) for _ in weights], weights)
    return {name: np.asarray(w) for name, w in zip(names, weights, strict=True)}


@pytest.mark.parametrize("name", NAMES)
def test_decay_is_for_kernels_only_and_decoupled(name: str) -> None:
    plain = updated(Optimiser(name=name, weight_decay=0.0))
    decayed = updated(Optimiser(name=name, weight_decay=0.5))
    lost = 0.0 if name == "adam" else 0.1 * 0.5
    np.testing.assert_allclose(plain["kernel"] - decayed["kernel"], lost, atol=1e-6)
    for other in ("bias", "gamma", "beta"):
        np.testing.assert_array_equal(decayed[other], plain["bias"])


def test_first_steps_by_hand() -> None:
    free = {"weight_decay": 0.0}
    for name in ("adamw", "adam", "lion"):  # the sign of the gradient
        np.testing.assert_allclose(updated(Optimiser(name=name, **free))["kernel"], 0.9, atol=1e-6)
    # Nesterov: velocity v = m v - r g; w += m v - r g. Twice: -0.19, then -0.271.
    twice = updated(Optimiser(name="sgd", momentum=0.9, **free), steps=2)["kernel"]
    np.testing.assert_allclose(twice, 1 - 0.19 - 0.271, atol=1e-6)
    once = updated(Optimiser(name="sgd", momentum=0.0, **free))["kernel"]
    np.testing.assert_allclose(once, 0.9, atol=1e-6)
