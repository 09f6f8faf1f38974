"""What is no image is named truly, by its bytes or its name, with a remedy."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from seg_batch.core.errors import InputError
from seg_batch.io.sources import open_source


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        open_source(path)
    assert refused.value.message.startswith(f"{path}: ")
    assert "\n" not in refused.value.message
    return refused.value.message


VOXELS = np.arange(200, dtype="<u2").tobytes()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.heic", b"\0\0\0\x18ftypheic" + bytes(40), "HEIC"),
        ("a.avif", b"\0\0\0\x18ftypavif" + bytes(40), "AVIF"),
        ("a.mp4", b"\0\0\0\x18ftypisom" + bytes(40), "video"),
        ("a.webp", b"RIFF\x10\0\0\0WEBPVP8 " + bytes(40), "WebP"),
        ("a.jxl", b"\xff\x0a" + bytes(40), "JPEG XL"),
        ("a.psd", b"8BPS\0\1" + bytes(40), "Photoshop"),
        ("a.exr", b"\x76\x2f\x31\x01" + bytes(40), "OpenEXR"),
        ("a.npy", b"\x93NUMPY\1\0v\0{'descr'", "NumPy"),
        ("a.pkl", b"\x80\x04\x95\x10\0\0\0", "pickle"),
        ("a.gpkg", b"SQLite format 3\0" + bytes(40), "GeoPackage"),
        ("a.shp", b"\0\0\x27\x0a" + bytes(96), "shapefile"),
        ("a.geojson", b'{"type": "FeatureCollection", "features": []}', "GeoJSON"),
        ("a.parquet", b"PAR1" + bytes(40), "Parquet"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(40), "7-Zip"),
        ("a.tar", bytes(257) + b"ustar\0" + bytes(300), "tar archive"),
        ("a.xz", b"\xfd7zXZ\0" + bytes(40), "xz archive"),
        ("a.fits", b"SIMPLE  =                    T" + b" " * 80, "FITS"),
        ("a.ntf", b"NITF02.10" + bytes(40), "NITF"),
        ("a.hdf", b"\x0e\x03\x13\x01" + bytes(40), "HDF4"),
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        ("a.csv", b"input,output\na.tif,b\n", "inputs.manifest"),
        ("a.mnc", VOXELS, "mnc2nii"),
        ("a.ecw", VOXELS, "ECW"),
        ("a.raw", VOXELS, "another file"),
        ("a.img", VOXELS, "give the .hdr"),
        ("a.dcm", bytes(128) + b"DICM" + bytes(40), "no DICOM image"),
        ("a.tif", VOXELS, "unknown format"),
        ("a.tif", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("a.tif", b"PK\x03\x04" + bytes(40), "zip"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_foreign_file_is_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    assert words in refusal(tmp_path / name, content)


def test_a_freesurfer_volume_is_named_plain_and_packed(tmp_path: Path) -> None:
    volume = nibabel.MGHImage(np.ones((3, 4, 5), np.float32), np.eye(4)).to_bytes()
    for name, content in (("b.mgh", volume), ("b.mgz", gzip.compress(volume))):
        message = refusal(tmp_path / name, content)
        assert "FreeSurfer" in message
        assert "mri_convert" in message


def test_half_of_a_pair_names_its_header(tmp_path: Path) -> None:
    (tmp_path / "pair.hdr").write_bytes(bytes(348))
    message = refusal(tmp_path / "pair.img", VOXELS)
    assert "pair.hdr" in message
    assert "give the .hdr" in message
