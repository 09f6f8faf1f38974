"""Labels brought to their image's grid: nearest, exact, and nothing outside them."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from rasterio.warp import transform

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.io.sources import open_source
from seg_batch.io.sources.views.aligned import align_to_grid
from tests.support.files import address_raster, write_raster, write_volume
from tests.support.training.recipes import IDS, class_indices, raster_pair, recipe


def by_hand(label: Path, image: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixel by pixel: the label under each pixel centre; ``(values, inside)``."""
    with rasterio.open(label) as a, rasterio.open(image) as b:
        rows, columns = np.indices(b.shape)
        x, y = b.transform * (columns.ravel() + 0.5, rows.ravel() + 0.5)
        x, y = map(np.array, transform(b.crs, a.crs, x.tolist(), y.tolist()))
        across, down = ~a.transform * (x, y)
        i, j = np.floor(down).astype(int), np.floor(across).astype(int)
        inside = (i >= 0) & (j >= 0) & (i < a.height) & (j < a.width)
        values = np.zeros(inside.shape, a.dtypes[0])
        values[inside] = a.read(1)[i[inside], j[inside]]
        return values.reshape(b.shape), inside.reshape(b.shape)


def test_labels_on_another_datum_are_those_under_each_pixel(tmp_path: Path) -> None:
    image = write_raster(tmp_path / "i.tif", address_raster((70, 60), 1, "uint8"))
    tilted = Affine.translation(302_300, 4_153_500) * Affine.rotation(20) * Affine.scale(41, -23)
    for k, (crs, place) in enumerate(
        (("EPSG:26912", tilted), ("EPSG:4326", Affine(0.0004, 0, -113.235, 0, -0.0003, 37.5127)))
    ):
        label = write_raster(
            tmp_path / f"l{k}.tif", address_raster((50, 44), 1, "uint8"), crs=crs, transform=place
        )
        found = align_to_grid(open_source(label), open_source(image).info)
        values, inside = by_hand(label, image)
        assert 0.1 < inside.mean() < 1
        for box in (Box.whole((70, 60)), Box((13, 7), (49, 60))):
            pixels = found.read(box)
            valid = np.ones(box.shape, bool) if pixels.valid is None else pixels.valid[..., 0]
            np.testing.assert_array_equal(valid, inside[box.slices()])
            np.testing.assert_array_equal(pixels.values[..., 0][valid], values[box.slices()][valid])
        found.close()


def test_volumes_take_the_voxel_nearest_in_space(tmp_path: Path) -> None:
    turn = np.diag([-0.8, 1.1, 1.3, 1.0])
    turn[0, 1], turn[:3, 3] = 0.2, (9.03, -1.07, 2.04)
    image = write_volume(tmp_path / "i.nii", np.zeros((12, 14, 16), "uint8"), turn)
    values = np.random.default_rng(0).integers(0, 200, (11, 9, 13)).astype("uint8")
    there = np.diag([1.0, 1.5, 1.2, 1.0])
    label = write_volume(tmp_path / "l.nii.gz", values, there)
    found = align_to_grid(open_source(label), open_source(image).info)
    box = Box((2, 1, 0), (15, 14, 12))
    pixels, shown = found.read(box), 0
    for z, y, x in np.ndindex(*box.shape):
        place = np.linalg.inv(there) @ turn @ (x, y + 1, z + 2, 1)
        i, j, k = np.floor(place[:3] + 0.5).astype(int)
        inside = 0 <= i < 11 and 0 <= j < 9 and 0 <= k < 13
        assert pixels.valid is not None
        assert pixels.valid[z, y, x, 0] == inside
        if inside:
            assert pixels.values[z, y, x, 0] == values[i, j, k]
            shown += 1
    assert 50 < shown < np.prod(box.shape)
    found.close()


def test_the_real_label_on_another_grid_becomes_that_of_the_image(
    data: Path, tmp_path: Path
) -> None:
    zion = data / "zion_landsat8_nlcd"
    image = open_source(zion / "landsat8_b2345.tif")
    found = align_to_grid(open_source(zion / "other_grid_nlcd.tif"), image.info)
    truth = open_source(zion / "label_nlcd8_on_landsat_grid.tif")
    whole = Box.whole(image.info.extent)
    np.testing.assert_array_equal(found.read(whole).values, truth.read(whole).values)


def test_what_lies_outside_the_label_is_ignored(tmp_path: Path) -> None:
    image, label = map(Path, raster_pair(tmp_path, (60, 50)).split("="))
    truth = IDS[class_indices((60, 50))].astype("uint8")
    moved = Affine(30, 0, 301905 + 30 * 20, 0, -30, 4154085)
    write_raster(label, truth[None], transform=moved)
    make_patches([f"{image}={label}"], tmp_path / "d.zarr", recipe(), align="nearest")
    patches = PatchSet(tmp_path / "d.zarr")
    assert (patches.start[patches.rows("training")][:, 1] > 4).all()
    for row in patches.rows("training"):
        y, x = patches.start[row]
        columns = np.arange(x, x + 16) - 20
        found = patches.read(row)[1]
        assert (found[:, columns < 0] == patches.ignore).all()
        expected = class_indices((60, 50))[y : y + 16, columns[columns >= 0]]
        np.testing.assert_array_equal(found[:, columns >= 0], expected)


def test_what_can_not_be_aligned_is_refused(tmp_path: Path) -> None:
    image, label = map(Path, raster_pair(tmp_path, (60, 50)).split("="))
    with pytest.raises(InputError, match="--align 'cubic' is unknown"):
        make_patches([f"{image}={label}"], tmp_path / "d.zarr", recipe(), align="cubic")
    values = np.ones((1, 30, 30), "uint8")
    away = Affine(30, 0, 500_000, 0, -30, 4_000_000)
    for profile, said in (
        ({"crs": None, "transform": away}, "has no CRS"),
        ({"transform": away}, "no labelled voxel"),
    ):
        write_raster(label, values, **profile)
        with pytest.raises(InputError, match=said):
            make_patches([f"{image}={label}"], tmp_path / "d.zarr", recipe(), align="nearest")
    volume = tmp_path / "v.nii"
    nibabel.Nifti1Image(np.ones((5, 6, 7), "uint8"), np.eye(4)).to_filename(volume)
    with pytest.raises(InputError, match="no alignment joins them"):
        make_patches([f"{image}={volume}"], tmp_path / "d.zarr", recipe(), align="nearest")
    assert not list(tmp_path.glob("d.zarr*"))
