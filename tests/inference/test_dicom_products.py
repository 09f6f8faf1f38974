"""Segmentations and structure sets as products of a run over a DICOM series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from seg_batch.core.errors import OutputError, StoreError
from seg_batch.inference.api.predict import predict
from seg_batch.inference.verify import verify_product
from seg_batch.io.sinks.product import count_labels
from tests.support.dicom_files import addresses, write_enhanced, write_series

SHAPE = (5, 9, 11)

# Bytes of a written slice, and what to put in their place: values that only what is made of a header needs.
UNUSABLE = {
    "kind": (b"\x08\x00\x90\x00PN", b"\x08\x00\x90\x00Q\xff"),
    "number": (b"\x20\x00\x11\x00IS\x02\x003 ", b"\x20\x00\x11\x00IS\x0a\x002147483648"),
    "date": (b"\x08\x00\x20\x00DA\x08\x0020200102", b"\x08\x00\x20\x00DA\x08\x002020\xff\xff02"),
    "sex": (b"\x10\x00\x40\x00CS\x02\x00O ", b"\x10\x00\x40\x00CS\x02\x00XY"),
    "frame": (b"\x20\x00\x52\x00UI@\x001.2.", b"\x20\x00\x52\x00UI@\x001.\xff."),
}  # fmt: skip


def put(folder: Path, old: bytes, new: bytes) -> None:
    for path in folder.iterdir():
        data = path.read_bytes()
        assert data.count(old) == 1, old
        path.write_bytes(data.replace(old, new))


@pytest.mark.parametrize("seg", ["labelmap", "binary"])
def test_a_segmentation_holds_the_labels_of_the_nifti(seg: str, tmp_path: Path) -> None:
    pixels = addresses(SHAPE) % 6
    write_enhanced(tmp_path / "s" / "one", pixels)
    plain, product = tmp_path / "x.nii.gz", tmp_path / "x.seg.dcm"
    also = (str(tmp_path / "y.rtstruct.dcm"),)
    predict(tmp_path / "s", plain, model="probe", also=also)
    predict(tmp_path / "s", product, model="probe", seg=seg, probabilities=True)
    assert count_labels(product) == count_labels(plain)
    assert count_labels(product) == dict(enumerate(np.bincount(pixels.ravel()).tolist()))
    assert verify_product(product)["ok"]
    assert verify_product(plain)["ok"]
    assert (tmp_path / "x_probabilities.nii.gz").exists()
    other = "binary" if seg == "labelmap" else "labelmap"
    with pytest.raises(StoreError, match=r"seg: .* became"):
        predict(tmp_path / "s", product, model="probe", seg=other, probabilities=True)


def test_what_lies_on_no_slices_is_refused_before_any_work(tmp_path: Path) -> None:
    write_series(tmp_path / "s", SHAPE)
    for name in ("x.seg.dcm", "x.rtstruct.dcm"):
        also = (str(tmp_path / name),)
        with pytest.raises(OutputError, match="another grid than the slices"):
            predict(
                tmp_path / "s", tmp_path / "x.nii.gz", model="probe", also=also,
                spacing=(3.0,), output_grid="model",
            )  # fmt: skip
    predict(tmp_path / "s", tmp_path / "x.nii.gz", model="probe")
    with pytest.raises(OutputError, match=r"no \.seg\.dcm of .*name it \.nii\.gz"):
        predict(tmp_path / "x.nii.gz", tmp_path / "y.seg.dcm", model="probe")
    with pytest.raises(OutputError, match="--also takes it"):
        predict(tmp_path / "s", tmp_path / "y.rtstruct.dcm", model="probe")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s", "x.nii.gz", "x.nii.gz.json"]


@pytest.mark.parametrize("what", UNUSABLE)
def test_a_header_that_no_writer_takes_is_left_empty(what: str, tmp_path: Path) -> None:
    uid = "1.2.826.0.1.3680043.8.498." + "7" * 38
    tags = {"ReferringPhysicianName": "Nobody^Else"}
    write_series(tmp_path / "s", SHAPE, tags=tags, frame_of_reference=uid)
    put(tmp_path / "s", *UNUSABLE[what])
    also = (str(tmp_path / "x.rtstruct.dcm"),)
    predict(tmp_path / "s", tmp_path / "x.seg.dcm", model="probe", also=also)
    empty = {"kind": "ReferringPhysicianName", "date": "StudyDate", "sex": "PatientSex"}
    for name in ("x.seg.dcm", "x.rtstruct.dcm"):
        made = dcmread(tmp_path / name)
        assert made.PatientName == "Nobody^Made Up"
        assert what not in empty or not made[empty[what]].value


@pytest.mark.parametrize(("name", "also"), [("x.seg.dcm", ()), ("x.nii.gz", (".rtstruct.dcm",))])
def test_a_uid_that_is_none_is_refused_before_any_work(
    name: str, also: tuple[str, ...], tmp_path: Path
) -> None:
    write_series(tmp_path / "s", SHAPE)
    path = tmp_path / "s" / "0003"
    data = path.read_bytes()
    at = data.index(b"\x08\x00\x18\x00UI") + 12
    path.write_bytes(data[:at] + b"\xff" + data[at + 1 :])
    with pytest.raises(OutputError, match=r"no usable SOPInstanceUID") as refused:
        predict(tmp_path / "s", tmp_path / name, model="probe", also=also)
    assert "\n" not in refused.value.message
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_pixels_too_small_for_contours_are_refused_before_any_work(tmp_path: Path) -> None:
    write_series(tmp_path / "s", SHAPE, pixel_mm=(1e-5, 1e-5))
    with pytest.raises(OutputError, match="pixels are 1e-05 mm wide"):
        predict(tmp_path / "s", tmp_path / "x.nii.gz", model="probe", also=(".rtstruct.dcm",))
    assert [p.name for p in tmp_path.iterdir()] == ["s"]
