"""The reach of a patch's border, against predictors whose reach is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Axis, Shape
from seg_batch.inference.sliding_window.stitch import Predictor
from seg_batch.training.border_effect import measure_border, reach, recommended


def box_filter(radii: Shape) -> Predictor:
    """Two classes by the sign of the mean over ``2 r + 1`` voxels per axis, zeros around the
    patch: the outer ``r`` voxels see them, the others don't."""

    def predict(patches: np.ndarray) -> np.ndarray:
        values = patches[..., 0].astype(np.float64)
        for axis, r in enumerate(radii, start=1):
            pad = [(0, 0)] * values.ndim
            pad[axis] = (r, r)
            padded, n = np.pad(values, pad), values.shape[axis]
            values = sum(padded.take(range(k, k + n), axis) for k in range(2 * r + 1))
        p = 1 / (1 + np.exp(-values))
        return np.stack([p, 1 - p], -1).astype(np.float32)

    return predict


def noise(extent: Shape, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((*extent, 1)).astype(np.float32)


@pytest.mark.parametrize(
    ("patch", "radii"),
    [
        ((32, 40), (3, 6)),
        ((48, 32), (12, 8)),  # as far as can be seen
        ((33, 50), (0, 5)),
        ((24, 16, 20), (2, 4, 0)),
    ],
)
def test_the_reach_of_a_box_filter_is_its_radius(patch: Shape, radii: Shape) -> None:
    images = [noise(tuple(3 * p for p in patch), seed) for seed in (1, 2)]
    border = measure_border(box_filter(radii), patch, images, least=0, share=0)
    assert border.reach == radii
    for d, axis in zip(radii, border.how["axes"], strict=True):
        assert all(v > 0 for v in axis["difference"][:d])
        assert all(v == 0 for v in axis["disagreement"][d:])


def test_the_default_leaves_out_only_the_last_tenth() -> None:
    border = measure_border(box_filter((9, 3)), (64, 64), [noise((300, 200))])
    assert 6 <= border.reach[0] <= 9
    assert 2 <= border.reach[1] <= 3
    for reached, axis in zip(border.reach, border.how["axes"], strict=True):
        curve = axis["disagreement"]
        assert 0.01 <= axis["threshold"] <= max(0.01, max(curve) / 10)
        assert np.mean(curve[reached:]) <= axis["threshold"] < curve[reached - 1]


def test_a_model_that_does_not_see_where_it_is_needs_nothing() -> None:
    def alone(patches: np.ndarray) -> np.ndarray:
        p = 1 / (1 + np.exp(-patches[..., 0]))
        return np.stack([p, 1 - p], -1)

    border = measure_border(alone, (32, 48), [noise((90, 130))])
    assert (border.reach, border.margin) == ((0, 0), (0, 0))
    assert border.overlap == (2, 3)


def test_much_background_does_not_hide_the_border() -> None:
    """One voxel in a hundred holds something; near the border half of it is lost."""

    def lossy(patches: np.ndarray) -> np.ndarray:
        found = patches[..., 0] > 2.3
        found[:, :6] &= patches[:, :6, :, 0] > 2.6
        return np.stack([~found, found], -1).astype(np.float32)

    border = measure_border(lossy, (64, 64), [noise((400, 400))])
    assert border.reach == (6, 0)
    assert border.how["axes"][0]["difference"][0] < 0.01  # which the share of all voxels would


@pytest.mark.parametrize("extent", [(20, 90), (7, 9), (32, 48)])
def test_small_images_are_mirrored(extent: Shape) -> None:
    border = measure_border(box_filter((3, 2)), (32, 48), [noise(extent)], least=0, share=0)
    assert border.reach == (3, 2)


def test_an_image_with_room_for_one_pair_counts_once() -> None:
    one, many = (
        measure_border(box_filter((3, 0)), (32, 4), [noise((48, 4))], pairs=n) for n in (1, 24)
    )
    assert one.how["axes"][0] == many.how["axes"][0]


def test_what_reaches_further_than_can_be_seen_is_said() -> None:
    border = measure_border(box_filter((20, 1)), (32, 32), [noise((200, 200))])
    assert border.reach[0] == 8
    assert [axis["reaches_further"] for axis in border.how["axes"]] == [True, False]
    assert (border.overlap[0], border.margin[0]) == (16, 7)


def test_an_axis_of_one_slice_has_no_border() -> None:
    border = measure_border(
        box_filter((0, 3, 3)), (1, 32, 32), [noise((9, 90, 90))], least=0, share=0
    )
    assert border.reach == (0, 3, 3)
    assert (border.overlap[0], border.margin[0]) == (0, 0)


def test_the_same_seed_gives_the_same_border() -> None:
    images = [noise((100, 90))]
    one, two = (measure_border(box_filter((3, 5)), (32, 32), images, seed=4) for _ in range(2))
    assert one == two


@given(st.integers(1, 600), st.data())
def test_what_is_recommended_is_a_grid_and_at_most_half_a_patch(
    patch: int, data: st.DataObject
) -> None:
    reached = data.draw(st.integers(0, patch // 4))
    overlap, margin = recommended(patch, reached)
    Axis(10 * patch, patch, overlap, margin)
    assert overlap <= patch // 2
    assert margin <= reached
    if 2 * reached + patch / 16 + 1 <= patch // 2:
        assert margin == reached


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20))
def test_without_a_threshold_the_reach_ends_with_the_last_difference(apart: list[int]) -> None:
    found = reach(np.array(apart), np.full(len(apart), 100), 0.0)
    assert not any(apart[found:])
    assert found == 0 or apart[found - 1] > 0


def test_a_stray_voxel_far_inside_is_not_a_border() -> None:
    apart = np.array([40, 30, 3, 1, 0, 0, 0, 2, 0, 0, 0, 0])
    assert reach(apart, np.full(12, 50), 0.05) == 2
    assert reach(100 * apart, np.full(12, 5000), 0.01) == 8  # a hundred times as many are no chance


@pytest.mark.parametrize("images", [[], [np.zeros((40, 40), np.float32)]])
def test_without_images_there_is_nothing_to_measure(images: list[np.ndarray]) -> None:
    with pytest.raises(InputError, match="at least one"):
        measure_border(box_filter((1, 1)), (32, 32), images)
