"""What bad input gets: one line that says what was found and what to do."""

import gzip
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from seg_batch.core.errors import InputError
from seg_batch.io.sources import Source, open_source


def refusal(path, **options) -> str:
    with pytest.raises(InputError) as caught:
        open_source(path, **options)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_opening_imports_nothing_heavy_before_it_must():
    code = (
        "import sys, seg_batch.io.sources; print([m for m in ('rasterio', 'nibabel', 'zarr') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"just words\n", "text"),
        (b"<VRTDataset rasterXSize='5'></VRTDataset>", "VRT"),
        (b"\xef\xbb\xbf  <VRTDataset></VRTDataset>", "VRT"),
        (b"<?xml version='1.0'?><GIFTI></GIFTI>", "GIFTI"),
        (b"<html></html>", "XML or HTML"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
        (b"PK\x03\x04" + bytes(99), "zip"),
        (bytes(128) + b"DICM" + bytes(99), "DICOM"),
        ((348).to_bytes(4, "little") + bytes(344), "Analyze"),
        ((348).to_bytes(4, "big") + bytes(344), "Analyze"),
        ((348).to_bytes(4, "little") + bytes(340) + b"ni1\0", "pair"),
        (bytes(range(1, 200)), "unknown format"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "gzip"),
        (gzip.compress(b"words", mtime=0), "inside the gzip"),
        (b"II*\0" + bytes(60), "TIFF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(60), "PNG"),
        (b"\xff\xd8\xff\xe0" + bytes(60), "JPEG"),
    ],
)
@pytest.mark.parametrize("name", ["a.tif", "a.nii.gz"])
def test_the_bytes_decide_and_not_the_name(tmp_path, content, says, name):
    path = tmp_path / name
    path.write_bytes(content)
    assert says in refusal(path)


def test_missing_addresses_and_folders(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.tif")
    assert "a URL" in refusal("ftp://example.org/a.tif")
    assert "virtual path" in refusal("/vsicurl/a.tif")
    assert "folder" in refusal(tmp_path)
    (tmp_path / "IM-0001.dcm").write_bytes(b"x")
    assert "DICOM" in refusal(tmp_path)


def test_unreadable(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0")

    def locked(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", locked)
    assert "permissions" in refusal(path)


def test_a_vrt_in_disguise_reads_nothing_of_another_file(tiff, tmp_path):
    secret = tiff(np.ones((1, 5, 5), "uint8"))
    path = tmp_path / "upload.tif"
    path.write_text(
        "<VRTDataset rasterXSize='5' rasterYSize='5'><VRTRasterBand dataType='Byte' band='1'>"
        f"<SimpleSource><SourceFilename>{secret}</SourceFilename></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    assert "VRT" in refusal(path)


def test_sources_keep_the_protocol(tiff, nifti):
    for path in (tiff(np.ones((1, 5, 5), "uint8")), nifti(np.ones((3, 4, 5), "uint8"))):
        source = open_source(str(path))
        assert isinstance(source, Source)
        assert source.info.path == str(path)
        assert set(source.info.identity) == {"size", "mtime_ns", "sha256_ends"}
        source.close()


def test_a_changed_file_has_another_identity(tiff):
    path = tiff(np.ones((1, 5, 5), "uint8"))
    before = open_source(path).info.identity
    assert open_source(path).info.identity == before
    tiff(np.full((1, 5, 5), 2, "uint8"))
    assert open_source(path).info.identity != before


def test_volume_belongs_to_4d_volumes_only(tiff, nifti):
    assert "--volume" in refusal(tiff(np.ones((1, 5, 5), "uint8")), volume=0)
    assert "no volume 1" in refusal(nifti(np.ones((3, 4, 5), "uint8")), volume=1)


def test_cifti_and_odd_nifti(nifti):
    def cifti(image):
        image.header["intent_code"] = 3002

    ones = np.ones((3, 4, 5), "uint8")
    assert "CIFTI" in refusal(nifti(ones, kind=nibabel.Nifti2Image, finish=cifti))
    assert "complex" in refusal(nifti(ones.astype("complex64")))
    rgb = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert "RGB" in refusal(nifti(rgb))
    assert "dimensions" in refusal(nifti(np.ones((3, 4, 5, 2, 2), "uint8")))
