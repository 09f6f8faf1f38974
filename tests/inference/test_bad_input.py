"""Bad input: one line on standard error, exit status 2, nothing written, nothing lost."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio

import seg_batch
from seg_batch.config.card import ClassInfo, ModelCard, Normalisation
from seg_batch.core.errors import SegbatchError
from tests.support.files import (
    Ran,
    address_raster,
    address_volume,
    segbatch,
    write_raster,
    write_volume,
)

pytestmark = pytest.mark.full  # whole commands in processes of their own


def refused(ran: Ran, *words: str) -> None:
    """One line that names what was found, status 2, nothing on standard output."""
    assert ran.status == 2, ran.err
    assert ran.err.count("\n") == 1, ran.err
    assert ran.err.startswith("segbatch: ")
    assert ran.out == ""
    for word in words:
        assert word in ran.err


def predict(path: object, out: Path, *more: object) -> Ran:
    return segbatch("predict", path, "-o", out / "result.tif", "--model", "probe", *more)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "small.tif", address_raster((300, 200), 2, "uint8"))


def make_vrt(path: Path, other: Path) -> Path:
    source = f"<SourceFilename>{other}</SourceFilename><SourceBand>1</SourceBand>"
    band = f'<VRTRasterBand dataType="Byte" band="1"><SimpleSource>{source}</SimpleSource>'
    path.write_text(
        f'<VRTDataset rasterXSize="300" rasterYSize="200">{band}</VRTRasterBand></VRTDataset>'
    )
    return path


def test_files_that_are_no_images(tmp_path: Path, out: Path, small: Path) -> None:
    empty = tmp_path / "empty.tif"
    empty.touch()
    cut = tmp_path / "cut.tif"
    cut.write_bytes(small.read_bytes()[:200])
    text = tmp_path / "notes.tif"
    text.write_text("not an image")
    refused(predict(tmp_path / "missing.tif", out), "missing.tif")
    refused(predict(tmp_path, out))
    refused(predict(empty, out), "empty")
    refused(predict(cut, out), "cut.tif")
    refused(predict(text, out), "notes.tif")
    refused(predict(make_vrt(tmp_path / "upload.tif", small), out), "upload.tif")
    assert list(out.iterdir()) == []


def test_volumes_that_are_none(tmp_path: Path, out: Path) -> None:
    affine, values = np.eye(4), address_volume((20, 30, 40))
    whole = write_volume(tmp_path / "whole.nii", values, affine)
    cut = tmp_path / "cut.nii"
    cut.write_bytes(whole.read_bytes()[:9000])
    squeezed = tmp_path / "cut.nii.gz"
    squeezed.write_bytes(gzip.compress(whole.read_bytes())[:-2000])
    four = write_volume(tmp_path / "four.nii", values.reshape(20, 30, 20, 2), affine)
    image = nibabel.Nifti1Image(values, affine)
    image.header["srow_x"] = image.header["srow_y"]
    flat = tmp_path / "flat.nii"
    nibabel.Nifti1Image(values, None, image.header).to_filename(flat)
    phase = write_volume(tmp_path / "phase.nii", values.astype(np.complex64), affine)
    target = ("--output", out / "result.nii.gz", "--model", "probe")
    refused(segbatch("predict", cut, *target), "cut.nii")
    refused(segbatch("predict", squeezed, *target), "cut.nii.gz")
    refused(segbatch("predict", four, *target), "--volume")
    refused(segbatch("predict", flat, *target), "flat.nii")
    refused(segbatch("predict", phase, *target), "complex")
    assert segbatch("predict", four, "--volume", 1, *target).status == 0
    refused(segbatch("predict", four, "--volume", 2, *target), "volume")
    found = nibabel.load(out / "result.nii.gz")
    assert np.array_equal(np.asarray(found.dataobj), values.reshape(20, 30, 20, 2)[..., 1] % 8)


def test_a_file_that_fails_midway_is_partial_and_says_where(data: Path, out: Path) -> None:
    ran = predict(data / "geotiff_awkward" / "rasterio_corrupt.tif", out, "--json")
    assert ran.status == 3
    assert "512:1024,512:1024" in ran.err
    report = ran.json
    assert report["status"] == "partial"
    assert report["unclassified_voxels"] >= 512 * 512
    assert segbatch("verify", out / "result.tif").status == 3


def test_outputs_that_make_no_sense(tmp_path: Path, out: Path, small: Path, volume: Path) -> None:
    refused(segbatch("predict", small, "-o", out / "a.nii.gz", "--model", "probe"), ".tif")
    refused(segbatch("predict", volume, "-o", out / "a.tif", "--model", "probe"), ".nii.gz")
    refused(segbatch("predict", small, "-o", out / "a.docx", "--model", "probe"), ".zarr")
    assert segbatch("predict", small, "-o", tmp_path / "z.zarr", "--model", "probe").status == 0
    refused(segbatch("predict", small, "-o", tmp_path / "z.zarr" / "a.tif", "--model", "probe"))
    refused(segbatch("predict", small, "-o", "/proc/a.tif", "--model", "probe"), "another output")
    assert list(out.iterdir()) == []


def test_a_foreign_output_survives(out: Path, small: Path) -> None:
    mine = out / "result.tif"
    mine.write_text("mine")
    refused(predict(small, out), "--overwrite")
    assert mine.read_text() == "mine"


def test_an_input_is_never_its_own_output(small: Path) -> None:
    before = small.read_bytes()
    refused(segbatch("predict", small, "-o", small, "--model", "probe", "--overwrite"), "input")
    assert small.read_bytes() == before


def test_models_that_do_not_fit(tmp_path: Path, out: Path, small: Path, volume: Path) -> None:
    target = ("-o", out / "result.tif")
    refused(segbatch("predict", small, *target, "--model", "nonesuch"), "nonesuch", "probe")
    refused(segbatch("predict", small, *target, "--model", bundle(tmp_path, channels=4)), "4")
    refused(segbatch("predict", small, *target, "--model", bundle(tmp_path, rank=3)), "volume")
    refused(segbatch("predict", small, *target), "--model")
    assert list(out.iterdir()) == []


def test_damaged_bundles(tmp_path: Path, out: Path, small: Path) -> None:
    target = ("-o", out / "result.tif")
    changed = bundle(tmp_path, channels=2)
    refused(segbatch("predict", small, *target, "--model", changed), "hash")
    newer = bundle(tmp_path, channels=2, schema=99)
    refused(segbatch("predict", small, *target, "--model", newer), "upgrade")
    unknown = bundle(tmp_path, channels=2, extra={"colour_of_the_sky": "blue"})
    refused(segbatch("predict", small, *target, "--model", unknown), "colour_of_the_sky")
    (unknown / "card.json").write_text("{")
    refused(segbatch("predict", small, *target, "--model", unknown), "JSON")
    assert list(out.iterdir()) == []


def bundle(
    folder: Path,
    *,
    channels: int = 1,
    rank: int = 2,
    schema: int = 1,
    extra: dict[str, Any] | None = None,
) -> Path:
    """A bundle whose weights are not what its card says."""
    card = ModelCard(
        name="b",
        kind="raster" if rank == 2 else "volume",
        rank=rank,
        channels=tuple(map(str, range(channels))),
        classes=tuple(ClassInfo(id=i, name=str(i), colour=(i, i, i)) for i in range(2)),
        normalisation=Normalisation(kind="source"),
        weights_sha256="0" * 64,
    )
    path = folder / f"bundle-{channels}-{rank}-{schema}-{len(extra or {})}"
    path.mkdir()
    text = {**card.model_dump(mode="json"), "schema_version": schema, **(extra or {})}
    (path / "card.json").write_text(json.dumps(text))
    (path / "model.keras").write_bytes(b"weights")
    return path


def test_plans_that_cannot_be(out: Path, small: Path) -> None:
    refused(predict(small, out, "--memory", "100MiB"), "--memory")
    refused(predict(small, out, "--memory", "lots"), "lots")
    refused(predict(small, out, "--overlap", "512"), "overlap")
    for block in ("100", "0,0", "-5,5", "a,b"):
        refused(predict(small, out, "--block", block), "block")
    refused(predict(small, out, "--memory", "1e400"), "1e400")
    refused(predict(small, out, "--taper", "square"), "square")
    refused(predict(small, out, "--cluster", "moon"), "moon")
    refused(predict(small, out, "--cluster", "tcp://127.0.0.1:9"), "127.0.0.1:9")
    assert list(out.iterdir()) == []


def test_usage_errors_have_status_2(run: Any) -> None:
    for arguments in (["predict"], ["predict", "a.tif", "--nonsense"], ["nonsense"]):
        assert run(*arguments).status == 2


@pytest.mark.needs("mount")
def test_a_full_disk_is_one_line_and_harms_nothing(tmp_path: Path) -> None:
    """A file system of 300 KiB, in a name space of its own. Status 99: a result was left on it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (1, 2000, 2000)).astype(np.uint8)
    scene = write_raster(tmp_path / "noise.tif", noise)
    mount = f"mount -t tmpfs -o size=300k none {disk}"
    script = f'{mount} && "$@"; status=$?; test ! -e {disk}/result.tif || exit 99; exit $status'
    command = [sys.executable, "-m", "seg_batch", "predict", scene, "-o", disk / "result.tif"]
    # By force: what may be needed is compared with what is free before.
    words = ["unshare", "-rm", "sh", "-c", script, "sh", *command, "--model", "probe", "--force"]
    ran = Ran(subprocess.run(words, capture_output=True, text=True, timeout=300))
    assert ran.status == 130
    assert "the disk is full" in ran.err
    assert ran.err.count("\n") == 1


def test_a_misspelt_keyword_gets_a_hint(small: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"no option 'overlp'; did you mean overlap\?"):
        seg_batch.predict(small, tmp_path / "o.tif", model="probe", overlp=8)


def test_a_damaged_mask_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1, 256, 256)).astype(np.uint8)
    scene = write_raster(tmp_path / "a.tif", noise)
    mask = tmp_path / "a.tif.msk"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(scene, "r+") as file:
        file.write_mask(noise[0] > 99)
    mask.write_bytes(mask.read_bytes()[: mask.stat().st_size // 2])
    with pytest.raises(SegbatchError, match=r"a\.tif\.msk is damaged"):
        seg_batch.predict(scene, tmp_path / "o.tif", model="probe")
