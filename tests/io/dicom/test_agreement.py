"""What SimpleITK's GDCM reader makes of a series is what is read here: voxels exactly, and their places."""

import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.support.dicom_files import AXIAL, CORONAL, SAGITTAL, addresses, oblique, write_series
from tests.support.dicom_reading import by_simpleitk, read

SHAPE = (4, 16, 17)
SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
]
KINDS = [(np.uint16, 12), (np.int16, 12), (np.int16, 16), (np.uint8, 8)]
DATA = Path(os.environ.get("SEGBATCH_DATA", "")) / "dicom2nifti_series"


def agree(folder: Path, wanted: np.ndarray, affine: np.ndarray) -> None:
    info, pixels = read(folder)
    theirs, values = by_simpleitk(folder)
    assert np.array_equal(pixels.physical()[..., 0], wanted)
    assert np.array_equal(values, wanted)
    assert np.abs(info.georef.matrix - affine).max() < 1e-9
    assert np.abs(theirs - affine).max() < 1e-4


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize(("dtype", "bits"), KINDS)
def test_every_transfer_syntax_and_kind_of_number(
    tmp_path: Path, syntax: str, dtype: Any, bits: int
) -> None:
    pixels = addresses(SHAPE, dtype, bits)
    rescale: Any = {"slopes": [2.0], "intercepts": [-100.0]}
    series = write_series(tmp_path / "s", pixels, bits=bits, syntax=syntax, **rescale)
    agree(tmp_path / "s", pixels * 2.0 - 100, series.affine)


@pytest.mark.parametrize("dtype", [np.uint32, np.int32])
def test_numbers_of_32_bits(tmp_path: Path, dtype: Any) -> None:
    pixels = addresses(SHAPE, dtype) + dtype(1 << 24)
    series = write_series(tmp_path / "s", pixels)
    agree(tmp_path / "s", pixels, series.affine)


PLANES = {
    "axial": AXIAL,
    "sagittal": SAGITTAL,
    "coronal": CORONAL,
    "oblique": oblique(10, 20, 30),
    "rows_negated": (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "columns_negated": (1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
    "both_negated": (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
    "exchanged": (0.0, 1.0, 0.0, 1.0, 0.0, 0.0),
    "far_oblique": oblique(200, 110, 75),
}


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("downwards", [False, True])
def test_slices_lie_where_they_were(tmp_path: Path, plane: str, downwards: bool) -> None:
    """Whatever the order of names, instances and positions; written against the normal, slices come in reverse."""
    facing = np.split(np.array(PLANES[plane]), 2)
    step = np.cross(*facing) * (-2.7 if downwards else 2.7)
    order = [2, 0, 3, 1]
    series = write_series(
        tmp_path / "s",
        addresses(SHAPE),
        orientation=PLANES[plane],
        step=step,
        names=lambda k: f"{order[k]}",
    )
    wanted = series.pixels[::-1] if downwards else series.pixels
    affine = series.affine
    if downwards:
        affine = affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 3], [0, 0, 0, 1.0]])
    agree(tmp_path / "s", wanted, affine)


def test_a_tilted_gantry_shears_the_affine(tmp_path: Path) -> None:
    """SimpleITK has no shear: every corner is compared with the place that its slice states."""
    series = write_series(tmp_path / "s", SHAPE, step=(0.0, 0.6, 2.4))
    info, pixels = read(tmp_path / "s")
    assert np.array_equal(pixels.values[..., 0], series.pixels)
    for k in range(4):
        x, y, z = series.position(k)
        place = info.georef.matrix @ [16, 15, k, 1]
        assert np.allclose(place[:3], [-(x + 16 * 0.5), -(y + 15 * 0.75), z], atol=1e-9)
    (line,) = info.warnings
    assert "tilted by 14.0 degrees" in line


@pytest.mark.parametrize(
    ("dtype", "bits", "slopes"),
    [
        (np.uint16, 16, [1.0]),
        (np.int16, 16, [2.0]),
        (np.uint8, 8, [1.0]),
        (np.uint16, 12, [2.0, 3.0]),
    ],
)
def test_inverted_images(tmp_path: Path, dtype: Any, bits: int, slopes: list[float]) -> None:
    write_series(
        tmp_path / "s",
        addresses(SHAPE, dtype, bits),
        modality="MR",
        bits=bits,
        slopes=slopes,
        intercepts=[-7.0],
        tags={"PhotometricInterpretation": "MONOCHROME1"},
    )
    info, pixels = read(tmp_path / "s")
    assert np.array_equal(pixels.physical()[..., 0], by_simpleitk(tmp_path / "s")[1])
    assert "MONOCHROME1" in info.warnings[-1]


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_bits_beside_those_of_a_pixel_do_not_count(tmp_path: Path, dtype: Any) -> None:
    clean = addresses(SHAPE, dtype, 12)
    dirty = ((clean.view(np.uint16) & 0x0FFF) | 0xA000).view(dtype)
    write_series(tmp_path / "s", dirty, bits=12)
    assert np.array_equal(read(tmp_path / "s")[1].values[..., 0], clean)
    assert np.array_equal(by_simpleitk(tmp_path / "s")[1], clean)


def test_the_real_series_is_its_reference() -> None:
    if not DATA.is_dir():
        return
    info, pixels = read(DATA / "generic_anatomical_001")
    ours = nibabel.Nifti1Image(pixels.values[..., 0].transpose(2, 1, 0), info.georef.matrix)
    wanted = nibabel.load(next((DATA / "reference_nifti").iterdir()))
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(ours.affine), nibabel.io_orientation(wanted.affine)
    )
    turned = ours.as_reoriented(turn)
    assert np.abs(turned.affine - wanted.affine).max() < 1e-4
    assert np.array_equal(turned.dataobj, wanted.dataobj)


@pytest.mark.parametrize("name", ["generic_compressed_rle_001", "failing_gantrytilting_001"])
def test_real_series_agree(name: str) -> None:
    if not DATA.is_dir():
        return
    info, pixels = read(DATA / name)
    affine, values = by_simpleitk(DATA / name)
    assert np.array_equal(pixels.physical()[..., 0], values)
    straight = "tilt" not in "".join(info.warnings)
    assert (np.abs(info.georef.matrix - affine).max() < 1e-4) == straight
