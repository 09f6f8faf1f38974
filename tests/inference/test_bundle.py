"""Whole runs with a network: random weights, so that any change of bytes would show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio

from seg_batch.config.predict_options import PredictOptions
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request
from tests.support import hardware
from tests.support.bundles import make_bundle
from tests.support.files import address_raster, segbatch, write_raster

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("b") / "flat", 2, 2)


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    values = address_raster((1100, 2100), 2, "uint16")
    return write_raster(tmp_path / "wide.tif", values)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


@pytest.mark.parametrize(
    ("engine", "precision"),
    [
        ("openvino", "float32"),
        pytest.param("openvino", "mixed", marks=pytest.mark.needs("bfloat16")),
        ("tensorflow", "mixed"),  # imitated where the CPU has no bfloat16
    ],
)
def test_blocks_do_not_change_a_byte(
    flat: Path, wide: Path, tmp_path: Path, engine: str, precision: str
) -> None:
    """Probabilities too, which would show the last bit of a sum."""
    found = []
    for n, block in enumerate([(2048, 3072), (1024, 1024), (2048, 1024)]):
        out = tmp_path / f"{n}.tif"
        options = PredictOptions(
            block=block, probabilities=True, engine=engine, precision=precision
        )
        report = predict_one(Request(str(wide), str(out), model=str(flat), options=options))
        assert report["plan"]["precision"] == precision
        found.append(read(out).tobytes() + read(tmp_path / f"{n}_probabilities.tif").tobytes())
    assert len(set(found)) == 1
    assert len(np.unique(np.frombuffer(found[0], np.uint8))) > 100


def test_a_cpu_without_bfloat16_takes_float32_and_refuses_openvino_the_other(
    flat: Path, wide: Path, tmp_path: Path
) -> None:
    without = {"PYTHONPATH": str(hardware.WITHOUT_BFLOAT16)}
    words = ("predict", wide, "-o", tmp_path / "o.tif", "--model", flat)
    refused = segbatch(*words, "--precision", "mixed", **without)
    assert (refused.status, refused.err.count("\n")) == (2, 1), refused.err
    assert "does not compute in bfloat16" in refused.err
    assert "--precision float32" in refused.err
    assert not list(tmp_path.glob("o*"))
    ran = segbatch(*words, "--json", **without)
    assert (ran.json["plan"]["engine"], ran.json["plan"]["precision"]) == ("openvino", "float32")


def test_workers_do_not_change_a_byte(flat: Path, wide: Path, tmp_path: Path) -> None:
    more = ("--model", flat, "--block", "1024,1024", "--probabilities", "--json")
    one = segbatch("predict", wide, "-o", tmp_path / "one.tif", *more)
    two = segbatch(
        *("predict", wide, "-o", tmp_path / "two.tif", *more),
        *("--cluster", "local", "--workers", 2),
    )
    assert (one.status, two.status) == (0, 0), one.err + two.err
    assert np.array_equal(read(tmp_path / "one.tif"), read(tmp_path / "two.tif"))
    probabilities = (one.json["probabilities"], two.json["probabilities"])
    assert probabilities[0]["sha256"] != "" != probabilities[1]["sha256"]
    names = ("one_probabilities.tif", "two_probabilities.tif")
    assert np.array_equal(*(read(tmp_path / name) for name in names))


def test_memory_is_promised_and_kept(flat: Path, wide: Path, tmp_path: Path) -> None:
    report = segbatch("predict", wide, "-o", tmp_path / "o.tif", "--model", flat, "--json").json
    assert 0 < report["peak_rss_bytes"] <= report["promised_bytes"]


def test_a_3d_model_on_a_volume_and_not_on_a_raster(
    volume: Path, scene: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    solid = make_bundle(tmp_path_factory.mktemp("b") / "solid", 3, 1)
    out = tmp_path / "out.nii.gz"
    options = PredictOptions(probabilities=True)
    report = predict_one(Request(str(volume), str(out), model=str(solid), options=options))
    assert report["status"] == "complete"
    labels = np.asarray(nibabel.load(out).dataobj)
    shares = nibabel.load(tmp_path / "out_probabilities.nii.gz")
    assert shares.shape == (*labels.shape, 3)
    assert np.array_equal(shares.affine, nibabel.load(volume).affine)
    assert np.allclose(shares.get_fdata().sum(-1), 1, atol=0.01)
    refused = segbatch("predict", scene, "-o", tmp_path / "o.tif", "--model", solid)
    assert refused.status == 2
    assert "raster" in refused.err


def truth(data: Path, name: str) -> Any:
    return nibabel.load(data / "msd_hippocampus" / "labels" / name)


def test_the_demo_beats_the_plain_baselines(data: Path, tmp_path: Path) -> None:
    """The packaged bundles on the packaged samples, which training did not see."""
    ran = segbatch("demo", "-o", tmp_path / "demo")
    assert ran.status == 0, ran.err
    label = data / "zion_landsat8_nlcd" / "label_nlcd8_on_landsat_grid.tif"
    with rasterio.open(tmp_path / "demo" / "zion_landsat8_labels.tif") as found:
        with rasterio.open(label) as whole:
            window = whole.window(*found.bounds)
            expected = whole.read(1, window=window)
        labels = found.read(1)
    some = (expected != 255) & (labels != 255)
    assert some.mean() > 0.9
    assert (labels == expected)[some].mean() > 0.72
    volumes = list((tmp_path / "demo").glob("hippocampus_*_labels.nii.gz"))
    assert volumes
    for path in volumes:
        labels = np.asarray(nibabel.load(path).dataobj)
        expected = truth(data, path.name.replace("_labels", "")).get_fdata()
        dice = [
            2
            * ((labels == k) & (expected == k)).sum()
            / ((labels == k).sum() + (expected == k).sum())
            for k in (1, 2)
        ]
        assert np.mean(dice) > 0.82
    assert len(list((tmp_path / "demo").glob("*.png"))) == 1 + len(volumes)
