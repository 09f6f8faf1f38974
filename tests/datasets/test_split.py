"""Folds, gaps and the resolved split: every unit once, nothing of training near what is held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_batch.config.recipe.hold_out import Folds, HoldOut
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Blocks, Box, Grid, Shape
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.layout import part_code
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.datasets.split import resolve_split
from seg_batch.datasets.store import CODES
from tests.support.files import write_raster
from tests.support.strategies import boxes, grids
from tests.support.training.recipes import (
    IDS,
    addresses,
    class_indices,
    raster_pair,
    recipe,
    volume_pairs,
)


def near(extent: Shape, held: list[Box], gap: Shape) -> np.ndarray:
    """Slowly: bool, the voxels at most ``gap`` away from a held-out one, on every axis."""
    mask = np.zeros(extent, bool)
    for voxel in np.ndindex(*extent):
        for box in held:
            sides = zip(voxel, box.start, box.stop, gap, strict=True)
            mask[voxel] |= all(a - g <= v < b + g for v, a, b, g in sides)
    return mask


@st.composite
def gapped(draw: st.DrawFn) -> tuple[Grid, list[Box], Shape]:
    grid = draw(grids())
    held = draw(st.lists(boxes(grid.extent), max_size=3))
    return grid, held, tuple(draw(st.integers(0, 6)) for _ in grid.extent)


@settings(max_examples=60)
@given(gapped())
def test_a_training_tile_touches_neither_a_held_voxel_nor_its_gap(
    drawn: tuple[Grid, list[Box], Shape],
) -> None:
    grid, held, gap = drawn
    mask = near(grid.extent, [box for box in held if box.size], gap)
    named = [("test", box) for box in held if box.size]
    for tile in grid:
        inside = tile.box.intersection(Box.whole(grid.extent))
        training = part_code(inside, named, gap) == CODES["training"]
        assert training == (not mask[inside.slices()].any())


@given(
    st.integers(3, 6),
    st.sets(st.text("abc12", min_size=1, max_size=4), min_size=6, max_size=20),
    st.integers(0, 5),
)
def test_every_unit_is_tested_in_one_fold_and_validates_in_another(
    count: int, units: set[str], seed: int
) -> None:
    every = [Folds(count=count, fold=k, seed=seed).parts(units) for k in range(count)]
    for unit in units:
        parts = [fold[unit] for fold in every]
        assert sorted(parts) == ["test"] + ["training"] * (count - 2) + ["validation"]
    sizes = [sum(part == "test" for part in fold.values()) for fold in every]
    assert max(sizes) - min(sizes) <= 1
    assert [every[k][u] == "validation" for k in range(count) for u in units] == [
        every[(k + 1) % count][u] == "test" for k in range(count) for u in units
    ]


@settings(max_examples=40)
@given(st.tuples(st.integers(20, 60), st.integers(20, 60)), st.integers(5, 15), st.integers(0, 3))
def test_folds_of_a_scene_hold_out_whole_blocks(extent: Shape, side: int, seed: int) -> None:
    blocks = [block.box for block in Blocks(extent, (side, side))]
    tested = []
    for fold in range(4):
        hold_out = HoldOut(folds=Folds(count=4, fold=fold, block=(side,), seed=seed))
        split = resolve_split(hold_out, {"scene": extent}, (8, 8))
        tested += [box for part, box in split.held("scene", extent) if part == "test"]
        assert all(box in blocks for _, box in split.held("scene", extent))
    assert sorted(map(str, tested)) == sorted(map(str, blocks))


@pytest.mark.full
@pytest.mark.parametrize("fold", [0, 2])
def test_no_stored_training_patch_is_nearer_to_a_fold_than_the_gap(
    tmp_path: Path, fold: int
) -> None:
    shape = (160, 120)
    folds = {"count": 4, "block": [60, 60], "seed": 1}
    made = recipe(hold_out={"folds": folds, "gap": 9})
    make_patches([raster_pair(tmp_path, shape)], tmp_path / "d.zarr", made, fold=fold)
    patches = PatchSet(tmp_path / "d.zarr")
    address = addresses(shape)
    regions = patches.held("test") + patches.held("validation")
    mask = near(shape, [region.box for region in regions], (9, 9))
    seen = np.concatenate([patches.read(r)[0].ravel() for r in patches.rows("training")])
    assert np.isin(seen, address[~mask]).all()
    said = patches.hold_out
    assert (said["gap"], said["folds"]["fold"]) == ([9, 9], fold)
    assert sum(len(found) for found in said["boxes"]["scene"].values()) == len(regions) > 1


def test_the_gap_is_the_card_s_patch_unless_the_recipe_says_otherwise(tmp_path: Path) -> None:
    hold_out = {"test": {"boxes": [[[40, 0], [50, 40]]]}}
    make_patches([raster_pair(tmp_path, (100, 40))], tmp_path / "d.zarr", recipe(hold_out=hold_out))
    patches = PatchSet(tmp_path / "d.zarr")
    starts = set(patches.start[patches.rows("training")][:, 0].tolist())
    assert patches.hold_out["gap"] == [16, 16]
    assert starts
    assert all(a + 16 <= 24 or a >= 66 for a in starts)


@pytest.mark.parametrize("kind", ["card", "source"])
def test_training_numbers_never_see_a_held_out_pixel(tmp_path: Path, kind: str) -> None:
    """Held-out pixels are made huge: whoever looks at one of them shows it."""
    shape, box = (90, 60), (slice(30, 60), slice(20, 60))
    image = addresses(shape).astype(np.float32)
    image[box] = 1e9
    outside = np.ones(shape, bool)
    outside[box] = False
    paths = [
        write_raster(tmp_path / "i.tif", image[None]),
        write_raster(tmp_path / "l.tif", IDS[class_indices(shape)][None].astype("uint8")),
    ]
    hold_out = {"test": {"boxes": [[[30, 20], [60, 60]]]}, "gap": 0}
    made = recipe(card={"normalisation": kind}, hold_out=hold_out)
    make_patches(["=".join(map(str, paths))], tmp_path / "d.zarr", made)
    patches = PatchSet(tmp_path / "d.zarr")
    seen = image[outside].astype(np.float64)
    case = patches.cases[0]
    found = case["training_normaliser"]
    assert found["mean"] == [pytest.approx(seen.mean())]
    assert found["std"] == [pytest.approx(seen.std())]
    rows = patches.rows("training")
    assert max(np.abs(patches.read(row)[0]).max() for row in rows) < 10
    whole = image.astype(np.float64).mean() if kind == "source" else seen.mean()
    assert patches.held("test")[0].normaliser.mean == (pytest.approx(whole),)


def test_what_comes_out_empty_is_refused(tmp_path: Path) -> None:
    pair = raster_pair(tmp_path, (60, 50))
    for hold_out, said in (
        ({"validation": {"boxes": [[[70, 0], [80, 9]]]}}, "hold_out.validation matches no case"),
        ({"test": {"every": 2, "first": 5}}, "hold_out.test matches no case"),
        ({"test": {"boxes": [[[20, 20], [40, 40]]]}, "gap": 50}, "nothing is left to train on"),
        ({"test": {"cases": ["scene"]}}, "every case is held out"),
        ({"folds": {"count": 3}}, "give hold_out.folds.block"),
        ({"folds": {"count": 9, "block": [40, 40]}}, "smaller blocks"),
        ({"test": {"boxes": [[[0, 0], [9, 9]]]}, "gap": [1, 2, 3]}, "must have 2 sides"),
    ):
        with pytest.raises(InputError, match=said):
            make_patches([pair], tmp_path / "d.zarr", recipe(hold_out=hold_out))
    three = recipe(hold_out={"folds": {"count": 3, "block": [20, 20]}})
    with pytest.raises(InputError, match="there is no fold 3"):
        make_patches([pair], tmp_path / "d.zarr", three, fold=3)
    with pytest.raises(InputError, match=r"no hold_out\.folds"):
        make_patches([pair], tmp_path / "d.zarr", recipe(), fold=0)
    assert not list(tmp_path.glob("d.zarr*"))


def test_folds_by_case(tmp_path: Path) -> None:
    folder = volume_pairs(tmp_path / "v", [(17, 16, 16)] * 4, np.eye(4))
    made = recipe(3, hold_out={"folds": {"count": 4}})
    make_patches([folder], tmp_path / "d.zarr", made, fold=1)
    found = PatchSet(tmp_path / "d.zarr").hold_out
    assert sorted(found["cases"].values()) == ["test", "training", "training", "validation"]
    assert found["boxes"] == {}


def test_an_image_that_is_two_cases_is_not_trained_on_and_scored(tmp_path: Path) -> None:
    image, label = raster_pair(tmp_path, (96, 96)).split("=")
    copy = tmp_path / "copy.tif"
    copy.write_bytes(Path(image).read_bytes())
    link = tmp_path / "link.tif"
    link.symlink_to(image)
    for other in (copy, link):
        pairs, out = [f"{image}={label}", f"{other}={label}"], tmp_path / "d.zarr"
        held = recipe(hold_out={"test": {"cases": [other.stem]}})
        with pytest.raises(InputError, match="are the same image"):
            make_patches(pairs, out, held)
        assert not out.exists()
        assert not list(tmp_path.glob("*.work"))
    alike = recipe(hold_out={"test": {"boxes": [[[0, 0], [20, 20]]]}, "gap": 0})
    make_patches(pairs, out, alike)


def test_what_is_held_out_twice_is_refused() -> None:
    box = [[0, 0], [20, 20]]
    with pytest.raises(ValueError, match="for validation and for test"):
        HoldOut.model_validate({"validation": {"cases": ["a"]}, "test": {"cases": ["b", "a"]}})
    for parts in ({"test": [box, box]}, {"test": [box], "validation": [box]}):
        with pytest.raises(ValueError, match="touches test box"):
            HoldOut.model_validate({name: {"boxes": boxes} for name, boxes in parts.items()})
