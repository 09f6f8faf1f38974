"""Segmentations and structure sets as products of a run over a DICOM series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seg_batch.core.errors import OutputError, StoreError
from seg_batch.inference.predict import predict
from seg_batch.inference.verify import verify_product
from seg_batch.io.sinks.product import count_labels
from tests.support.dicom_files import addresses, write_enhanced, write_series

SHAPE = (5, 9, 11)


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
