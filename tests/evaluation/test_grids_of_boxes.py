"""What is scored is what was held out: boxes of a card on any grid, datasets on the grid that they were cut on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import zarr
from rasterio.transform import Affine

from seg_batch.config.predict_options import PredictOptions
from seg_batch.config.recipe import Recipe
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.datasets.trained_on import card_fields
from seg_batch.evaluation.dataset_card import as_cut, require_card
from seg_batch.evaluation.evaluate import evaluate_bundle
from seg_batch.evaluation.held_out_cases import collect_cases
from tests.support.evaluation.label_files import CARD, IDS, labels, scene, thirds

HELD = [[20, 124], [148, 244]]  # in pixels of 15 m
IN_FILE = Box((10, 62), (74, 122))  # the same in those of 30 m
PART = {"cases": {"a_image": "boxes"}, "boxes": {"a_image": {"test": [HELD]}}}


def pair(folder: Path, name: str = "a", seed: int = 0, pixel_m: int = 30) -> str:
    files = scene(folder, name, seed)
    for path in files:
        with rasterio.open(path, "r+") as file:
            file.transform = Affine(pixel_m, 0, 301905, 0, -pixel_m, 4154085)
    return "{}={}".format(*files)


def card(**split: Any) -> Any:
    return CARD.model_copy(update={"pixel_m": 15.0, "split": {**PART, **split}})


def true_voxels(box: Box) -> list[int]:
    truth = labels((90, 130), 0)[0][box.slices((0, 0))]
    return [int((truth == k).sum()) for k in IDS]


ON_MODEL = {"grid": "model"}
OF_BEFORE = {"boxes": {"a_image": {"test": [[[10, 62], [74, 122]]]}}}


@pytest.mark.parametrize(
    ("split", "options"),
    [
        (ON_MODEL, PredictOptions(resample="never")),
        (ON_MODEL, PredictOptions(spacing=(45.0,), output_grid="model")),
        (OF_BEFORE, PredictOptions()),
    ],
)
def test_the_voxels_held_out_are_scored_on_whatever_grid_the_model_sees_them(
    tmp_path: Path, split: dict[str, Any], options: PredictOptions
) -> None:
    result = evaluate_bundle((card(**split), thirds), pair(tmp_path), options=options)
    assert np.sum(result["scores"]["confusion"], 1).tolist() == true_voxels(IN_FILE)


def test_a_box_without_a_whole_voxel_is_told_and_not_scored(tmp_path: Path) -> None:
    where, thin = pair(tmp_path), [[1, 0], [2, 40]]
    both = card(grid="model", boxes={"a_image": {"test": [HELD, thin]}})
    result = evaluate_bundle((both, thirds), where)
    assert np.sum(result["scores"]["confusion"], 1).tolist() == true_voxels(IN_FILE)
    assert any("no whole voxel" in line for line in result["warnings"])
    with pytest.raises(InputError, match=r"no whole voxel.*nothing to score"):
        evaluate_bundle((card(grid="model", boxes={"a_image": {"test": [thin]}}), thirds), where)


def made(folder: Path, pairs: list[str], **changes: Any) -> Path:
    fields = {"name", "kind", "rank", "channels", "classes", "patch", "overlap"}
    plain = {
        "card": {**CARD.model_dump(include=fields), "normalisation": "identity", **changes},
        "cut": {"patch": [32, 32], "overlap": [8, 8]},
        "hold_out": {"test": {"boxes": [[[10, 62], [74, 122]]]}, "gap": 0},
    }
    make_patches(pairs, folder / "d.zarr", Recipe.model_validate(plain), cluster="inline")
    return folder / "d.zarr"


def test_a_dataset_says_that_its_boxes_are_on_the_grid_of_the_model(tmp_path: Path) -> None:
    data = made(tmp_path, [pair(tmp_path, "a", 0, 30), pair(tmp_path, "b", 1, 15)], pixel_m=30.0)
    patches = PatchSet(data)
    assert patches.hold_out["grid"] == "model"
    assert as_cut(patches.recipe.card, patches.cases) == patches.recipe.card
    around = [
        [10, 60],
        [50, 70],
    ]  # holds [10, 62] to [45, 65] in pixels of 30 m, and less in those of the file
    split = {"cases": {"b_image": "boxes"}, "boxes": {"b_image": {"test": [around]}}}
    for grid, leaks in (({}, True), ({"grid": "model"}, False)):
        stated = CARD.model_copy(update={"pixel_m": 30.0, "split": {**split, **grid}})
        (case,) = (
            c
            for c in collect_cases(data, "test", stated, PredictOptions(), ()).cases
            if c.case == "b_image"
        )
        assert case.seen_by(stated) is leaks


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("spacing", PredictOptions(spacing=(30.0,))),
        ("resample", PredictOptions(resample="never")),
        ("alpha", PredictOptions(alpha="data")),
    ],
)
def test_what_a_dataset_was_cut_by_stays(
    tmp_path: Path, name: str, options: PredictOptions
) -> None:
    with pytest.raises(InputError, match=f"cut already, --{name} can't change it"):
        evaluate_bundle((CARD, thirds), tmp_path / "d.zarr", options=options)


def test_a_dataset_cut_from_unequal_files_as_they_are_has_no_voxel_size(tmp_path: Path) -> None:
    data = made(tmp_path, [pair(tmp_path, "a", 0, 30), pair(tmp_path, "b", 1, 15)])
    group = zarr.open_group(data, mode="r+")
    plain = PatchSet(data).recipe.changed(card={"pixel_m": 30.0})
    group.attrs["recipe"] = plain.model_dump_json()  # as the advice of before said it
    patches = PatchSet(data)
    draft = as_cut(patches.recipe.card, patches.cases)
    assert draft.pixel_m is None
    assert card_fields(draft, [case["seen"] for case in patches.cases])["pixel_m"] is None
    require_card(patches, CARD)
    for size in (30.0, 15.0):
        with pytest.raises(InputError, match="other voxel size"):
            require_card(patches, CARD.model_copy(update={"pixel_m": size}))
    equal = [case for case in patches.cases if case["case"] == "b_image"]
    fields = card_fields(as_cut(patches.recipe.card, equal), [case["seen"] for case in equal])
    assert fields["pixel_m"] == pytest.approx(15, rel=1e-3), "that of all files, not of the recipe"
