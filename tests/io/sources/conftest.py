"""Small files with an address in every voxel, and the slow way to read them."""

import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

UTM = "EPSG:32633"


def address(*shape: int, dtype: str = "int32") -> np.ndarray:
    """Every voxel another number, without symmetry: its position in row-major order."""
    return np.arange(1, np.prod(shape) + 1).reshape(shape).astype(dtype)


@pytest.fixture
def tiff(tmp_path: Path):
    """Writes ``(bands, y, x)`` to a TIFF and returns its path."""

    def write(values: np.ndarray, name: str = "a.tif", finish=None, **options) -> Path:
        path = tmp_path / name
        options = {"crs": UTM, "transform": Affine(10, 0, 5e5, 0, -10, 6e6), **options}
        options = {"driver": "GTiff", "dtype": values.dtype.name, "count": len(values), **options}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(
                path, "w", height=values.shape[1], width=values.shape[2], **options
            ) as dataset:
                dataset.write(values)
                if finish:
                    finish(dataset)
        return path

    return write


@pytest.fixture
def nifti(tmp_path: Path):
    """Writes ``(i, j, k, ...)`` to a NIfTI file and returns its path."""

    def write(
        values: np.ndarray, name: str = "a.nii", affine=None, kind=nibabel.Nifti1Image, finish=None
    ) -> Path:
        affine = np.diag([2.0, 3.0, 4.0, 1.0]) if affine is None else affine
        image = kind(values, affine)
        image.header.set_xyzt_units("mm")
        if finish:
            finish(image)
        nibabel.save(image, tmp_path / name)
        return tmp_path / name

    return write
