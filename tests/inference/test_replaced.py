"""What stands at the output is replaced only where it is ours, or where the user says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import rasterio

from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.errors import OutputError, StoreError
from seg_batch.inference.predict import predict_one
from seg_batch.inference.probe import PROBE_CARD, predict
from seg_batch.inference.request import Request
from tests.support.files import address_raster, write_raster

pytestmark = pytest.mark.full  # whole commands in processes of their own

BLOCK = ("--block", "1024,1024")


def test_another_plan_over_a_finished_product_is_refused(scene: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out.tif")
    predict_one(Request(str(scene), out, model="probe"))
    other = Request(str(scene), out, model="probe", options=PredictOptions(taper="linear"))
    with pytest.raises(StoreError, match="taper: hann became linear"):
        predict_one(other)


def test_a_map_of_other_classes_is_another(scene: Path, tmp_path: Path) -> None:
    """The labels of a network are what its card says, of which its weights know nothing."""
    out = str(tmp_path / "out.tif")
    predict_one(Request(str(scene), out, model=(PROBE_CARD, predict)))
    first, second, *others = PROBE_CARD.classes
    swapped = PROBE_CARD.model_copy(update={"classes": (second, first, *others)})
    with pytest.raises(StoreError, match="classes: 0="):
        predict_one(Request(str(scene), out, model=(swapped, predict)))


def test_a_changed_input_is_noticed(scene: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out.tif")
    predict_one(Request(str(scene), out, model="probe"))
    write_raster(scene, address_raster((700, 533), 3, "uint16") + 1)
    with pytest.raises(StoreError, match="the input file has changed"):
        predict_one(Request(str(scene), out, model="probe"))


def test_a_foreign_file_is_not_replaced(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    out.write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        predict_one(Request(str(scene), str(out), model="probe"))
    assert out.read_text() == "mine"
    predict_one(Request(str(scene), str(out), model="probe", overwrite=True))
    with rasterio.open(out) as product:
        assert product.shape == (700, 533)


def test_a_foreign_report_is_not_replaced(scene: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "out.tif.json"
    for text in ('{"mine": 1}', '{"segbatch": 1}', "not JSON"):
        foreign.write_text(text)
        with pytest.raises(OutputError, match="not a report"):
            predict_one(Request(str(scene), str(tmp_path / "out.tif"), model="probe"))
        assert foreign.read_text() == text


def test_overwrite_replaces_what_is_no_store(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    (tmp_path / "out.tif.work.zarr").mkdir()
    with pytest.raises(StoreError, match="not a work store"):
        predict_one(Request(str(scene), str(out), model="probe"))
    report = predict_one(Request(str(scene), str(out), model="probe", overwrite=True))
    assert report["status"] == "complete"


def test_a_product_changed_by_hand_is_not_replaced(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    predict_one(Request(str(scene), str(out), model="probe"))
    with out.open("ab") as file:
        file.write(b"edited")
    with pytest.raises(OutputError, match="unchanged"):
        predict_one(Request(str(scene), str(out), model="probe"))
