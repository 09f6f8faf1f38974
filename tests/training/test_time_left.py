"""The minutes of a training hold cutting, validation, border and scores, too."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seg_batch.nn.training.loop import Clock, OtherWork
from seg_batch.training.border_effect import FEWEST, PAIRS, pairs_within
from seg_batch.training.time_left import BORDER_SHARE, SCORING, WRITING_S, _after, border_s
from tests.support.training.pairs import volume_recipe


def test_steps_end_as_long_before_as_the_rest_takes() -> None:
    recipe = volume_recipe(minutes=10.0, steps=10**6)
    other = OtherWork(time.monotonic() - 60, 10, lambda patch_s: 100 * patch_s + 5)
    clock = Clock(recipe, 0.0, other)
    assert clock.limit_s == pytest.approx(540, abs=1), "a minute was spent on cutting"
    clock.reserve(other.seconds(2.0))
    assert clock.limit_s == pytest.approx(540 - 20 - 205, abs=1)
    clock.reserve(1e6)
    assert clock.limit_s == pytest.approx(60), "something is trained in any case"
    assert Clock(volume_recipe(minutes=10.0)).limit_s == 600
    unlimited = Clock(volume_recipe(minutes=None), 0.0, other)
    unlimited.reserve(50.0)
    assert math.isinf(unlimited.limit_s)


def test_the_border_takes_a_share_of_the_minutes() -> None:
    recipe = volume_recipe(minutes=10.0)
    allowed = BORDER_SHARE * 600
    assert border_s(recipe) == allowed
    after = _after(recipe, 20)
    assert after(1.0) == pytest.approx(WRITING_S + SCORING * 20 + 6 * int(allowed / 6))
    assert after(1e-3) == pytest.approx(WRITING_S + 1e-3 * (SCORING * 20 + 6 * PAIRS))
    unlimited = volume_recipe(minutes=None)
    assert math.isinf(border_s(unlimited))
    assert _after(unlimited, 20)(1.0) == pytest.approx(WRITING_S + SCORING * 20 + 6 * PAIRS)


@example(math.inf, 2, 0.0)
@given(st.floats(0, 1e5), st.integers(2, 3), st.floats(0, 100))
def test_pairs_fit_the_time_or_are_the_fewest(seconds: float, rank: int, patch_s: float) -> None:
    pairs = pairs_within(seconds, (32,) * rank, patch_s)
    assert FEWEST <= pairs <= PAIRS
    assert pairs == FEWEST or 2 * rank * pairs * patch_s <= seconds * (1 + 1e-9) + 1e-6
