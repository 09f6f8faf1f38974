"""What other programs see of a Zarr product: xarray its CRS and classes, viewers smaller copies, NGFF readers a label image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
import yaozarrs
from PIL import Image

from seg_batch import predict
from seg_batch.io.sinks.cog.overviews import majority_overview
from tests.support.files import address_raster, address_volume, write_raster, write_volume


def test_xarray_opens_a_map_with_its_crs_its_classes_and_its_smaller_copies(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", address_raster((1300, 1111), 1, "uint8"))
    predict(scene, tmp_path / "map.zarr", model="probe")
    with xr.open_dataset(tmp_path / "map.zarr", mask_and_scale=False) as whole:
        assert whole.labels.rio.crs.to_epsg() == 32612
        assert whole.labels.rio.transform()[:6] == (30, 0, 301905, 0, -30, 4154085)
        assert list(whole["class"].values) == list(range(8))
        assert len(set(whole.class_name.values)) == 8
        expected = whole.labels.values
    for level in (1, 2):
        expected = majority_overview(expected)
        group = f"overviews/{level}"
        with xr.open_dataset(tmp_path / "map.zarr", group=group, mask_and_scale=False) as smaller:
            assert np.array_equal(smaller.labels.values, expected)
            assert smaller.labels.rio.transform()[:6] == (
                *(30 * 2**level, 0, 301905),
                *(0, -30 * 2**level, 4154085),
            )
            assert smaller.labels.rio.crs.to_epsg() == 32612
    assert max(expected.shape) <= 512


@pytest.mark.parametrize("kind", ["volume", "picture"])
def test_volumes_and_pictures_are_label_images_of_ngff(tmp_path: Path, kind: str) -> None:
    if kind == "volume":
        values = address_volume((40, 700, 9))
        image = write_volume(tmp_path / "v.nii.gz", values, np.diag([1.0, 2.0, 3.0, 1.0]))
        sizes = [[3.0, 2.0, 1.0], [3.0, 4.0, 2.0]]
    else:
        image = tmp_path / "p.png"
        Image.fromarray(address_raster((700, 600), 1, "uint8")[0]).save(image)
        sizes = [[1.0, 1.0], [2.0, 2.0]]
    predict(image, tmp_path / "map.zarr", model="probe")
    group = yaozarrs.validate_zarr_store(str(tmp_path / "map.zarr"))
    label_image = group.ome_metadata()
    assert isinstance(label_image, yaozarrs.v05.LabelImage)
    datasets = label_image.multiscales[0].datasets
    assert [d.coordinateTransformations[0].scale for d in datasets] == sizes
    # The centre of the first voxel of the smaller copy lies between the first two.
    moved = datasets[1].coordinateTransformations[1].translation
    assert moved == [(small - size) / 2 for size, small in zip(*sizes, strict=True)]
