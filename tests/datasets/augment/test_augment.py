"""Image and label move together: the image carries its address, the label follows from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seg_batch.config.recipe import Augment
from seg_batch.core.geometry import Shape
from seg_batch.datasets.augment.deformation import Warp, displacement, random_warp, rotation
from seg_batch.datasets.augment.intensity import blurred, coarser, dropped, vary_intensity
from seg_batch.datasets.augment.spatial import (
    CropPlace,
    crop,
    cutmix,
    flipped,
    mixed_box,
    place_crop,
    turned,
    vary_space,
)
from tests.support.training.pairs import addresses, class_of

SHAPES: list[Any] = [((40, 36), (24, 24)), ((20, 22, 18), (12, 12, 12))]
BENT: dict[str, Any] = {"rotate_degrees": 25, "scale": 0.2, "elastic": 1.5, "elastic_smooth": 6}
COLOURS: dict[str, Any] = {
    "gain": 0.1,
    "shift": 0.1,
    "gamma": 0.2,
    "noise": 0.1,
    "blur": 0.8,
    "low_resolution": 2,
}
IGNORE = 255


def pair(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The address of each voxel and the class that belongs to it."""
    address = addresses(shape)
    return address[..., None], class_of(address).astype(np.uint8)


def placed(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The image holds its own coordinates, which linear interpolation keeps; labels 0, 5, ignore."""
    places = np.moveaxis(np.indices(shape), 0, -1).astype(np.float32)
    labels = np.array([0, 5, IGNORE], np.uint8)
    return places, labels[(places.sum(-1).astype(int) // 3 + places[..., 0].astype(int)) % 3]


def varied(
    image: np.ndarray, label: np.ndarray, patch: Shape, how: Augment, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A crop at a random place, as ``Samples`` varies it."""
    image, label = vary_space(image, label, place_crop(label.shape, patch, how, rng), how, rng)
    return vary_intensity(image, how, rng), label


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
@pytest.mark.parametrize("seed", range(8))
def test_mirrored_turned_and_cropped_pairs_stay_pairs(shape: Any, patch: Any, seed: int) -> None:
    axes = tuple(range(len(shape)))
    how = Augment(flip=axes, quarter_turns=(axes[-2], axes[-1]))
    image, label = varied(*pair(shape), patch, how, np.random.default_rng(seed))
    assert (image.shape, image.dtype) == ((*patch, 1), np.float32)
    assert (label.shape, label.dtype) == (patch, np.uint8)
    np.testing.assert_array_equal(class_of(image[..., 0]), label)
    assert len(np.unique(image)) == image.size, "a crop shows each voxel once"


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
@pytest.mark.parametrize("seed", range(8))
def test_a_warped_label_is_that_of_the_nearest_voxel(shape: Any, patch: Any, seed: int) -> None:
    axes = tuple(range(len(shape)))
    how = Augment(flip=axes, quarter_turns=axes[-2:], crop_shift=2, **BENT)
    source, labels = placed(shape)
    image, label = varied(source, labels, patch, how, np.random.default_rng(seed))
    nearest = np.rint(image).astype(int)
    sure = (np.abs(image - nearest) < 0.49).all(-1)  # halves may fall on either side
    assert sure.mean() > 0.8
    expected = labels[tuple(np.moveaxis(nearest, -1, 0))]
    np.testing.assert_array_equal(label[sure], expected[sure])
    assert set(np.unique(label)) <= {0, 5, IGNORE}, "labels are never blended"


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
@pytest.mark.parametrize("seed", range(25))
def test_a_wanted_voxel_is_in_the_crop_however_it_is_warped(
    shape: Any, patch: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    voxel = tuple(int(rng.integers(n)) for n in shape)
    label = np.zeros(shape, np.uint8)
    label[voxel] = 1
    far = {"rotate_degrees": 180, "scale": 0.1, "elastic": 4, "warped": 0.7}
    how = Augment(flip=(0,), quarter_turns=(0, 1), crop_shift=3, **far)
    at = place_crop(shape, patch, how, rng, voxel)
    assert vary_space(np.zeros((*shape, 1), np.float32), label, at, how, rng)[1].any()


def test_crops_that_contain_a_voxel_are_all_as_likely() -> None:
    rng = np.random.default_rng(0)
    starts = [place_crop((10,), (4,), Augment(), rng, (5,)).start[0] for _ in range(4000)]
    values, counts = np.unique(starts, return_counts=True)
    np.testing.assert_array_equal(values, [2, 3, 4, 5])
    np.testing.assert_allclose(counts / 4000, 0.25, atol=0.03)


def test_a_crop_beyond_the_tile_is_mirrored_there() -> None:
    image, label = pair((12, 9))
    padded = np.pad(label, 3, "reflect")
    for start in [(-3, -3), (-2, 4), (5, 0), (4, 4)]:
        expected = padded[start[0] + 3 : start[0] + 11, start[1] + 3 : start[1] + 11]
        at = CropPlace(start, (8, 8))
        np.testing.assert_array_equal(crop(label, at), expected)
        np.testing.assert_array_equal(class_of(crop(image, at)[..., 0]), expected)


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
def test_nothing_asked_for_changes_nothing(shape: Any, patch: Any) -> None:
    image, label = pair(shape)
    same, also = varied(image, label, shape, Augment(), np.random.default_rng(0))
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(also, label)
    still = Warp(patch, np.eye(len(shape))).seen_from((3,) * len(shape))
    where = np.moveaxis(np.indices(patch) + 3, 0, -1)
    np.testing.assert_allclose(np.moveaxis(still.coordinates(), 0, -1), where, atol=1e-5)


@pytest.mark.parametrize("patch", [(9, 12), (6, 7, 5)])
def test_coordinates_of_all_voxels_are_those_of_each(patch: Any) -> None:
    found = random_warp(patch, Augment(**BENT), np.random.default_rng(2)).seen_from(
        (4,) * len(patch)
    )
    one_by_one = [found.of(voxel) for voxel in np.ndindex(patch)]
    every = found.coordinates().reshape(len(patch), -1).T
    np.testing.assert_allclose(every, one_by_one, atol=1e-4)


@pytest.mark.parametrize("rank", [2, 3])
def test_a_rotation_is_one_also_in_millimetres(rank: int) -> None:
    matrix = rotation(rank, 30, np.random.default_rng(1))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(rank), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)
    assert not np.allclose(matrix, np.eye(rank))
    sides = np.array([3.0, 1.0, 0.5])[:rank]
    how = Augment(rotate_degrees=30)
    bent = random_warp((8,) * rank, how, np.random.default_rng(1), tuple(sides)).matrix
    np.testing.assert_allclose(np.diag(sides) @ bent @ np.diag(1 / sides), matrix, atol=1e-12)


def test_elastic_displacement_has_the_deviation_and_the_correlation_it_says() -> None:
    length, rng = 5, np.random.default_rng(0)
    field = np.stack([displacement((40, 40), length, rng) for _ in range(150)])
    assert np.abs(field.mean(0)).max() < 0.5
    np.testing.assert_allclose(field.std(0), 1, atol=0.3)  # also at the border: no fading
    assert field.std() == pytest.approx(1, abs=0.02)
    for away in (2, 5, 8):
        expected = np.exp(-((away / length) ** 2))
        along = (field[..., away:] * field[..., :-away]).mean()
        across = (field[:, :, away:] * field[:, :, :-away]).mean()
        assert (along, across) == pytest.approx((expected, expected), abs=0.03)
    assert abs((field[:, 0] * field[:, 1]).mean()) < 0.03, "axes move by themselves"


def test_four_quarter_turns_and_two_flips_are_none() -> None:
    image, label = pair((16, 16))
    four, two = (image, label), (image, label)
    for _ in range(4):
        four = turned(*four, (0, 1), 1)
    for _ in range(2):
        two = flipped(*two, 1)
    for a, b, c in zip(four, two, (image, label), strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, c)


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
def test_the_same_seed_gives_the_same_pair_and_inputs_stay(shape: Any, patch: Any) -> None:
    how = Augment(flip=(0,), quarter_turns=(0, 1), drop_band=0.5, **BENT, **COLOURS)
    image, labels = placed(shape)
    image.flags.writeable = labels.flags.writeable = False  # writing to them would raise
    one, two, other = (
        varied(image, labels, patch, how, np.random.default_rng(s)) for s in (1, 1, 2)
    )
    for a, b, c in zip(one, two, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
    assert (one[0].dtype, one[0].shape) == (np.float32, (*patch, len(shape)))
    assert (one[1].dtype, one[1].shape) == (np.uint8, patch)
    still = vary_intensity(image, Augment(), np.random.default_rng(0))
    assert not np.shares_memory(still, image), "a cached patch must not be handed out"


@pytest.mark.parametrize("name", COLOURS)
def test_each_colour_changes_values_and_no_label(name: str) -> None:
    image, label = pair((24, 24))
    image = image / image.max() - 0.5
    how, hits = Augment(**{name: COLOURS[name]}), 0
    for seed in range(12):
        changed, kept = varied(image, label, (24, 24), how, np.random.default_rng(seed))
        np.testing.assert_array_equal(kept, label)
        assert changed.dtype == np.float32
        assert np.isfinite(changed).all()
        hits += not np.array_equal(changed, image)
    assert hits == 12 if name in ("gain", "shift", "noise") else 0 < hits < 12


@pytest.mark.parametrize("shape", [(24, 30, 3), (12, 10, 14, 1)])
def test_blur_and_a_coarser_grid_keep_place_and_mean(shape: Any) -> None:
    rng = np.random.default_rng(0)
    image, ramp = rng.standard_normal(shape, np.float32), np.empty(shape, np.float32)
    ramp[...] = (
        np.arange(shape[1])[:, None] if len(shape) == 3 else np.arange(shape[1])[:, None, None]
    )
    inside = (slice(None), slice(4, -4))
    for change in (lambda v: blurred(v, 1.2), lambda v: coarser(v, 2.0)):
        np.testing.assert_allclose(change(ramp)[inside], ramp[inside], atol=0.35)
        assert change(image).std() < 0.8 * image.std()
        np.testing.assert_allclose(change(np.full(shape, 3, np.float32)), 3, rtol=1e-5)
    np.testing.assert_array_equal(coarser(image, 1.0), image)


def test_a_dropped_band_is_constant_and_alone() -> None:
    image = np.random.default_rng(0).standard_normal((8, 8, 3), np.float32)
    found = dropped(image, 1)
    np.testing.assert_allclose(found[..., 1], image[..., 1].mean(), rtol=1e-5)
    np.testing.assert_array_equal(found[..., [0, 2]], image[..., [0, 2]])
    np.testing.assert_array_equal(dropped(image[..., :1], 0), image[..., :1])


@pytest.mark.parametrize("shape", [(16, 20), (8, 10, 12)])
def test_cutmix_takes_every_voxel_with_its_label_from_one_of_two(shape: Any) -> None:
    (image, label), rng = pair(shape), np.random.default_rng(4)
    other = (-image, np.full(shape, IGNORE, np.uint8))
    shares = []
    for _ in range(300):
        found, labels = cutmix((image, label), other, mixed_box(shape, rng))
        there = labels == IGNORE
        np.testing.assert_array_equal(found, np.where(there[..., None], -image, image))
        np.testing.assert_array_equal(labels[~there], label[~there])
        shares.append(there.mean())
    assert min(shares) < 0.05
    assert max(shares) > 0.6
    assert 0.15 < np.mean(shares) < 0.5
