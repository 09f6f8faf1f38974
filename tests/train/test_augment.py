"""Image and label move together: the image carries its address, the label follows from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seg_batch.augment import recoloured, rotation, turned, vary, warped
from seg_batch.recipe import Augment
from tests.train.made import addresses, class_of

SHAPES: list[Any] = [((40, 36), (32, 32)), ((20, 22, 18), (16, 16, 16))]


def pair(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    address = addresses(shape)
    return address[..., None], class_of(address).astype(np.uint8)


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
@pytest.mark.parametrize("seed", range(12))
def test_mirrored_turned_and_cropped_pairs_stay_pairs(shape: Any, patch: Any, seed: int) -> None:
    axes = tuple(range(len(shape)))
    how = Augment(flip=axes, quarter_turns=(axes[-2], axes[-1]))
    image, label = vary(*pair(shape), patch, how, np.random.default_rng(seed))
    assert image.shape == (*patch, 1)
    assert image.dtype == np.float32
    assert label.shape == patch
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(class_of(image[..., 0]), label)
    assert len(np.unique(image)) == image.size, "a crop shows each voxel once"


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
def test_warped_labels_are_the_nearest_of_the_warped_coordinates(shape: Any, patch: Any) -> None:
    """Channels are the coordinates themselves: linear, so interpolation keeps them exact."""
    coordinates = np.stack(np.indices(shape), -1).astype(np.float32)
    label = np.indices(shape)[0].astype(np.uint8)
    rng = np.random.default_rng(3)
    image, moved = warped(coordinates, label, patch, 20, 0.1, rng)
    assert image.shape == (*patch, len(shape))
    inside = np.ones(patch, bool)
    for axis, n in enumerate(shape):
        inside &= (image[..., axis] > 1) & (image[..., axis] < n - 2)
    middle = tuple(slice(p // 4, -p // 4) for p in patch)
    assert inside[middle].mean() > 0.5
    where = np.zeros(patch, bool)
    where[middle] = inside[middle]
    assert np.abs(image[where][:, 0] - moved[where]).max() <= 0.51


def test_no_warp_is_no_change() -> None:
    image, label = pair((24, 24))
    same, also = warped(image, label, (24, 24), 0, 0, np.random.default_rng(0))
    np.testing.assert_allclose(same, image, atol=1e-3)
    np.testing.assert_array_equal(also, label)


@pytest.mark.parametrize("rank", [2, 3])
def test_a_rotation_is_one(rank: int) -> None:
    matrix = rotation(rank, 30, np.random.default_rng(1))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(rank), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)
    assert not np.allclose(matrix, np.eye(rank))


def test_four_quarter_turns_are_none() -> None:
    image, label = pair((16, 16))
    for _ in range(4):
        image, label = turned(image, label, (0, 1), 1)
    np.testing.assert_array_equal(image, pair((16, 16))[0])
    np.testing.assert_array_equal(label, pair((16, 16))[1])


def test_colours_change_and_labels_do_not() -> None:
    how = Augment(gain=0.1, shift=0.2, gamma=0.2, noise=0.1, blur=1.0)
    image, label = pair((24, 24))
    image = image / image.max() - 0.5
    before = image.copy()
    changed, kept = vary(image, label, (24, 24), how, np.random.default_rng(5))
    np.testing.assert_array_equal(kept, label)
    np.testing.assert_array_equal(image, before)
    assert np.isfinite(changed).all()
    assert not np.allclose(changed, image)


def test_without_anything_asked_the_values_stay() -> None:
    image, _ = pair((8, 8))
    np.testing.assert_array_equal(recoloured(image, Augment(), np.random.default_rng(0)), image)
