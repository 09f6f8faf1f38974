"""Thick slices are means of voxels, seen again as a model sees a file that has such."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_batch.config.card_parts.resampling import Resampling, Rule
from seg_batch.datasets.augment.intensity import SOMETIMES
from seg_batch.datasets.augment.resolution import PatchGrid, thick_slices, vary_slices

RULES: tuple[Rule, ...] = ("nearest", "linear", "cubic")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_nearest_shows_the_mean_of_each_slice_along_one_axis(axis: int) -> None:
    image = np.random.default_rng(0).standard_normal((12, 12, 12, 2)).astype(np.float32)
    seen = np.moveaxis(thick_slices(image, axis, 4, 0.0, "nearest"), axis, 0)
    lines = np.moveaxis(image, axis, 0)
    for start in (0, 4, 8):
        mean = lines[start : start + 4].mean(0)
        for k in range(start, start + 4):
            np.testing.assert_allclose(seen[k], mean, atol=1e-6)


def test_a_slice_that_begins_before_the_patch_ends_earlier_in_it() -> None:
    image = np.arange(8, dtype=np.float32)[:, None, None]
    seen = thick_slices(np.tile(image, (1, 3, 1)), 0, 4, 0.5, "nearest")[:, 0, 0]
    np.testing.assert_allclose(seen, [0.5, 0.5, 3.5, 3.5, 3.5, 3.5, 6.5, 6.5])


@given(st.integers(1, 40), st.floats(1, 10), st.floats(0, 0.999), st.sampled_from(RULES))
@settings(max_examples=80, deadline=None)
def test_a_constant_stays_and_nothing_moves(n: int, factor: float, phase: float, rule: Any) -> None:
    flat = np.full((2, n, 1), 3, np.float32)
    np.testing.assert_allclose(thick_slices(flat, 1, factor, phase, rule), 3, rtol=1e-5)
    ramp = np.broadcast_to(np.arange(n, dtype=np.float32)[:, None], (2, n, 1))
    seen = thick_slices(ramp, 1, factor, phase, rule)
    assert seen.dtype == np.float32
    assert np.abs(seen - ramp).max() <= factor, "no voxel shows a place beyond its slice"


def test_the_rule_is_that_of_a_file_with_such_voxels() -> None:
    cube, slab = PatchGrid((1.0, 1.0, 1.0)), PatchGrid((2.5, 1.0, 1.2))
    assert (cube.thick_axis, slab.thick_axis) == (None, 0)
    assert (cube.rule(1, 2.9), cube.rule(1, 3.1)) == ("cubic", "nearest")
    assert (slab.rule(0, 1.1), slab.rule(0, 1.3)) == ("cubic", "nearest")
    assert slab.rule(1, 1.3) == "cubic"
    own = PatchGrid((1.0, 1.0, 1.0), Resampling(up="linear", thick="area", thick_ratio=2))
    assert (own.rule(0, 1.5), own.rule(0, 2.5)) == ("linear", "area")
    assert PatchGrid((1.0, 1.0)).rule(0, 8) == "cubic", "no slices are thick in their own plane"


def test_slices_lie_across_the_long_axis_else_across_any() -> None:
    image = np.random.default_rng(0).standard_normal((12, 12, 12, 1)).astype(np.float32)
    image.flags.writeable = False

    def axes(grid: PatchGrid) -> list[int]:
        """The axes along which an image was averaged, 60 times: its variance falls there alone."""
        changed = []
        for seed in range(60):
            seen = vary_slices(image, 6, np.random.default_rng(seed), grid)
            if seen is not image:
                steps = [np.abs(np.diff(seen, axis=a)).mean() for a in range(3)]
                changed.append(int(np.argmin(steps)))
        return changed

    any_axis, one_axis = axes(PatchGrid((1.0, 1.0, 1.0))), axes(PatchGrid((1.0, 2.5, 1.0)))
    assert set(any_axis) == {0, 1, 2}
    assert set(one_axis) == {1}
    assert 0.15 < len(any_axis) / 60 < 2 * SOMETIMES


def test_off_it_draws_no_random_number() -> None:
    rng, image = np.random.default_rng(5), np.ones((4, 4, 1), np.float32)
    assert vary_slices(image, 1, rng, PatchGrid((1.0, 1.0))) is image
    assert rng.random() == np.random.default_rng(5).random()
