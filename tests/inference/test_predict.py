"""The main job end to end with the probe: exact against the input, whatever the tiling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio
import zarr

import seg_batch
from seg_batch.config.card import ClassInfo, ModelCard, Normalisation, SkipRule
from seg_batch.config.predict_options import PredictOptions
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request
from seg_batch.inference.sliding_window.stitch import Stitcher
from seg_batch.inference.verify import verify_product
from tests.support.files import address_raster, address_volume, write_raster, write_volume


def predict(path: Path, output: Path, **asked: Any) -> dict[str, Any]:
    options = PredictOptions(
        **{k: asked.pop(k) for k in list(asked) if k in PredictOptions.__annotations__}
    )
    asked.setdefault("model", "probe")
    return predict_one(Request(str(path), str(output), options=options, **asked))


def labels_of(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


def floor_mod_8(values: np.ndarray) -> np.ndarray:
    return np.mod(np.floor(values.astype(np.float64)), 8).astype(np.uint8)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32", "float64"])
def test_a_raster_of_any_type_is_exact(tmp_path: Path, dtype: str) -> None:
    values = address_raster((600, 431), 2, dtype)
    if dtype == "uint32":
        values = values + np.uint32(2**31 + 1)
    if dtype.startswith("float"):
        values = (values / 3 - 20).astype(dtype)
    scene = write_raster(tmp_path / "a.tif", values)
    report = predict(scene, tmp_path / "out.tif")
    assert np.array_equal(labels_of(tmp_path / "out.tif"), floor_mod_8(values[0]))
    assert report["status"] == "complete"
    assert report["peak_rss_bytes"] > 0
    assert verify_product(tmp_path / "out.tif")["ok"]


def test_nodata_stays_nodata_and_areas_add_up(tmp_path: Path) -> None:
    values = address_raster((520, 300), 2, "uint16")
    values[:, 100:420, 40:] = 65535
    scene = write_raster(tmp_path / "a.tif", values, nodata=65535)
    report = predict(scene, tmp_path / "out.tif")
    expected = floor_mod_8(values[0])
    expected[100:420, 40:] = 255
    assert np.array_equal(labels_of(tmp_path / "out.tif"), expected)
    assert report["unclassified_voxels"] == 320 * 260
    for row in report["classes"]:
        assert row["voxels"] == (expected == row["id"]).sum()
        assert row["hectares"] == pytest.approx(row["voxels"] * 0.09)


@pytest.mark.full
@pytest.mark.parametrize("block", [(1024, 1024), (2048, 1024), (1024, 3072)])
def test_three_block_shapes_give_the_same_bytes(tmp_path: Path, block: tuple[int, int]) -> None:
    values = address_raster((1500, 2100), 1, "uint8")
    scene = write_raster(tmp_path / "a.tif", values)
    report = predict(scene, tmp_path / "out.tif", block=block, probabilities=True)
    whole = predict(scene, tmp_path / "whole.tif", block=(2048, 3072), probabilities=True)
    assert report["blocks"]["total"] > whole["blocks"]["total"] == 1
    assert np.array_equal(labels_of(tmp_path / "out.tif"), labels_of(tmp_path / "whole.tif"))
    assert report["product"]["counts"] == whole["product"]["counts"]
    assert report["probabilities"]["sha256"] == whole["probabilities"]["sha256"]


def test_a_volume_comes_back_in_its_own_orientation(volume: Path, tmp_path: Path) -> None:
    report = predict(volume, tmp_path / "out.nii.gz")
    image, found = nibabel.load(volume), nibabel.load(tmp_path / "out.nii.gz")
    assert np.array_equal(np.asarray(found.dataobj), floor_mod_8(image.get_fdata()))
    assert np.array_equal(found.affine, image.affine)
    for name in ("sform_code", "qform_code", "pixdim", "xyzt_units"):
        assert np.array_equal(found.header[name], image.header[name])
    millilitres = sum(row["millilitres"] for row in report["classes"])
    assert millilitres == pytest.approx(61 * 45 * 37 * 1.5 * 0.9 * 2 / 1000, rel=1e-5)


@pytest.mark.full
def test_a_large_volume_in_several_blocks(tmp_path: Path) -> None:
    values = address_volume((150, 140, 290))
    path = write_volume(tmp_path / "a.nii", values, np.diag([-1.0, 1, 1, 1]))
    report = predict(path, tmp_path / "out.nii", block=(128, 256, 256))
    assert report["blocks"]["total"] == 3
    found = np.asarray(nibabel.load(tmp_path / "out.nii").dataobj)
    assert np.array_equal(found, floor_mod_8(values))


def test_a_2d_model_goes_slice_by_slice(volume: Path, tmp_path: Path) -> None:
    """Slices are axial in the model's orientation, whatever the file's."""
    seen = []

    def threshold(patches: np.ndarray) -> np.ndarray:
        seen.append(patches.shape)
        high = (patches[..., 0] > 100).astype(np.float32)
        return np.stack([1 - high, high], -1)

    card = two_classes(kind="volume", rank=2, patch=(32, 32), overlap=(8, 8))
    predict(volume, tmp_path / "out.nii.gz", model=(card, threshold))
    expected = nibabel.load(volume).get_fdata() > 100
    found = np.asarray(nibabel.load(tmp_path / "out.nii.gz").dataobj)
    assert np.array_equal(found == 7, expected)
    assert {shape[1:] for shape in seen} == {(32, 32, 1)}


def two_classes(**fields: Any) -> ModelCard:
    classes = (
        ClassInfo(id=0, name="low", colour=(0, 0, 0)),
        ClassInfo(id=7, name="high", colour=(255, 0, 0)),
    )
    identity = Normalisation(kind="identity")
    return ModelCard(**{"name": "t", "classes": classes, "normalisation": identity, **fields})


def test_class_ids_are_the_cards(scene: Path, tmp_path: Path) -> None:
    def threshold(patches: np.ndarray) -> np.ndarray:
        high = (patches[..., 0] > 100).astype(np.float32)
        return np.stack([1 - high, high], -1)

    report = seg_batch.predict(
        scene, tmp_path / "out.tif", model=(two_classes(kind="raster", rank=2), threshold)
    )
    with rasterio.open(scene) as file:
        expected = np.where(file.read(1) > 100, 7, 0)
    assert np.array_equal(labels_of(tmp_path / "out.tif"), expected)
    assert [row["id"] for row in report["classes"]] == [0, 7]


def test_a_skip_rule_changes_only_how_much_is_predicted(tmp_path: Path) -> None:
    """Voxels at most -500 get class 0 by rule; with and without whole empty tiles, the same."""
    values = address_volume((90, 70, 50))
    values[40:] = -900
    path = write_volume(tmp_path / "a.nii", values, np.eye(4))

    def above(patches: np.ndarray) -> np.ndarray:
        high = (patches[..., 0] > -1000).astype(np.float32)
        return np.stack([1 - high, high], -1)

    card = two_classes(kind="volume", rank=3, patch=(16, 16, 16), overlap=(4, 4, 4))
    skipping = card.model_copy(update={"skip": SkipRule(below=-500, label=0)})
    report = predict(path, tmp_path / "out.nii", model=(skipping, above))
    assert report["tiles_skipped"] > 0
    found = np.asarray(nibabel.load(tmp_path / "out.nii").dataobj)
    assert np.array_equal(found, np.where(values <= -500, 0, 7))


@pytest.mark.parametrize("low", [None, 40.0])
def test_blocks_of_nothing_are_as_they_would_be_in_a_block_with_more(
    tmp_path: Path, low: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = address_raster((300, 2300), 1, "uint8") + np.uint8(4)
    values[:, :, 130:2250] = 0 if low is None else 30
    scene = write_raster(tmp_path / "a.tif", values, nodata=0)

    def crooked(patches: np.ndarray) -> np.ndarray:
        ramp = np.linspace(0.2, 0.8, patches.shape[2], dtype=np.float32)
        high = ramp * (patches[..., 0] > 100) + np.float32(0.1)
        return np.stack([1 - high, high], -1)

    card = two_classes(kind="raster", rank=2, patch=(32, 32), overlap=(8, 8))
    if low is not None:
        card = card.model_copy(update={"skip": SkipRule(below=low, label=7)})
    told, maps, stitched = [], [], []
    sums = Stitcher.sums
    monkeypatch.setattr(Stitcher, "sums", lambda *asked: stitched.append(1) or sums(*asked))
    for name, block in (("small", (300, 1024)), ("whole", (300, 2300))):
        out = tmp_path / f"{name}.zarr"
        told.append(predict(scene, out, model=(card, crooked), probabilities=True, block=block))
        group = zarr.open_group(out, mode="r")
        maps.append((group["labels"][:], group["probabilities"][:]))
    assert len(stitched) == 2 + 1, "of three blocks one is of nothing"
    seams = [{k: v for k, v in one["seams"].items() if k != "blocks"} for one in told]
    assert seams[0] == seams[1]
    assert all(np.array_equal(a, b) for a, b in zip(*maps, strict=True))
    assert (maps[0][0][:, 130:2250] == (255 if low is None else 7)).all()


def test_probabilities_are_kept_beside_the_labels(scene: Path, tmp_path: Path) -> None:
    predict(scene, tmp_path / "out.tif", probabilities=True)
    with rasterio.open(tmp_path / "out_probabilities.tif") as file:
        found = file.read()
        assert file.count == 8
        assert file.descriptions[3] == "residue 3"
    labels = labels_of(tmp_path / "out.tif")
    assert np.array_equal(found.argmax(0), labels)
    assert set(np.unique(found)) == {0, 255}


def test_a_zarr_input_is_known_again(scene: Path, tmp_path: Path) -> None:
    predict(scene, tmp_path / "in.zarr")
    predict(tmp_path / "in.zarr", tmp_path / "out.tif")
    assert verify_product(tmp_path / "out.tif")["ok"]


def test_a_zarr_product_holds_everything(scene: Path, tmp_path: Path) -> None:
    report = predict(scene, tmp_path / "out.zarr", probabilities=True)
    predict(scene, tmp_path / "out.tif")
    group = zarr.open_group(tmp_path / "out.zarr", mode="r")
    assert np.array_equal(group["labels"][:], labels_of(tmp_path / "out.tif"))
    assert group["probabilities"].shape == (8, 700, 533)
    assert report["status"] == "complete"
    assert verify_product(tmp_path / "out.zarr")["ok"]
    again = predict(tmp_path / "out.zarr", tmp_path / "again.zarr")
    assert again["status"] == "complete"


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (700, 1), (5, 7)])
def test_tiny_and_thin_rasters_work(tmp_path: Path, shape: tuple[int, int]) -> None:
    values = address_raster(shape, 2, "int16")
    scene = write_raster(tmp_path / "a.tif", values, tiled=False)
    predict(scene, tmp_path / "out.tif")
    assert np.array_equal(labels_of(tmp_path / "out.tif"), floor_mod_8(values[0]))


def test_all_nodata_and_nan_work(tmp_path: Path) -> None:
    empty = write_raster(tmp_path / "empty.tif", np.zeros((1, 80, 90), "uint8"), nodata=0)
    predict(empty, tmp_path / "e.tif")
    assert (labels_of(tmp_path / "e.tif") == 255).all()
    odd = np.arange(80 * 90, dtype=np.float32).reshape(1, 80, 90)
    odd[0, 3], odd[0, 5, 5] = np.nan, np.inf
    predict(write_raster(tmp_path / "odd.tif", odd), tmp_path / "o.tif")
    found = labels_of(tmp_path / "o.tif")
    assert (found[3] == 255).all()
    assert found[5, 5] == 255
    assert (found == 255).sum() == 91


def test_nothing_that_is_not_finite_reaches_the_model(tmp_path: Path) -> None:
    odd = np.random.default_rng(0).normal(size=(2, 70, 70)).astype(np.float32)
    odd[0, ::3], odd[1, :, ::5], odd[0, 1, 1] = np.nan, -np.inf, 3e38

    def strict(patches: np.ndarray) -> np.ndarray:
        assert np.isfinite(patches).all()
        return np.full((*patches.shape[:-1], 2), 0.5, np.float32)

    statistics = Normalisation(kind="source")
    card = two_classes(kind="raster", rank=2, normalisation=statistics, patch=(32, 32))
    report = predict(
        write_raster(tmp_path / "a.tif", odd), tmp_path / "out.tif", model=(card, strict)
    )
    assert report["status"] == "complete"


@pytest.mark.full
def test_two_local_workers_give_the_bytes_of_one(tmp_path: Path, run: Any) -> None:
    values = address_raster((2200, 1500), 2, "uint16")
    scene = write_raster(tmp_path / "a.tif", values)
    one = run("predict", scene, "-o", tmp_path / "one.tif", "--model", "probe", "--json")
    two = run(
        *("predict", scene, "-o", tmp_path / "two.tif", "--model", "probe", "--json"),
        *("--cluster", "local", "--workers", 2, "--block", "1024,1024"),
    )
    assert (one.status, two.status) == (0, 0), two.err
    assert two.json["blocks"] == {"total": 6, "done": 6, "failed": 0, "resumed": 0}
    assert one.json["product"]["counts"] == two.json["product"]["counts"]
    assert np.array_equal(labels_of(tmp_path / "one.tif"), labels_of(tmp_path / "two.tif"))
