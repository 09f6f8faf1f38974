"""NIfTI: the header's geometry bit for bit, every voxel, as nibabel reads the product."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from seg_batch.core.errors import DamagedError
from seg_batch.core.geometry import Blocks, Box, Shape
from seg_batch.core.georef import VolumeGeoref
from seg_batch.io.sinks import nifti
from seg_batch.io.sinks.nifti import check_nifti
from seg_batch.io.sinks.product import export_product, probabilities_spec
from seg_batch.io.sinks.spec import ProductSpec
from seg_batch.io.sources import open_source
from tests.support.io.stores import (
    CLASSES,
    OBLIQUE,
    full_store,
    labels_at,
    probabilities_at,
    product_spec,
    store_spec,
)

KEPT = ["qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units"]  # fmt: skip
AFFINE = np.array([[0.1, -2.0, 0.3, 4], [1.9, 0.2, 0, -5], [0, 0.1, 3.1, 6], [0, 0, 0, 1]])


def voxels(path: Path) -> np.ndarray:
    """``(z, y, x)``, or ``(class, z, y, x)``: the file's order turned round."""
    return np.asanyarray(nibabel.load(path).dataobj).T


def exported(folder: Path, like: Path, name: str = "a.nii.gz", volume: int | None = None) -> Path:
    info = open_source(like, volume=volume).info
    chunk = tuple(min(64, n) for n in info.extent)
    store = full_store(folder / "s", store_spec(info.extent, chunk, info.georef))
    product = export_product(store, folder / name, product_spec(store, like=like))
    assert np.array_equal(
        voxels(product.path).reshape(info.extent), labels_at(Box.whole(info.extent))
    )
    return product.path


def same_place(product: Path, like: Path) -> None:
    ours, theirs = nibabel.load(product), nibabel.load(like)
    for name in KEPT:
        assert ours.header[name].astype("<f4").tobytes() == theirs.header[name].astype("<f4").tobytes()  # fmt: skip
    assert np.array_equal(ours.header["pixdim"][:4], theirs.header["pixdim"][:4])
    assert np.array_equal(ours.affine, theirs.affine)
    assert ours.header.get_xyzt_units() == theirs.header.get_xyzt_units()
    assert type(ours) is type(theirs)


