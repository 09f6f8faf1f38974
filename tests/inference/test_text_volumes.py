"""NRRD, MetaImage and pairs through the whole of it: listed, predicted, verified, with the labels of a NIfTI."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from seg_batch.batch.inputs.listing import list_inputs
from seg_batch.core.geometry import Box
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request
from seg_batch.io.sources import open_source
from tests.support.batch.listings import made, names
from tests.support.io.text_volumes import address, by_itk, itk_image

VALUES = address(12, 20, 17)
FILES = ("a.nrrd", "b.nhdr", "c.mha", "d.mhd", "e.hdr")


@pytest.mark.parametrize("name", FILES)
def test_labels_are_those_of_the_voxels(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    SimpleITK.WriteImage(itk_image(VALUES), str(path), True)
    for ending in (".seg.nrrd", ".mha", ".nii.gz"):
        out = tmp_path / f"labels{ending}"
        report = predict_one(Request(str(path), str(out), model="probe"))
        assert report["status"] == "complete"
        labels, affine = by_itk(out)
        np.testing.assert_array_equal(labels[..., 0], VALUES % 8)
        np.testing.assert_allclose(affine, by_itk(path)[1], rtol=0, atol=1e-5)


def test_a_pattern_takes_them_and_of_hdr_what_is_nifti(tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in FILES:
        SimpleITK.WriteImage(itk_image(VALUES), str(folder / name), True)
    (folder / "envi.hdr").write_text("ENVI\nsamples = 3\n")
    (folder / "analyze.hdr").write_bytes((348).to_bytes(4, "little") + bytes(344))
    outputs = {"folder": "out", "formats": {"volume": "seg.nrrd"}}
    found = list_inputs(made(tmp_path, {"paths": ["scans/*"]}, outputs=outputs))
    assert names(found, tmp_path) == {
        f"scans/{name}": f"{name[0]}_labels.seg.nrrd" for name in FILES
    }
    assert not found.refused


def test_a_volume_that_changes_beside_its_header_is_another(tmp_path: Path) -> None:
    path = tmp_path / "a.hdr"
    SimpleITK.WriteImage(itk_image(VALUES), str(path), False)
    with closing(open_source(path)) as source:
        before = source.info.identity
        box = Box((1, 2, 3), (4, 5, 6))
        np.testing.assert_array_equal(source.read(box).values[..., 0], VALUES[box.slices()])
    with (tmp_path / "a.img").open("r+b") as file:
        file.write(b"\1\1")
    with closing(open_source(path)) as source:
        assert source.info.identity != before
