"""The dataset: cut as predict cuts, nothing held out touched, bad pairs refused, all or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.config.recipe import Recipe
from seg_batch.core.errors import InputError, OutputError
from seg_batch.core.geometry import Box
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.layout import grid_of, part_code
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.datasets.samples import Samples
from tests.support.files import write_raster
from tests.support.training.pairs import (
    IDS,
    addresses,
    class_of,
    moved,
    scene_pair,
    scene_recipe,
    volume_recipe,
    volumes,
)

HELD: dict[str, Any] = {
    "hold_out": {
        "test": {"boxes": [[[60, 0], [110, 130]]]},
        "validation": {"boxes": [[[0, 90], [40, 130]]]},
        "gap": 0,
    }
}


def cut_scene(folder: Path, recipe: Recipe, **options: Any) -> PatchSet:
    make_patches([scene_pair(folder)], folder / "d.zarr", recipe, cluster="inline", **options)
    return PatchSet(folder / "d.zarr")


def test_every_patch_is_its_tile_and_its_label_its_image(tmp_path: Path) -> None:
    patches = cut_scene(tmp_path, scene_recipe())
    address = addresses((150, 130))
    assert len(patches.rows("training")) == len(grid_of((150, 130), patches.recipe))
    for row in patches.rows("training"):
        image, label = patches.read(row)
        box = tuple(slice(a, a + p) for a, p in zip(patches.start[row], (40, 40), strict=True))
        np.testing.assert_array_equal(image[..., 0], address[box])
        np.testing.assert_array_equal(label, class_of(image[..., 0]))
        np.testing.assert_array_equal(patches.histogram[row], np.bincount(label.ravel()))


def test_no_training_tile_shows_a_held_out_voxel(tmp_path: Path) -> None:
    patches = cut_scene(tmp_path, scene_recipe(**HELD))
    held = np.zeros((150, 130), bool)
    held[60:110], held[0:40, 90:130] = True, True
    forbidden = addresses((150, 130))[held]
    rows = patches.rows("training")
    assert len(rows) > 0
    for row in rows:
        assert not np.isin(patches.read(row)[0], forbidden).any()
    for row in patches.rows("test"):
        assert np.isin(patches.read(row)[0], addresses((150, 130))[60:110]).all()
    samples = Samples(patches, patches.recipe.changed(augment={"flip": [0, 1], "crop_shift": 9}))
    for k in range(40):
        assert not np.isin(samples(k)[0], forbidden).any()


def test_numbers_of_normalisation_see_no_held_out_voxel(tmp_path: Path) -> None:
    recipe = scene_recipe(**HELD)
    card = recipe.card.model_copy(update={"normalisation": "card"})
    patches = cut_scene(tmp_path, recipe.model_copy(update={"card": card}))
    seen = np.ones((150, 130), bool)
    seen[60:110], seen[0:40, 90:130] = False, False
    values = addresses((150, 130))[seen].astype(np.float64)
    assert patches.normaliser.mean == pytest.approx((values.mean(),))
    assert patches.normaliser.std == pytest.approx((values.std(),))


def test_held_out_regions_come_whole_with_what_their_tiles_reach(tmp_path: Path) -> None:
    patches = cut_scene(tmp_path, scene_recipe(**HELD))
    (region,) = patches.held("test")
    assert region.box == Box((60, 0), (110, 130))
    assert region.window == Box((28, 0), (142, 130))
    np.testing.assert_array_equal(
        region.read(region.window).values[..., 0], addresses((150, 130))[28:142]
    )
    labels, valid = region.truth(region.box)
    assert valid.all()
    np.testing.assert_array_equal(labels, class_of(addresses((150, 130))[60:110]))
    (region,) = patches.held("validation")
    assert region.box == Box((0, 90), (40, 130))


def test_part_of_a_tile() -> None:
    held = [("test", Box((10, 0), (20, 9))), ("validation", Box((20, 0), (30, 9)))]
    assert part_code(Box((0, 0), (10, 9)), held) == 0
    assert part_code(Box((12, 0), (20, 9)), held) == 2
    assert part_code(Box((21, 0), (30, 9)), held) == 1
    assert part_code(Box((9, 0), (12, 9)), held) == 255
    assert part_code(Box((15, 0), (25, 9)), held) == 255


def test_nodata_and_ignored_values_train_nothing(tmp_path: Path) -> None:
    address = addresses((60, 60))
    address[:20, :20] = -1
    labels = IDS[class_of(addresses((60, 60)))].astype(np.uint8)
    labels[30:, :], labels[25, :] = 255, 99
    image = write_raster(tmp_path / "i.tif", address[None], nodata=-1)
    label = write_raster(tmp_path / "l.tif", labels[None], nodata=255)
    cut = {"patch": [20, 20], "overlap": [0, 0], "ignore": [99]}
    recipe = scene_recipe(cut=cut, fit={"patch": [16, 16]})
    make_patches([f"{image}={label}"], tmp_path / "d.zarr", recipe, cluster="inline")
    patches = PatchSet(tmp_path / "d.zarr")
    rows = patches.rows("training")
    starts = {tuple(start) for start in patches.start[rows].tolist()}
    assert (0, 0) not in starts, "a tile without data is not used"
    assert all(a < 40 for a, _ in starts), "nor one without labels"
    assert patches.histogram[rows].sum() == 29 * 60 - 400 - 60 + 60
    samples = Samples(patches, recipe)
    for x, labels, valid in map(samples, range(8)):
        assert x.dtype == np.float32
        assert labels.max() < 3
        assert (class_of(x[..., 0])[valid] == labels[valid]).all()


def test_cases_are_held_out_whole_and_turned_to_the_orientation(tmp_path: Path) -> None:
    folder = volumes(tmp_path / "v", 4)
    made = make_patches([str(folder)], tmp_path / "d.zarr", volume_recipe(), cluster="inline")
    assert made["patches"] == {"training": 2, "validation": 1, "test": 1, "not_used": 0}
    patches = PatchSet(tmp_path / "d.zarr")
    assert [region.case for region in patches.held("test")] == ["case_2"]
    assert [case["held_out"] for case in patches.cases] == [None, "validation", "test", None]
    image, _ = patches.read(int(patches.rows("training")[0]))
    from nibabel import load

    stored = np.asarray(
        load(folder / "images" / "case_0.nii.gz").dataobj
    )  # LAS: x runs to the left
    view = stored[::-1].transpose(2, 1, 0)
    expected = (view - view.mean()) / view.std()
    np.testing.assert_allclose(image[:20, :22, :18, 0], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("profile", "said"),
    [({"transform": moved()}, "voxels apart"), ({"crs": "EPSG:26912"}, "NAD83 / UTM zone 12N")],
)
def test_a_label_on_another_grid_is_refused(tmp_path: Path, profile: Any, said: str) -> None:
    pair = scene_pair(tmp_path, **profile)
    with pytest.raises(InputError, match=said) as caught:
        make_patches([pair], tmp_path / "d.zarr", scene_recipe(), cluster="inline")
    assert "\n" not in caught.value.message
    assert {p.name for p in tmp_path.iterdir()} == {"image.tif", "label.tif"}


def test_the_real_label_on_another_grid_is_refused(tmp_path: Path, data: Path) -> None:
    folder = data / "zion_landsat8_nlcd"
    pair = f"{folder / 'landsat8_b2345.tif'}={folder / 'other_grid_nlcd.tif'}"
    recipe = Path(__file__).resolve().parents[2] / "workflows" / "landsat8-landcover.yaml"
    with pytest.raises(InputError, match=r"extent .* against .*NAD83"):
        make_patches([pair], tmp_path / "d.zarr", recipe)
    assert list(tmp_path.iterdir()) == []


def test_unknown_labels_are_named_and_nothing_is_left(tmp_path: Path) -> None:
    recipe = scene_recipe()
    classes = recipe.card.classes[:2]
    recipe = recipe.model_copy(update={"card": recipe.card.model_copy(update={"classes": classes})})
    with pytest.raises(InputError, match=r"no class of the recipe \(5, "):
        make_patches([scene_pair(tmp_path)], tmp_path / "d.zarr", recipe, cluster="inline")
    assert {p.name for p in tmp_path.iterdir()} == {"image.tif", "label.tif"}


def test_what_stands_at_the_output_stays(tmp_path: Path) -> None:
    (tmp_path / "d.zarr").mkdir()
    (tmp_path / "d.zarr" / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="exists"):
            make_patches(["a=b"], tmp_path / "d.zarr", scene_recipe(), overwrite=overwrite)
    assert (tmp_path / "d.zarr" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("given", [["nothing"], [], ["a="], ["a.tif=b.tif", "c/a.tif=d.tif"]])
def test_what_is_no_pair_is_refused(tmp_path: Path, given: list[str]) -> None:
    with pytest.raises(InputError, match="pair"):
        make_patches(given, tmp_path / "d.zarr", scene_recipe())


def test_a_csv_names_pairs_and_cases(tmp_path: Path) -> None:
    scene_pair(tmp_path)
    (tmp_path / "pairs.csv").write_text("image,label,case\nimage.tif,label.tif,zion\n")
    make_patches([str(tmp_path / "pairs.csv")], tmp_path / "d.zarr", scene_recipe())
    assert PatchSet(tmp_path / "d.zarr").cases[0]["case"] == "zion"


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no patch dataset"):
        PatchSet(tmp_path / "none.zarr")
    with pytest.raises(InputError, match="no patch dataset"):
        PatchSet(tmp_path)
