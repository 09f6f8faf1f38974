"""What travels as JSON is what was declared: who adds a key to one has to add it to the other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from seg_batch.inference.api.predict import predict
from seg_batch.inference.report import Report
from seg_batch.inference.sliding_window.block import Receipt
from tests.support.declared import drift
from tests.support.files import address_raster, address_volume, write_raster, write_volume


@pytest.fixture(scope="module", params=["raster", "volume"])
def product(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "raster":
        path = write_raster(folder / "a.tif", address_raster((90, 130), 1, "uint8"), nodata=255)
        output = folder / "out.tif"
    else:
        path = write_volume(folder / "a.nii.gz", address_volume((24, 20, 9)), np.eye(4))
        output = folder / "out.nii.gz"
    predict(path, output, model="probe", post=("majority:3",), probabilities=True, keep_store=True)
    return output


def test_report_as_declared(product: Path) -> None:
    report = json.loads(product.with_name(f"{product.name}.json").read_text())
    assert drift(report, Report) == []
    assert report["probabilities"]
    assert report["post"]
    assert report["seams"]


def test_markers_are_receipts(product: Path) -> None:
    markers = list(product.parent.glob(f"{product.name}.work.zarr/done/*.json"))
    receipts = [json.loads(m.read_text()) for m in markers if m.name != "steps.json"]
    of_store = {"crc32", "fingerprint"}
    plain = [{k: v for k, v in r.items() if k not in of_store} for r in receipts if "tiles" in r]
    assert plain
    assert [drift(receipt, Receipt) for receipt in plain] == [[]] * len(plain)


def test_a_drift_is_seen(product: Path) -> None:
    report = json.loads(product.with_name(f"{product.name}.json").read_text())
    del report["blocks"]["resumed"]
    report["classes"][0]["weight"] = 1
    assert drift(report, Report, "report") == [
        "report.blocks.resumed is declared and not there",
        "report.classes[0].weight is there and not declared",
    ]
