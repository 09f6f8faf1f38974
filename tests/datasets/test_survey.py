"""What is wrong with labels and files is found, in one line and by name, before anything is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio

from seg_batch.core.errors import InputError, OutputError
from seg_batch.core.geometry import Grid
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.layout import reads
from tests.support.files import segbatch, write_raster
from tests.support.training.recipes import (
    IDS,
    class_indices,
    plain_recipe,
    raster_pair,
    recipe,
    volume_pairs,
)


def refused(folder: Path, labels: np.ndarray, **changes: Any) -> str:
    image, _ = raster_pair(folder, labels.shape).split("=")  # type: ignore[arg-type]
    label = write_raster(folder / "odd.tif", labels[None])
    before = sorted(folder.iterdir())
    with pytest.raises(InputError) as error:
        make_patches([f"{image}={label}"], folder / "d.zarr", recipe(**changes))
    assert sorted(folder.iterdir()) == before
    assert "\n" not in error.value.message
    assert "odd.tif" in error.value.message or "training part" in error.value.message
    return error.value.message


def test_numbered_objects_are_no_classes(tmp_path: Path) -> None:
    said = refused(tmp_path, (np.arange(1600).reshape(40, 40) // 40).astype("uint16"))
    assert "looks like an instance mask (40 values from 0 to 39 for 3 classes)" in said
    said = refused(tmp_path, (np.arange(1600).reshape(40, 40) // 40 * 25).astype("uint16"))
    assert "no class of the recipe" in said, "values far apart are not counted through"
    said = refused(tmp_path, np.linspace(0, 1, 1600, dtype="float32").reshape(40, 40))
    assert "no class of the recipe" in said


def test_labels_that_say_nothing(tmp_path: Path) -> None:
    assert "no labelled voxel" in refused(tmp_path, np.full((40, 40), 255, "uint8"))


def test_one_class_only_in_what_is_trained_on(tmp_path: Path) -> None:
    labels = np.full((60, 40), 7, "uint8")
    assert "only the class seven" in refused(tmp_path, labels)
    labels[30:] = 3
    hold_out = {"test": {"boxes": [[[30, 0], [60, 40]]]}, "gap": 0}
    assert "only the class seven" in refused(tmp_path, labels, hold_out=hold_out)
    labels[25:30] = 1  # inside the gap: no tile may show it
    assert "only the class seven" in refused(tmp_path, labels, hold_out={**hold_out, "gap": 5})


def test_unreadable_files_are_named_with_their_case(tmp_path: Path) -> None:
    folder = Path(volume_pairs(tmp_path / "v", [(17, 16, 16)] * 3, np.eye(4)))
    image = folder / "images/case_1.nii.gz"
    whole = image.read_bytes()
    for damaged in (b"", b"nothing", whole[: len(whole) // 2]):
        image.write_bytes(damaged)
        with pytest.raises(InputError, match=r"case_1\.nii\.gz") as error:
            make_patches([str(folder)], tmp_path / "d.zarr", recipe(3))
        assert "\n" not in error.value.message
    image.unlink()
    image.symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"case case_1: .*no such file"):
        make_patches([str(folder)], tmp_path / "d.zarr", recipe(3))
    assert [path.name for path in tmp_path.iterdir()] == ["v"]


@pytest.mark.parametrize("kind", ["card", "identity"])
def test_a_raster_with_a_broken_block_is_named(data: Path, tmp_path: Path, kind: str) -> None:
    """Found by the survey, or, where nothing is measured, when it is cut."""
    image = data / "geotiff_awkward" / "rasterio_corrupt.tif"
    with rasterio.open(image) as file:
        labels = np.ones((1, *file.shape), "uint8")
        labels[:, ::3] = 7
        place = {"crs": file.crs, "transform": file.transform}
    label = write_raster(tmp_path / "l.tif", labels, **place)
    cut = {"patch": [256, 256], "overlap": [0, 0]}
    made = recipe(card={"normalisation": kind, "channels": ["r", "g", "b"]}, cut=cut)
    with pytest.raises(InputError, match=r"case rasterio_corrupt: .*take the case out") as error:
        make_patches([f"{image}={label}"], tmp_path / "d.zarr", made)
    assert "\n" not in error.value.message
    assert not (tmp_path / "d.zarr").exists()


def test_a_dataset_that_no_disk_holds_is_refused(tmp_path: Path) -> None:
    labels = np.ones((2000, 2000), "uint8")
    labels[::2] = 3
    image = write_raster(tmp_path / "i.tif", labels[None])
    label = write_raster(tmp_path / "l.tif", labels[None])
    made = recipe(cut={"patch": [900, 900], "overlap": [899, 899]})
    with pytest.raises(OutputError, match=r"takes up to .* TiB and .* are free"):
        make_patches([f"{image}={label}"], tmp_path / "d.zarr", made)
    assert not list(tmp_path.glob("d.zarr*"))


@pytest.mark.parametrize("most", [1, 200, 700, 10_000])
def test_every_tile_is_read_once_in_groups_of_bounded_size(most: int) -> None:
    grid = Grid((20, 41, 30), (5, 6, 7), (1, 2, 3), (0, 0, 0))
    groups = [group for row in range(grid.shape[0]) for group in reads(grid, row, most)]
    assert sorted(index for group in groups for index in group) == [t.index for t in grid]
    for group in groups:
        boxes = [grid.tile(index).box for index in group]
        around = boxes[0].union(boxes[-1])
        assert all(around.contains(box) for box in boxes)
        assert around.size <= most or len(group) == 1


@pytest.mark.full
def test_the_command_takes_settings_folds_and_a_manifest(tmp_path: Path) -> None:
    import json

    raster_pair(tmp_path, (120, 100))
    (tmp_path / "m.csv").write_text("image,label,id\nscene.tif,label.tif,zion\n")
    (tmp_path / "r.json").write_text(json.dumps(plain_recipe()))
    options = ["--recipe", tmp_path / "r.json", "--set", "hold_out.folds.count=4", "--json"]
    options += ["--set", "hold_out.folds.block=[40,40]", "--set", "hold_out.gap=4", "--fold", 2]
    ran = segbatch("patches", tmp_path / "m.csv", "-o", tmp_path / "d.zarr", *options)
    assert ran.status == 0, ran.err
    assert ran.json["patches"]["training"] > 0
    assert ran.json["patches"]["test"] > 0
    again = segbatch("patches", tmp_path / "m.csv", "-o", tmp_path / "d.zarr", *options)
    assert (again.status, len(again.err.strip().splitlines())) == (2, 1)


def test_held_out_case_may_have_one_class_only(tmp_path: Path) -> None:
    """Only what is trained on needs two."""
    folder = Path(volume_pairs(tmp_path / "v", [(17, 16, 16)] * 2, np.eye(4)))
    label = folder / "labels/case_1.nii.gz"
    values = np.full((17, 16, 16), IDS[1], "uint8")
    nibabel.Nifti1Image(values, np.eye(4)).to_filename(label)
    made = recipe(3, hold_out={"test": {"cases": ["case_1"]}})
    found = make_patches([str(folder)], tmp_path / "d.zarr", made)
    shown = class_indices((17, 16, 16)) == 1  # by two tiles, which begin at 0 and at 1
    assert found["training_voxels"]["seven"] == shown[:16].sum() + shown[1:].sum()
