"""What is held out is never seen, and what is written is what predict would cut: any extent."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box, Grid
from seg_batch.core.normalise import Normaliser
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.layout import grid_of, part_code
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.datasets.store import CODES, UNUSED
from seg_batch.inference.sliding_window.stitch import cut
from seg_batch.io.sources import open_source
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


@st.composite
def held_grids(draw: st.DrawFn) -> tuple[Grid, list[tuple[str, Box]]]:
    grid = draw(grids())
    parts = st.sampled_from(["validation", "test"])
    return grid, draw(st.lists(st.tuples(parts, boxes(grid.extent)), max_size=4))


@given(held_grids())
def test_a_tile_is_of_training_just_if_no_voxel_of_it_is_held(
    drawn: tuple[Grid, list[tuple[str, Box]]],
) -> None:
    grid, held = drawn
    mask = np.zeros(grid.extent, bool)
    for _, box in held:
        mask[box.slices()] = True
    for tile in grid:
        inside = tile.box.intersection(Box.whole(grid.extent))
        code, shown = part_code(inside, held), mask[inside.slices()]
        assert (code == CODES["training"]) == (not shown.any())
        if code not in (CODES["training"], UNUSED):
            assert shown.all(), "a tile of validation or test lies in it whole"


SCENES = [
    ((90, 70), [[[20, 10], [50, 40]]], [[[60, 0], [90, 70]]]),
    ((61, 47), [[[0, 0], [61, 9]]], [[[30, 30], [31, 31]], [[50, 20], [500, 500]]]),
    ((30, 100), [[[0, 70], [30, 100]]], []),
    ((9, 60), [[[8, 59], [9, 60]]], [[[0, 0], [4, 5]]]),  # lower than a patch
]


@pytest.mark.parametrize(("shape", "validation", "test"), SCENES)
def test_no_stored_training_patch_shows_a_held_out_pixel(
    tmp_path: Path, shape: tuple[int, int], validation: list[Any], test: list[Any]
) -> None:
    hold_out = {"validation": {"boxes": validation}, "test": {"boxes": test}, "gap": 0}
    make_patches([raster_pair(tmp_path, shape)], tmp_path / "d.zarr", recipe(hold_out=hold_out))
    patches, image, truth = PatchSet(tmp_path / "d.zarr"), addresses(shape), class_indices(shape)
    seen = {v for row in patches.rows("training") for v in np.unique(patches.read(row)[0])}
    assert seen
    for part, held in (("validation", validation), ("test", test)):
        regions = patches.held(part)
        assert len(regions) == len(held)
        for region in regions:
            assert seen.isdisjoint(image[region.box.slices()].ravel())
            np.testing.assert_array_equal(region.truth(region.box)[0], truth[region.box.slices()])
            np.testing.assert_array_equal(
                region.read(region.window).values[..., 0], image[region.window.slices()]
            )


@pytest.mark.full
def test_no_voxel_of_a_held_out_case_is_trained_on_and_truth_is_turned_with_it(
    tmp_path: Path,
) -> None:
    shapes = [(20, 18, 16), (17, 30, 12), (16, 16, 16), (9, 21, 25)]
    folder = volume_pairs(tmp_path / "cases", shapes, np.diag([-1.5, -1, 2, 1]))  # stored LPS
    hold_out = {"validation": {"cases": ["case_3"]}, "test": {"every": 4, "first": 1}}
    make_patches([folder], tmp_path / "d.zarr", recipe(3, hold_out=hold_out))
    patches = PatchSet(tmp_path / "d.zarr")
    sizes = [math.prod(shape) for shape in shapes]
    seen = {v for row in patches.rows("training") for v in np.unique(patches.read(row)[0])}
    assert max(seen) < sum(sizes[:3])
    assert seen.isdisjoint(range(sizes[0], sum(sizes[:2])))
    (region,) = patches.held("test")
    assert region.box == region.window == Box.whole(shapes[1][::-1])
    stored = nibabel.load(f"{folder}/labels/case_1.nii.gz")
    seen_as_ras = np.asarray(nibabel.as_closest_canonical(stored).dataobj).T
    np.testing.assert_array_equal(IDS[region.truth(region.box)[0]], seen_as_ras)


@pytest.mark.parametrize("shape", [(70, 53), (11, 40), (7, 5)])
def test_patches_are_what_predict_cuts_and_normalises(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    address = addresses(shape, 1)
    image, label = raster_pair(tmp_path, shape, nodata=65535).split("=")
    address[2:5, 1:4] = 65535
    write_raster(Path(image), address[None].astype("uint16"), nodata=65535)
    how = recipe(card={"normalisation": "card"})
    make_patches([f"{image}={label}"], tmp_path / "d.zarr", how)
    patches, source = PatchSet(tmp_path / "d.zarr"), open_source(image)
    counted = address[address != 65535]
    assert patches.normaliser == Normaliser(
        (pytest.approx(counted.mean()),), (pytest.approx(counted.std()),)
    )
    whole = Box.whole(shape)
    for row, tile in enumerate(grid_of(shape, how)):
        expected = patches.normaliser(cut(source.read(whole), whole, tile.box, shape))
        np.testing.assert_array_equal(patches.read(row)[0], expected)
    source.close()


def test_a_misspelt_case_is_not_silently_trained_on(tmp_path: Path) -> None:
    folder = volume_pairs(tmp_path / "cases", [(16, 16, 16)] * 2, np.eye(4))
    hold_out = {"test": {"cases": ["case_01"]}}
    with pytest.raises(InputError, match=r"case_01, which no pair is called.*case_0, case_1"):
        make_patches([folder], tmp_path / "d.zarr", recipe(3, hold_out=hold_out))
    assert not (tmp_path / "d.zarr").exists()
