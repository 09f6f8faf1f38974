"""Geometry in = geometry out, on real files from other tools, read back by GDAL and nibabel."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import rasterio

from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request
from seg_batch.inference.verify import verify_product

RASTERS = [
    "geotiff_awkward/rasterio_RGB.byte.tif",
    "geotiff_awkward/rasterio_rotated.tif",
    "geotiff_awkward/riotiler_cog_rgb_mask.tif",
    "geotiff_awkward/riotiler_cog_scale.tif",
    "geotiff_awkward/riocogeo_image_missing_nodata.tif",
    "zion_landsat8_nlcd/landsat8_b2345.tif",
    "zion_landsat8_nlcd/other_grid_nlcd.tif",
]
VOLUMES = [
    ("totalsegmentator_ct/example_ct.nii.gz", None),
    ("totalsegmentator_ct/example_mr_sm.nii.gz", None),
    ("msd_hippocampus/images/hippocampus_007.nii.gz", None),
    ("nifti_awkward/nilearn_mni152_t1.nii.gz", None),
    ("nifti_awkward/nibabel_example4d.nii.gz", 1),
    ("nifti_awkward/nibabel_functional.nii", 7),
    ("dicom2nifti_series/reference_nifti/generic_anatomical_001_ground_truth.nii.gz", None),
]


@pytest.mark.parametrize("name", RASTERS)
def test_rasters(data: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out.tif"
    predict_one(Request(str(data / name), str(out), model="probe"))
    with rasterio.open(data / name) as before, rasterio.open(out) as after:
        assert after.crs == before.crs
        assert after.transform == before.transform
        assert after.shape == before.shape
        assert after.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        physical = before.read(1) * before.scales[0] + before.offsets[0]
        expected = np.mod(np.floor(physical), 8).astype(np.uint8)
        some = before.read_masks().any(0)
        assert np.array_equal(after.read(1), np.where(some, expected, 255))
    assert verify_product(out)["ok"]


@pytest.mark.full
@pytest.mark.parametrize(("name", "k"), VOLUMES)
def test_volumes(data: Path, tmp_path: Path, name: str, k: int | None) -> None:
    out = tmp_path / "out.nii.gz"
    predict_one(Request(str(data / name), str(out), model="probe", volume=k))
    before, after = nibabel.load(data / name), nibabel.load(out)
    assert np.array_equal(after.affine, before.affine)
    for field in ("qform_code", "sform_code", "srow_x", "srow_y", "srow_z"):
        assert np.array_equal(after.header[field], before.header[field])
    for field in ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"):
        assert np.array_equal(after.header[field], before.header[field])
    assert np.array_equal(after.header.get_zooms()[:3], before.header.get_zooms()[:3])
    physical = before.get_fdata()
    physical = physical if k is None else physical[..., k]
    expected = np.mod(np.floor(physical), 8).astype(np.uint8)
    assert np.array_equal(np.asarray(after.dataobj), expected)
    assert verify_product(out)["ok"]