def made(folder: Path, change: Callable[[Any], None], kind: Any = nibabel.Nifti1Image) -> Path:
    """An int16 volume of 7 x 6 x 5 with a scaling, whose header ``change`` has its way with."""
    image = kind(np.arange(210, dtype=np.int16).reshape(7, 6, 5), AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"name of a patient"
    image.header.set_slope_inter(2, -1024)
    change(image)
    image.to_filename(folder / "like.nii")
    return folder / "like.nii"


def _sform_only(image: Any) -> None:
    image.set_sform(AFFINE, 4)
    image.set_qform(None, 0)


def _qform_only(image: Any) -> None:
    image.set_qform(AFFINE, 1)
    image.set_sform(None, 0)


def _left_handed(image: Any) -> None:
    image.set_qform(np.diag([-2.0, 3.0, 4.0, 1.0]), 2)
    image.set_sform(np.diag([2.0, 3.0, 4.5, 1.0]), 3)


def _no_codes(image: Any) -> None:
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    image.header["pixdim"][1:4] = 0.7, 0.8, 2.5


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("change", [_sform_only, _qform_only, _left_handed, _no_codes])
def test_the_header_geometry_is_the_inputs(
    tmp_path: Path, change: Callable[[Any], None], kind: Any, name: str
) -> None:
    like = made(tmp_path, change, kind)
    path = exported(tmp_path, like, name)
    same_place(path, like)
    header = nibabel.load(path).header
    assert header.get_intent() == ("label", (), "")
    assert nibabel.load(path).dataobj.slope == 1
    assert header["descrip"].item() == b"segbatch 0"
    whole = path.read_bytes()
    assert b"patient" not in (whole if name == "a.nii" else gzip.decompress(whole))


def test_a_big_endian_input(tmp_path: Path) -> None:
    like = made(tmp_path, _left_handed)
    image = nibabel.load(like)
    swapped = nibabel.Nifti1Image(
        np.asanyarray(image.dataobj), None, image.header.as_byteswapped(">")
    )
    swapped.to_filename(tmp_path / "big.nii")
    assert nibabel.load(tmp_path / "big.nii").header.endianness == ">"
    same_place(exported(tmp_path, tmp_path / "big.nii"), like)


def test_a_plane_and_one_of_many_volumes(tmp_path: Path) -> None:
    plane = tmp_path / "plane.nii"
    nibabel.Nifti1Image(np.zeros((9, 8), np.uint8), AFFINE).to_filename(plane)
    assert nibabel.load(exported(tmp_path, plane)).shape == (9, 8)
    (tmp_path / "s").rename(tmp_path / "s1")
    many = tmp_path / "many.nii"
    nibabel.Nifti1Image(np.zeros((9, 8, 7, 3), np.uint8), AFFINE).to_filename(many)
    path = exported(tmp_path, many, volume=1)
    assert nibabel.load(path).shape == (9, 8, 7)
    same_place(path, many)


REAL = [
    "msd_hippocampus/images/hippocampus_001.nii.gz",
    "totalsegmentator_ct/example_ct.nii.gz",
    "totalsegmentator_ct/example_mr_sm.nii.gz",
    "nifti_awkward/nilearn_mni152_t1.nii.gz",
    "dicom2nifti_series/reference_nifti/generic_anatomical_001_ground_truth.nii.gz",
]


@pytest.mark.parametrize("name", REAL)
def test_real_files(tmp_path: Path, data: Path, name: str) -> None:
    same_place(exported(tmp_path, data / name), data / name)


@pytest.mark.parametrize("name", ["nibabel_example4d.nii.gz", "nibabel_functional.nii"])
def test_real_files_of_many_volumes(tmp_path: Path, data: Path, name: str) -> None:
    like = data / "nifti_awkward" / name
    same_place(exported(tmp_path, like, volume=1), like)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(
    "extent", [(1, 1, 1), (1, 40, 1), (33, 1, 17), (20, 37, 50), (2, 1, 40_000)]
)
def test_any_extent_without_a_header_to_copy(
    tmp_path: Path, extent: Shape, dtype: str, compressed: bool
) -> None:
    chunk = tuple(min(16, n) for n in extent) if max(extent) < 100 else (1, 1, 10_000)
    store = full_store(tmp_path / "s", store_spec(extent, chunk, OBLIQUE, label_dtype=dtype))
    product = export_product(
        store, tmp_path / ("a.nii.gz" if compressed else "a.nii"), product_spec(store)
    )
    image = nibabel.load(product.path)
    assert np.array_equal(voxels(product.path), labels_at(Box.whole(extent), dtype))
    assert image.get_data_dtype() == dtype
    assert np.allclose(image.affine, OBLIQUE.matrix, atol=1e-6)
    assert isinstance(image, nibabel.Nifti2Image if max(extent) > 32767 else nibabel.Nifti1Image)


@pytest.mark.full
@pytest.mark.parametrize(
    "box",
    [
        (3, 5, 7),
        (3, 5, 12),
        (3, 11, 12),
        (1, 1, 1),
        (9, 11, 12),
    ],
)
def test_boxes_of_any_shape_find_their_places(
    tmp_path: Path, box: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of parts of rows, of rows, of planes: all land where they belong."""
    extent = (9, 11, 12)
    monkeypatch.setattr(
        ProductSpec, "boxes", lambda spec: [b.box for b in Blocks(spec.extent, box)]
    )
    spec = store_spec(extent, (4, 4, 4), OBLIQUE, probabilities=True)
    store = full_store(tmp_path / "s", spec)
    product = export_product(store, tmp_path / "a.nii", product_spec(store))
    assert np.array_equal(voxels(product.path), labels_at(Box.whole(extent)))
    product = export_product(store, tmp_path / "p.nii", probabilities_spec(product_spec(store)))
    raw = np.asanyarray(nibabel.load(product.path).dataobj.get_unscaled()).T
    assert np.array_equal(raw, probabilities_at(Box.whole(extent)))


def test_probabilities_are_a_fourth_axis_from_0_to_1(tmp_path: Path) -> None:
    extent = (5, 20, 33)
    spec = store_spec(extent, (4, 16, 16), OBLIQUE, probabilities=True)
    store = full_store(tmp_path / "s", spec)
    product = export_product(store, tmp_path / "p.nii.gz", probabilities_spec(product_spec(store)))
    image = nibabel.load(product.path)
    assert image.shape == (33, 20, 5, len(CLASSES))
    assert np.allclose(image.get_fdata().T, probabilities_at(Box.whole(extent)) / 255, atol=1e-6)


def test_units_and_both_forms_without_a_header_to_copy(tmp_path: Path) -> None:
    rotated = ((0.0, -2.0, 0.0, 1.0), (3.0, 0.0, 0.0, 2.0), (0.0, 0.0, 4.0, 3.0), (0.0, 0.0, 0.0, 1.0))  # fmt: skip
    georef = VolumeGeoref(rotated, rotated, 2, rotated, 1, "micron")
    store = full_store(tmp_path / "s", store_spec((5, 6, 7), (4, 4, 4), georef))
    header = nibabel.load(
        export_product(store, tmp_path / "a.nii", product_spec(store)).path
    ).header
    assert header.get_xyzt_units()[0] == "micron"
    assert (header["sform_code"], header["qform_code"]) == (2, 1)
    assert np.allclose(header.get_qform(), rotated, atol=1e-6)
    assert np.allclose(header.get_zooms(), (3, 2, 4))


def test_provenance_travels_in_the_header(tmp_path: Path) -> None:
    store = full_store(tmp_path / "s", store_spec((5, 6, 7), (4, 4, 4), OBLIQUE))
    path = export_product(store, tmp_path / "a.nii.gz", product_spec(store)).path
    _, extension = nibabel.load(path).header.extensions
    assert extension.get_code() == 6
    found = json.loads(extension.get_content().rstrip(b"\0"))
    assert found["SEGBATCH_STATUS"] == "complete"
    assert found["CLASS_1"] == "ü"
    assert found["classes"]["3"] == "class 3"


def test_bytes_repeat_and_members_carry_no_time(tmp_path: Path) -> None:
    store = full_store(tmp_path / "s", store_spec((30, 400, 500), (16, 64, 64), OBLIQUE))
    first = export_product(store, tmp_path / "a.nii.gz", product_spec(store))
    second = export_product(store, tmp_path / "b.nii.gz", product_spec(store))
    assert first.sha256 == second.sha256
    packed = first.path.read_bytes()
    assert packed[4:8] == b"\0\0\0\0"
    assert packed.count(b"\x1f\x8b\x08\0\0\0\0\0") >= 2
    assert np.array_equal(voxels(first.path), labels_at(Box.whole((30, 400, 500))))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_the_check_sees_what_is_wrong(tmp_path: Path, name: str) -> None:
    store = full_store(tmp_path / "s", store_spec((9, 20, 30), (4, 16, 16), OBLIQUE))
    spec = product_spec(store)
    path = export_product(store, tmp_path / name, spec).path
    whole = path.read_bytes()
    plain = gzip.decompress(whole) if name.endswith("gz") else whole
    crc = zlib.crc32(plain)
    check_nifti(path, spec, crc)
    moved = replace(OBLIQUE, affine=(*OBLIQUE.affine[:2], (0.0, 0.2, 2.5, 3.01), OBLIQUE.affine[3]))
    for wrong, words in [
        (replace(spec, extent=(9, 30, 20)), "shape"),
        (replace(spec, georef=moved), "affine"),
        (replace(spec, dtype="uint16"), "type"),
    ]:
        with pytest.raises(DamagedError, match=words):
            check_nifti(path, wrong, crc)
    flipped = bytearray(whole)
    flipped[-12] ^= 1
    for damaged in (whole[:400], whole[:-9], bytes(flipped), b""):
        path.write_bytes(damaged)
        with pytest.raises(DamagedError) as caught:
            check_nifti(path, spec, crc)
        assert len(str(caught.value).splitlines()) == 1


def test_voxels_that_land_elsewhere_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = full_store(tmp_path / "s", store_spec((9, 20, 30), (4, 16, 16), OBLIQUE))
    put = nifti.put_box
    monkeypatch.setattr(nifti, "put_box", lambda *a: put(*a[:-1], np.roll(a[-1], 1)))
    with pytest.raises(DamagedError, match="voxels differ"):
        export_product(store, tmp_path / "a.nii.gz", product_spec(store))
    assert {p.name for p in tmp_path.iterdir()} == {"s"}
