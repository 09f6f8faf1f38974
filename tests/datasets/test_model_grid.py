"""Images of unequal voxels give patches on one grid, labels with them; equal ones stay as they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.transform import Affine

from seg_batch.config.image_options.grid import GridOptions
from seg_batch.config.recipe.reading import recipe_of
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.pairs import axes_of, check_pair, find_pairs, open_pair
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.datasets.plan import plan_dataset
from seg_batch.datasets.trained_on import card_fields
from seg_batch.evaluation.dataset_card import require_card
from seg_batch.io.sources.views.image_spec import ImageSpec
from seg_batch.io.sources.views.open_view import open_view
from seg_batch.training.measure_dataset import advise_recipe
from tests.support.files import write_raster, write_volume
from tests.support.training.recipes import plain_recipe, recipe

SIDES_MM = (24, 36, 30)  # z, y, x
MIDDLE = np.array([11.0, 19.0, 14.0])
CLASSES = [
    {"id": 0, "name": "none", "colour": [0, 0, 0]},
    {"id": 4, "name": "ball", "colour": [9, 9, 9]},
]
ON_GRID: dict[str, Any] = {"spacing_mm": [1, 1, 1], "classes": CLASSES, "patch": [16, 16, 16]}


def phantom(
    folder: Path, name: str, spacing: tuple[float, float, float], turned: bool = False
) -> str:
    """``image=label`` of one ball in millimetres, ``z, y, x``; ``turned``: stored with x and y swapped and z downwards."""
    shape = [round(n / s) for n, s in zip(SIDES_MM, spacing, strict=True)]
    places = [(np.arange(n) + 0.5) * s for n, s in zip(shape, spacing, strict=True)]
    away = np.sqrt(
        sum(
            np.square(p - m).reshape([-1 if a == k else 1 for a in range(3)])
            for k, (p, m) in enumerate(zip(places, MIDDLE, strict=True))
        )
    )
    affine = np.diag([*spacing[::-1], 1.0])
    affine[:3, 3] = np.array(spacing[::-1]) / 2
    image, label = (
        (100 * np.exp(-((away / 10) ** 2))).astype(np.float32).T,
        (away < 8).astype(np.uint8).T * 4,
    )
    if turned:
        image, label = (v.transpose(1, 0, 2)[:, :, ::-1] for v in (image, label))
        affine = affine[:, [1, 0, 2, 3]]
        affine[:3, 3] += affine[:3, 2] * (image.shape[2] - 1)
        affine[:3, 2] *= -1
    paths = [
        write_volume(folder / f"{name}_{k}.nii.gz", v, affine)
        for k, v in (("image", image), ("label", label))
    ]
    return "=".join(map(str, paths))


def view_of(pair: str, **card: Any) -> tuple[Any, ...]:
    """Image and label on the grid of a recipe, and the extent of the file in its axes."""
    axes = axes_of(recipe(3, card={**ON_GRID, **card}))
    with open_pair(find_pairs([pair]).pairs[0], axes) as (image, label):
        box = Box.whole(image.info.extent)
        return image.read(box).values[..., 0], label.read(box).values[..., 0], image.coarse.extent


@pytest.mark.parametrize("spacing", [(2.0, 1.0, 0.5), (1.0, 1.5, 2.0), (4.0, 1.0, 1.0)])
def test_image_and_label_come_to_one_grid_however_they_are_stored(
    tmp_path: Path, spacing: tuple[float, float, float]
) -> None:
    image, label, _ = view_of(phantom(tmp_path, "a", (1, 1, 1)))
    seen, truth, file = view_of(phantom(tmp_path, "b", spacing))
    assert seen.shape == truth.shape == image.shape == SIDES_MM != file
    assert np.abs(seen - image).mean() < (4 if max(spacing) > 3 * min(spacing) else 0.3), (
        "nearest across thick slices"
    )
    assert (truth == label).mean() > 0.98
    assert {*np.unique(truth)} == {0, 4}
    turned, mirrored, _ = view_of(phantom(tmp_path, "c", spacing, turned=True))
    np.testing.assert_allclose(turned, seen, atol=1e-3)
    assert (mirrored == truth).mean() > 0.999


def test_the_slices_of_a_model_in_two_dimensions_stay_slices(tmp_path: Path) -> None:
    flat = {"rank": 2, "patch": [16, 16], "overlap": [8, 8], "spacing_mm": [3, 1, 1]}
    plain = plain_recipe(3, card={**ON_GRID, **flat}, cut={"patch": [16, 16], "overlap": [4, 4]})
    axes = axes_of(recipe_of(plain, "test"))
    with open_pair(find_pairs([phantom(tmp_path, "a", (2.0, 0.5, 1.0))]).pairs[0], axes) as (a, b):
        assert a.info.extent == b.info.extent == (12, 36, 30)


@pytest.mark.full
def test_a_dataset_of_unequal_volumes_is_of_one_grid(tmp_path: Path) -> None:
    pairs = [
        phantom(tmp_path, name, s)
        for name, s in (("a", (1, 1, 1)), ("b", (2, 1, 0.5)), ("c", (1.01, 1, 1)))
    ]
    held = {
        "validation": {"boxes": [[[0, 0, 0], [24, 10, 30]]]},
        "test": {"cases": ["c_image"]},
        "gap": 2,
    }
    made = recipe(3, card=ON_GRID, cut={"patch": [16] * 3, "overlap": [8] * 3}, hold_out=held)
    make_patches(pairs, tmp_path / "d.zarr", made, cluster="inline")
    patches = PatchSet(tmp_path / "d.zarr")
    assert [case["extent"] for case in patches.cases] == [list(SIDES_MM)] * 3
    assert ["grid" in case["identities"] for case in patches.cases] == [False, True, False]
    shares = [
        (patches.histogram[patches.case == k, 1].sum() / patches.histogram[patches.case == k].sum())
        for k in (0, 1)
    ]
    assert shares[0] == pytest.approx(shares[1], rel=0.05)
    region = {r.case: r for r in patches.held("validation")}["b_image"]
    assert (region.box.shape, region.extent) == ((24, 10, 30), SIDES_MM)
    seen = [case["seen"] for case in patches.cases]
    assert seen[1]["spacing_mm"] == pytest.approx([2, 1, 0.5]), "of the file"
    assert seen[1]["volumes_ml"] == pytest.approx(seen[0]["volumes_ml"], rel=0.06)
    fields = card_fields(made.card, seen)
    assert fields["spacing_mm"] == (1, 1, 1)
    assert fields["spacing_range_mm"][0] == pytest.approx((1 / 1.5, 2 * 1.5))
    as_stored = made.card.model_copy(update={"spacing_mm": None})
    assert card_fields(as_stored, seen)["spacing_mm"] is None, "no size was seen by all"
    assert card_fields(as_stored, seen[:1])["spacing_mm"] == pytest.approx((1, 1, 1))
    card = made.card.card()
    require_card(patches, card)
    with pytest.raises(InputError, match="other voxel size"):
        require_card(patches, card.model_copy(update={"spacing_mm": (2.0, 1.0, 1.0)}))


def test_rasters_come_to_the_pixel_of_the_recipe(tmp_path: Path) -> None:
    y, x = np.indices((60, 80))
    fine, ids = (y + x)[None].astype("uint16"), np.where(x < 40, 1, 7)[None].astype("uint8")
    pairs = []
    for k, size in (("a", 1), ("b", 2)):
        place = {"transform": Affine(15 * size, 0, 301905, 0, -15 * size, 4154085)}
        pairs.append(
            "=".join(
                str(write_raster(tmp_path / f"{k}{w}.tif", v[:, ::size, ::size], **place))
                for w, v in (("i", fine), ("l", ids))
            )
        )
    made = recipe(2, card={"pixel_m": 30.0})
    views = []
    for pair in find_pairs(pairs).pairs:
        with open_pair(pair, axes_of(made)) as (image, label):
            assert image.info.extent == label.info.extent == (30, 40)
            views.append(label.read(Box.whole((30, 40))).values)
    np.testing.assert_array_equal(*views)


def test_where_nothing_is_resampled_the_identity_stays(tmp_path: Path) -> None:
    pair = phantom(tmp_path, "a", (1, 1, 1))
    prints = []
    for card in ({}, {"resampling": {"up": "linear"}}, {"resampling": {"tolerance": 0.1}}):
        plan = plan_dataset([pair], recipe(3, card={**ON_GRID, **card}), None, 1 << 20)
        prints.append(json.dumps(plan.fingerprint, sort_keys=True, default=str))
    assert len({*prints}) == 1
    other = phantom(tmp_path, "b", (2, 1, 1))
    rules = [{}, {"resampling": {"up": "linear"}}]
    plans = [plan_dataset([other], recipe(3, card={**ON_GRID, **r}), None, 1 << 20) for r in rules]
    assert plans[0].fingerprint != plans[1].fingerprint


def test_a_label_of_another_grid_is_refused_before_it_is_resampled(tmp_path: Path) -> None:
    image = phantom(tmp_path, "a", (2, 1, 1)).partition("=")[0]
    label = phantom(tmp_path, "b", (1, 1, 1)).partition("=")[2]
    pair = find_pairs([f"{image}={label}"]).pairs[0]
    with pytest.raises(InputError, match="not on the grid"):
        check_pair(pair, recipe(3, card=ON_GRID))
    assert check_pair(pair, recipe(3, card=ON_GRID), "nearest").extent == SIDES_MM


@pytest.mark.parametrize(
    "card",
    [
        {"spacing_mm": [0, 1, 1]},
        {"spacing_mm": [1, -1, 1]},
        {"spacing_mm": [1, 1]},
        {"spacing_mm": [1, 1, float("inf")]},
    ],
)
def test_an_impossible_spacing_is_refused(card: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="spacing_mm"):
        recipe_of(plain_recipe(3, card={**ON_GRID, **card}), "test")
    with pytest.raises(InputError, match="pixel_m"):
        recipe_of(plain_recipe(2, card={"pixel_m": 0}), "test")


def test_a_grid_far_from_an_image_is_refused_before_work(tmp_path: Path) -> None:
    pair = phantom(tmp_path, "a", (1, 1, 1))
    for sizes in ([0.2, 0.2, 0.2], [20, 1, 1], [1e-6, 1e-6, 1e-6], [1, 1, 1e9]):
        with pytest.raises(InputError, match=r"a_image.* give a size nearer"):
            check_pair(
                find_pairs([pair]).pairs[0], recipe(3, card={**ON_GRID, "spacing_mm": sizes})
            )
    for side in (0.2, 5e-324):
        with pytest.raises(InputError, match="give a size nearer"):
            advise_recipe([pair], own={"card": {"spacing_mm": [side] * 3}})
    raster, truth = (
        write_raster(tmp_path / n, np.ones((1, 64, 64), "u1")) for n in ("r.tif", "l.tif")
    )
    for side, why in ((1e-3, "more than any machine"), (3e4, "a single voxel")):
        with pytest.raises(InputError, match=why):
            check_pair(
                find_pairs([f"{raster}={truth}"]).pairs[0], recipe(2, card={"pixel_m": side})
            )


@pytest.mark.parametrize(
    "spacing", [(5e-4, 2e-4, 2e-4), (3e-8, 4e-9, 4e-9), (6, 0.1, 0.1), (1500, 1500, 1500)]
)
def test_files_of_any_voxel_size_are_trained_on(tmp_path: Path, spacing: tuple[float, ...]) -> None:
    affine = np.diag([*spacing[::-1], 1.0])
    label = (np.indices((24, 26, 12)).sum(0) % 7 < 3).astype(np.uint8)
    pairs = []
    for k in range(3):
        image = write_volume(tmp_path / f"i{k}.nii.gz", label * np.float32(90 + k), affine)
        pairs.append(f"{image}={write_volume(tmp_path / f'l{k}.nii.gz', label, affine)}")
    plain, _ = advise_recipe(pairs)
    made = recipe_of(plain, "advice")
    assert made.card.spacing_mm == pytest.approx(spacing, rel=1e-5)
    assert check_pair(find_pairs(pairs[:1]).pairs[0], made).extent == (12, 26, 24)


def test_held_out_boxes_come_back_to_the_voxels_of_a_file(tmp_path: Path) -> None:
    image = phantom(tmp_path, "a", (2.0, 1.0, 0.5)).partition("=")[0]
    axes = replace(axes_of(recipe(3, card=ON_GRID)), channels=None)
    with open_view(ImageSpec((image,), grid=GridOptions()), axes) as view:
        assert view.info.extent == (12, 36, 60)
        assert view.grid is not None
        assert view.grid.inside(Box((4, 5, 6), (10, 9, 8))) == Box((2, 5, 12), (5, 9, 16))
        assert view.grid.inside(Box((3, 0, 0), (9, 36, 30))) == Box((2, 0, 0), (4, 36, 60))
        assert view.grid.inside(Box((3, 0, 0), (4, 1, 1))).size == 0


def test_the_advice_counts_and_measures_on_the_grid_of_the_model(tmp_path: Path) -> None:
    pairs = [
        phantom(tmp_path, name, s)
        for name, s in (("a", (1, 1, 1)), ("b", (1, 1, 1)), ("c", (2, 1, 0.5)))
    ]
    plain, reasons = advise_recipe(pairs)
    why = {r.key: r.why for r in reasons if not r.warning}
    assert plain["card"]["spacing_mm"] == [1, 1, 1]
    assert "1 case of other voxels will be resampled" in why["card.spacing_mm"]
    assert plain["augment"]["thick_slices"] == 2
    boxes = [box for part in ("validation", "test") for box in plain["hold_out"][part]["boxes"]]
    assert all(stop[a] <= SIDES_MM[a] for _, stop in boxes for a in range(3))
    coarse, _ = advise_recipe(pairs, own={"card": {"spacing_mm": [2, 2, 2]}})
    assert max(coarse["card"]["patch"]) <= 24
    loose, why_loose = advise_recipe(
        pairs, own={"card": {"rank": 2, "resampling": {"tolerance": 0.5}}}
    )
    assert len(loose["card"]["patch"]) == 2
    assert {r.key: r.why for r in why_loose}["card.rank"] == "given"
    assert {r.key: r.why for r in why_loose}["card.spacing_mm"] == "the median of 3 cases"
    kept, _ = advise_recipe(pairs, own={"card": {"spacing_mm": [0, 2, 2]}})
    assert kept["card"]["spacing_mm"] == [1, 1, 1], (
        "what is none is refused where settings are checked"
    )
