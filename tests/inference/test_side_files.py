"""An input is another one when a file that belongs to it changes; names may be as long as they get."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio

from seg_batch.batch.inputs.expand import products
from seg_batch.config.predict_options import PredictOptions
from seg_batch.config.workflow.output_names import output_name
from seg_batch.core.errors import OutputError, StoreError
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request
from seg_batch.inference.verify import verify_product
from tests.support.files import address_raster, write_raster


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "scene.tif", address_raster((40, 30), 3, "uint16"))


def mask(path: Path, valid: np.ndarray) -> None:
    write_raster(path.with_name("mask.tif"), valid[None].astype(np.uint8) * 255)
    with rasterio.open(path.with_name("mask.tif"), "r+") as file:
        file.update_tags(INTERNAL_MASK_FLAGS_1="2", INTERNAL_MASK_FLAGS_2="2", INTERNAL_MASK_FLAGS_3="2")  # fmt: skip
    path.with_name("mask.tif").replace(f"{path}.msk")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def labels(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return np.asarray(file.read(1))


def test_a_mended_mask_is_another_input(scene: Path, tmp_path: Path) -> None:
    valid = np.ones((40, 30), bool)
    mask(scene, valid)
    out = tmp_path / "o.tif"
    request = Request(str(scene), str(out), model="probe")
    predict_one(request)
    valid[:20] = False
    mask(scene, valid)
    failed = [check["name"] for check in verify_product(out)["checks"] if not check["ok"]]
    assert failed == ["input"]
    with pytest.raises(StoreError, match=r"the input file has changed since \(\.msk beside it\)"):
        predict_one(request)
    predict_one(Request(str(scene), str(out), model="probe", overwrite=True))
    assert ((labels(out) == 255) == ~valid).all()


def test_what_a_viewer_adds_is_no_change(scene: Path, tmp_path: Path) -> None:
    request = Request(str(scene), str(tmp_path / "o.tif"), model="probe")
    predict_one(request)
    with rasterio.open(scene) as file:
        file.stats(indexes=1)
    shutil.copy(scene, f"{scene}.ovr")
    assert Path(f"{scene}.aux.xml").exists()
    assert predict_one(request)["blocks"]["resumed"] == 1
    assert verify_product(tmp_path / "o.tif")["ok"]


def test_an_rpc_file_beside_the_output_is_refused_before_work(scene: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "o_rpc.txt").write_text("LINE_OFF: 1")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"o_rpc\.txt would be read"):
            predict_one(Request(str(scene), str(tmp_path / "out" / "o.tif"), model="probe", overwrite=overwrite))  # fmt: skip
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["o_rpc.txt"]


@pytest.mark.parametrize("letter", ["n", "é"])
def test_the_longest_names_are_done_known_and_verified(
    scene: Path, tmp_path: Path, letter: str
) -> None:
    stem = letter * (250 // len(letter.encode()))
    long = tmp_path / f"{stem}.tif"
    scene.rename(long)
    out = tmp_path / "out"
    options = PredictOptions(probabilities=True)
    for output in (f"{out}/", str(out / long.name)):
        request = Request(str(long), output, model="probe", options=options)
        report = predict_one(request)
        assert verify_product(Path(report["output"]))["ok"]
        assert predict_one(request)["blocks"]["resumed"] == 1
    assert len(list(out.iterdir())) == 6
    assert products(str(out)) >= {path.name for path in out.glob("*.tif")}
    assert f"{output_name('{stem}_labels', str(long), 1, '.tif')}.tif" in names(out)
    twin = long.with_name(f"{stem[:-1]}m.tif")
    long.rename(twin)
    predict_one(Request(str(twin), f"{out}/", model="probe"))
    assert len(list(out.iterdir())) == 8, "another name, another product"
    with pytest.raises(OutputError, match="too long a name"):
        predict_one(Request(str(twin), str(out / f"x{'y' * 252}.tif"), model="probe"))
