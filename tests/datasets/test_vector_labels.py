"""Vector labels in a dataset: drawn as a raster would be, ignored elsewhere, whole in one part of the split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely

from seg_batch.core.errors import InputError
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.datasets.plan import plan_dataset
from seg_batch.evaluation.evaluate import evaluate_bundle
from tests.support.files import write_raster
from tests.support.training.pairs import addresses, scene_recipe

SCENE = (150, 130)
FIELDS = [shapely.box(5, 7, 60, 140), shapely.box(70, 20, 125, 90), shapely.box(80, 100, 120, 145)]
VALUES = ["2", "class 7", "beet"]
BEET = {"classes": {"beet": 5}}


def pair(folder: Path, name: str = "fields.gpkg") -> tuple[str, np.ndarray]:
    """``image=label``, and the label ids of each pixel, 0 where there is none."""
    import pyarrow as pa

    image = write_raster(folder / "image.tif", addresses(SCENE)[None])
    with rasterio.open(image) as file:
        transform, crs = file.transform, file.crs.to_wkt()

    def place(xy: np.ndarray) -> np.ndarray:
        return np.array(transform @ tuple(xy.T)).T

    wkb = shapely.to_wkb(shapely.transform(np.array(FIELDS, object), place))
    pyogrio.raw.write_arrow(
        pa.table({"class": VALUES, "geometry": wkb}),
        folder / name,
        geometry_name="geometry",
        geometry_type="Polygon",
        crs=crs,
    )
    truth = np.zeros(SCENE, int)
    for shape, k in zip(FIELDS, (2, 7, 5), strict=True):
        left, top, right, bottom = (int(side) for side in shape.bounds)
        truth[top:bottom, left:right] = k
    return f"{image}={folder / name}", truth


def ids_of(patches: PatchSet, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each pixel of a tile inside the scene: its address and its label id, 0 where it is ignored."""
    image, label = patches.read(row)
    return image[..., 0].astype(int), np.array([2, 7, 5, 0])[np.minimum(label, 3)]


def test_patches_hold_what_is_drawn_and_ignore_the_rest(tmp_path: Path) -> None:
    given, truth = pair(tmp_path)
    recipe = scene_recipe(vector_labels=BEET)
    make_patches([given], tmp_path / "d.zarr", recipe, cluster="inline")
    patches = PatchSet(tmp_path / "d.zarr")
    seen = np.zeros(SCENE, int)
    for row in patches.rows("training"):
        address, ids = ids_of(patches, row)
        np.testing.assert_array_equal(ids, truth.reshape(-1)[address])
        seen.reshape(-1)[address] = ids
    np.testing.assert_array_equal(seen, truth)
    assert patches.recipe.vector_labels.classes == {"beet": 5}


def test_no_field_is_learnt_from_and_scored(tmp_path: Path) -> None:
    given, truth = pair(tmp_path)
    held = {"test": {"boxes": [[[0, 0], [60, 130]]]}, "gap": 0}
    recipe = scene_recipe(vector_labels=BEET, hold_out=held)
    make_patches([given], tmp_path / "d.zarr", recipe, cluster="inline")
    patches = PatchSet(tmp_path / "d.zarr")
    parts = {
        part: {int(k) for row in patches.rows(part) for k in np.unique(ids_of(patches, row)[1])}
        for part in ("training", "test")
    }
    assert parts == {"training": {0, 2, 5}, "test": {0, 7}}
    assert set(np.unique(truth[:60])) == {0, 2, 7}


def test_images_that_share_a_file_share_no_field_between_parts(tmp_path: Path) -> None:
    given, _ = pair(tmp_path)
    label = given.partition("=")[2]
    cases = []
    for name, top, bottom, part in (("a", 0, 80, "training"), ("b", 80, 150, "test")):
        with rasterio.open(tmp_path / "image.tif") as file:
            window = rasterio.windows.Window(0, top, 130, bottom - top)
            transform = file.window_transform(window)
            write_raster(tmp_path / f"{name}.tif", file.read(window=window), transform=transform)
        cases.append(f"{{id: {name}, image: {name}.tif, label: {Path(label).name}, split: {part}}}")
    manifest = tmp_path / "m.yaml"
    manifest.write_text(f"cases: [{', '.join(cases)}]\nvector_labels: {{classes: {{beet: 5}}}}\n")
    plan = plan_dataset([manifest], scene_recipe(), None, 1 << 20)
    assert [case.pair.rules.left_out for case in plan.cases] == [(), (0, 1)]


def test_what_is_no_class_is_named(tmp_path: Path) -> None:
    given, _ = pair(tmp_path)
    with pytest.raises(InputError, match="'beet' is no class"):
        make_patches([given], tmp_path / "d.zarr", scene_recipe(), cluster="inline")
    assert not (tmp_path / "d.zarr").exists()


def test_a_bundle_is_evaluated_where_there_are_labels(tmp_path: Path) -> None:
    _, truth = pair(tmp_path)
    recipe: Any = scene_recipe(vector_labels=BEET)
    table = np.array([0, 1, 2])[np.searchsorted([2, 5, 7], np.maximum(truth, 2))]
    index = np.array([0, 2, 1])[table]  # in the recipe's order: 2, 7, 5

    def knows(patches: np.ndarray) -> np.ndarray:
        return np.eye(3, dtype=np.float32)[index.reshape(-1)[patches[..., 0].astype(int)]]

    manifest = tmp_path / "m.yaml"
    manifest.write_text(
        "cases: [{id: a, image: image.tif, label: fields.gpkg}]\nvector_labels: {classes: {beet: 5}}\n"
    )
    found = evaluate_bundle((recipe.card.card(), knows), manifest, split="all")
    overall = found["scores"]["overall"]
    assert overall["accuracy"]["mean"] == 1
    assert np.sum(found["scores"]["confusion"]) == (truth > 0).sum()
