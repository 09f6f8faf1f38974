"""Patches to compare and to calibrate on are cut and normalised like what is predicted."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from seg_batch.config.card import ModelCard, Normalisation
from seg_batch.config.card_parts.channels import Channel
from seg_batch.conversion.sample_patches import (
    for_calibrating,
    for_comparing,
    held_part,
    is_dataset,
)
from seg_batch.core.errors import InputError
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.inference import bundles
from tests.support.training.pairs import (
    CASE,
    SCENE,
    addresses,
    scene_pair,
    scene_recipe,
    volume_recipe,
    volumes,
)

TEST = ((60, 40), (110, 100))


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, ModelCard]:
    """A dataset of the scene with a box held out, the scene, and the card."""
    folder = tmp_path_factory.mktemp("cut")
    recipe = scene_recipe(hold_out={"test": {"boxes": [TEST]}, "gap": 0})
    pair = scene_pair(folder)
    make_patches([pair], str(folder / "set.zarr"), recipe, cluster="inline")
    return folder / "set.zarr", Path(pair.split("=")[0]), recipe.card.card(None)


def corners(values: np.ndarray) -> list[tuple[int, int]]:
    """Where each patch of addresses lies; every voxel of it has to be in its place."""
    found = []
    for patch in values[..., 0].astype(int):
        y, x = divmod(int(patch[0, 0]), SCENE[1])
        whole = addresses(SCENE).astype(int)[y : y + len(patch), x : x + patch.shape[1]]
        np.testing.assert_array_equal(patch, whole)
        found.append((y, x))
    return found


def test_tiles_of_an_image_are_spread_over_it(cut: tuple[Path, Path, ModelCard]) -> None:
    _, image, card = cut
    found = for_comparing(card, 5, str(image))
    assert found.values.shape == (5, 32, 32, 1)
    assert found.values.dtype == np.float32
    places = corners(found.values)
    assert (places[0], places[-1]) == ((0, 0), (SCENE[0] - 32, SCENE[1] - 32))
    assert len(set(places)) == 5
    assert found.origin == "5 patches of image.tif"


def test_a_dataset_is_compared_on_what_it_holds_out(cut: tuple[Path, Path, ModelCard]) -> None:
    dataset, _, card = cut
    assert is_dataset(dataset)
    assert held_part(dataset) == "test"
    found = for_comparing(card, 4, str(dataset))
    for start in corners(found.values):
        for a, low, high in zip(start, *TEST, strict=True):
            assert a < high  # every tile reaches into the box
            assert low < a + 32


def test_calibration_sees_no_voxel_that_is_held_out(cut: tuple[Path, Path, ModelCard]) -> None:
    dataset, _, card = cut
    found = for_calibrating(card, 64, str(dataset))
    assert len(found.values) == len(PatchSet(dataset).rows("training"))
    (top, left), (bottom, right) = TEST
    for y, x in corners(found.values):
        assert y + 32 <= top or bottom <= y or x + 32 <= left or right <= x


def test_patches_smaller_than_the_model_wants_are_mirrored(tmp_path: Path) -> None:
    """And every volume is normalised by its own numbers, where the card says so."""
    make_patches(
        [str(volumes(tmp_path / "v", 3))], str(tmp_path / "set"), volume_recipe(), cluster="inline"
    )
    card = volume_recipe().card.card(None)
    found = for_calibrating(card, 8, str(tmp_path / "set")).values[0, ..., 0]
    z, y, x = CASE[::-1]
    np.testing.assert_array_equal(found[z:], found[2 * z - 24 : z][::-1])
    images = for_comparing(card, 3, str(tmp_path / "v" / "images")).values
    assert images.shape == (3, 24, 24, 24, 1)
    for one in images:
        assert abs(float(one[:z, :y, :x].mean())) < 1e-3


def test_numbers_that_differ_from_the_card_are_refused(tmp_path: Path) -> None:
    from seg_batch.config.recipe import Recipe

    plain = scene_recipe().model_dump(mode="json")
    plain["card"]["normalisation"] = "card"
    recipe = Recipe.model_validate(plain)
    make_patches([scene_pair(tmp_path)], str(tmp_path / "set"), recipe, cluster="inline")
    own = PatchSet(tmp_path / "set").normaliser
    card = recipe.card.card(own)
    assert len(for_calibrating(card, 2, str(tmp_path / "set")).values) == 2
    numbers = {**asdict(own), "mean": (1.0,)}
    other = card.model_copy(update={"normalisation": Normalisation(kind="card", **numbers)})
    with pytest.raises(InputError, match="normalised by other numbers"):
        for_calibrating(other, 2, str(tmp_path / "set"))


def test_packaged_samples_that_fit_are_the_default(tmp_path: Path) -> None:
    found = for_comparing(bundles.find_bundle("hippocampus-mri").card, 8, None)
    assert found.values.shape == (2, 48, 56, 48, 1)
    card = bundles.find_bundle("hippocampus-mri").card.model_copy(
        update={"channels": (Channel(name="T1"), Channel(name="T2"))}
    )
    with pytest.raises(InputError, match="--check"):
        for_comparing(card, 8, None)
    with pytest.raises(InputError, match="no raster and no volume"):
        for_comparing(card, 8, str(tmp_path))
