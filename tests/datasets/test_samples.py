"""Sample k is a function of k; shares of the sampling are kept; rare classes are seen."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from seg_batch.config.recipe import Recipe
from seg_batch.config.recipe.augmentation import Sampling
from seg_batch.core.errors import InputError
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.datasets.samples import Samples
from tests.support.files import write_raster
from tests.support.training.pairs import IDS, addresses, scene_recipe

SIDE = 240
EVERYTHING: dict[str, Any] = {
    "flip": [0, 1],
    "quarter_turns": [0, 1],
    "rotate_degrees": 20,
    "scale": 0.1,
    "elastic": 1.0,
    "warped": 0.5,
    "crop_shift": 4,
    "gain": 0.1,
    "noise": 0.1,
    "low_resolution": 2,
    "thick_slices": 4,
    "cutmix": 0.3,
}


@pytest.fixture(scope="module")
def rare(tmp_path_factory: pytest.TempPathFactory) -> PatchSet:
    """A scene of half class 0, half class 1, the last rows hardly labelled, and 0.1 % of class 2 in a spot."""
    folder = tmp_path_factory.mktemp("rare")
    label = np.full((SIDE, SIDE), IDS[0], np.uint8)
    label[:, SIDE // 2 :] = IDS[1]
    label[100:107, 30:38] = IDS[2]
    label[-60:] = 255
    label[-60:, :12] = IDS[1]
    image = write_raster(folder / "image.tif", addresses((SIDE, SIDE))[None])
    truth = write_raster(folder / "label.tif", label[None])
    recipe = scene_recipe(cut={"patch": [40, 40], "overlap": [0, 0]})
    make_patches([f"{image}={truth}"], folder / "d.zarr", recipe)
    return PatchSet(folder / "d.zarr")


def samples(patches: PatchSet, **parts: Any) -> Samples:
    return Samples(patches, patches.recipe.changed(**parts))


def equal(one: Any, other: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_sample_is_the_same_again_in_any_order_from_any_thread(rare: PatchSet) -> None:
    parts = {"augment": EVERYTHING, "sampling": {"balance": 0.4, "foreground": 0.3}}
    numbers = [*range(40), 10**9]
    one = [samples(rare, **parts)(k) for k in numbers]
    made = samples(rare, **parts)
    with ThreadPoolExecutor(4) as pool:
        threads = list(pool.map(made, numbers))
    backwards = [made(k) for k in reversed(numbers)][::-1]
    for a, b, c in zip(one, threads, backwards, strict=True):
        assert equal(a, b)
        assert equal(a, c)
    assert not any(equal(a, b) for a, b in itertools.pairwise(one))
    other = samples(rare, **parts, fit={"seed": 1})
    assert not any(equal(one[k], other(k)) for k in range(10))


def test_a_sample_has_the_types_and_shapes_the_network_needs(rare: PatchSet) -> None:
    made = samples(rare, augment=EVERYTHING)
    for k in range(20):
        x, labels, valid = made(k)
        assert (x.dtype, x.shape) == (np.float32, (32, 32, 1))
        assert (labels.dtype, labels.shape) == (np.int32, (32, 32))
        assert (valid.dtype, valid.shape) == (np.bool_, (32, 32))
        assert x.flags.c_contiguous
        assert not labels[~valid].any()
        assert labels.max() < 3


def test_labels_belong_to_the_image_and_ignored_voxels_stay_ignored(rare: PatchSet) -> None:
    """Moved and mixed, but not blended: the image tells where each voxel comes from."""
    how = {"flip": [0, 1], "quarter_turns": [0, 1], "crop_shift": 5, "cutmix": 0.5}
    made = samples(rare, augment=how, sampling={"balance": 0.5})
    whole = np.full(SIDE * SIDE, -1)
    for row in made.rows:
        image, label = rare.read(int(row))
        whole[image[..., 0].astype(int).ravel()] = label.ravel()
    seen = 0
    for k in range(100):
        x, labels, valid = made(k)
        truth = whole[x[..., 0].astype(int)]
        np.testing.assert_array_equal(valid, truth != rare.ignore)
        np.testing.assert_array_equal(labels[valid], truth[valid])
        seen += not valid.all()
    assert seen, "some samples hold ignored voxels"


def test_an_even_draw_sees_each_row_once_an_epoch_in_another_order(rare: PatchSet) -> None:
    made = samples(rare, sampling={"balance": 0.0}, cut={}, fit={"patch": [40, 40]})
    orders = []
    for epoch in range(3):
        first = [made(epoch * made.epoch + i)[0].min() for i in range(made.epoch)]
        assert len(set(first)) == made.epoch
        orders.append(tuple(first))
    assert len(set(orders)) == 3
    assert {*orders[0]} == {*orders[1]} == {*orders[2]}


@pytest.mark.parametrize("augment", [{}, {**EVERYTHING, "warped": 1.0, "cutmix": 0.0}])
def test_a_class_of_a_thousandth_is_in_most_batches(rare: PatchSet, augment: Any) -> None:
    made = samples(rare, sampling={"balance": 0.5}, augment=augment)
    assert made.histogram[2] / made.histogram.sum() < 0.0015
    seen = [any((made(8 * b + i)[1] == 2).any() for i in range(8)) for b in range(25)]
    assert np.mean(seen) == 1.0
    plain = samples(rare, sampling={"balance": 0.0}, augment=augment)
    seldom = [any((plain(8 * b + i)[1] == 2).any() for i in range(8)) for b in range(25)]
    assert np.mean(seldom) < 0.6, "without balance it is rare"


@pytest.mark.parametrize(
    ("balance", "foreground"), [(0.3, 0.2), (0.0, 0.5), (1.0, 0.0), (0.1, 0.9)]
)
def test_shares_hold_in_every_stretch_of_samples(
    rare: PatchSet, balance: float, foreground: float
) -> None:
    """Counted by what a sample must show: one class, any in front, nothing in particular."""
    base = rare.recipe.changed(sampling={"balance": balance, "foreground": foreground})
    classes = [c.model_copy(update={"id": i}) for i, c in enumerate(base.card.classes)]
    card = base.card.model_copy(update={"classes": tuple(classes)})  # class 0 is now background
    made = Samples(rare, base.model_copy(update={"card": card}))
    drawn = [made._draw(k, np.random.default_rng(k))[1] for k in range(1000)]
    kinds = np.array([0 if w is None else len(w) for w in drawn])
    for lot in kinds.reshape(10, 100):
        assert abs((lot == 1).sum() - 100 * balance) <= 2
        assert abs((lot == 2).sum() - 100 * foreground) <= 2
    turns = np.bincount([int(w[0]) for w in drawn if w is not None and len(w) == 1], minlength=3)
    assert np.ptp(turns) <= 1
    assert all((w == [1, 2]).all() for w in drawn if w is not None and len(w) == 2)


def test_foreground_samples_show_foreground(rare: PatchSet) -> None:
    base = rare.recipe.changed(sampling={"balance": 0.0, "foreground": 1.0})
    classes = [c.model_copy(update={"id": (5, 0, 9)[i]}) for i, c in enumerate(base.card.classes)]
    card = base.card.model_copy(update={"classes": tuple(classes)})
    made = Samples(rare, base.model_copy(update={"card": card}))
    for k in range(40):
        _, labels, valid = made(k)
        assert (labels[valid] != 1).any()


def test_patches_with_few_labels_are_not_drawn(rare: PatchSet) -> None:
    shares = rare.histogram[rare.rows("training")].sum(1) / 1600
    assert (shares < 0.5).any(), "the scene has such"
    made = samples(rare, sampling={"min_valid": 0.5, "balance": 0.5})
    assert made.epoch == (shares >= 0.5).sum()
    np.testing.assert_array_equal(made.histogram, rare.histogram[made.rows].sum(0))
    assert made.histogram.dtype == np.int64
    drawn = {made._draw(k, np.random.default_rng(k))[0] for k in range(300)}
    assert drawn <= set(made.rows.tolist())


def test_a_sample_tells_where_it_is_from(rare: PatchSet) -> None:
    made = samples(rare, sampling={"balance": 0.5})
    for k in range(12):
        address = made(k)[0].astype(int)
        text = made.describe(k)
        case, _, tile = text.partition(", tile ")
        assert case == "case image"
        (y0, y1), (x0, x1) = ([int(n) for n in part.split(":")] for part in tile[1:-1].split(","))
        assert (y0 <= address // SIDE).all()
        assert (address // SIDE < y1).all()
        assert (x0 <= address % SIDE).all()
        assert (address % SIDE < x1).all()


def test_a_dataset_without_a_usable_patch_is_refused(rare: PatchSet) -> None:
    with pytest.raises(ValidationError, match="shares of the same"):
        Sampling(balance=0.7, foreground=0.4)
    rare_rows = PatchSet(rare.path)
    rare_rows.histogram = rare.histogram // 2
    with pytest.raises(InputError, match="lower sampling"):
        samples(rare_rows, sampling={"min_valid": 0.9})
    rare_rows.split = np.full_like(rare_rows.split, 2)
    with pytest.raises(InputError, match="no training patch"):
        samples(rare_rows)


def test_without_foreground_a_foreground_share_is_refused(rare: PatchSet) -> None:
    base: Recipe = rare.recipe.changed(sampling={"balance": 0.0, "foreground": 0.5})
    classes = [c.model_copy(update={"id": i}) for i, c in enumerate(base.card.classes)]
    card = base.card.model_copy(update={"classes": tuple(classes)})
    bare = PatchSet(rare.path)
    bare.histogram = bare.histogram * np.array([1, 0, 0])
    with pytest.raises(InputError, match="other than the background"):
        Samples(bare, base.model_copy(update={"card": card}))
