"""The seam index in whole runs: counted by blocks, added up, told; without data nothing counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from seg_batch.cli.display.lines import summary_lines
from seg_batch.config.card import ModelCard
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.taper import Taper
from seg_batch.inference.plan import Plan
from seg_batch.inference.predict import predict_one
from seg_batch.inference.probe import CLASSES, PROBE_CARD
from seg_batch.inference.probe import predict as probe
from seg_batch.inference.request import Request
from seg_batch.inference.sliding_window.seams import SeamCounter, SeamCounts
from seg_batch.io.sinks.work_store import WorkStore
from tests.support.files import write_raster

PATCH, OVERLAP = (96, 64), (24, 16)
BLOCK = (1024, 1024)
EXTENT = (2300, 1300)


def card(**changes: Any) -> ModelCard:
    plain = PROBE_CARD.model_dump(mode="json")
    return ModelCard.model_validate(
        {**plain, "rank": 2, "patch": PATCH, "overlap": OVERLAP, **changes}
    )


def leaning(patches: np.ndarray) -> np.ndarray:
    """The probe of a value that grows along the patch."""
    lean = 3 * np.arange(patches.shape[1])[:, None, None] / patches.shape[1]
    return probe(patches + lean.astype(np.float32))


def noise(shape: tuple[int, int], nodata: bool = False) -> np.ndarray:
    """``(1, y, x)`` uint16: fields of 11 by 7 voxels, each 20 to 27; a corner without data."""
    rng = np.random.default_rng(11)
    y, x = np.indices(shape)
    values = 20 + rng.integers(0, 8, (210, 190))[y // 11, x // 7].astype(np.uint16)
    if nodata:
        values[100:600, 40:300] = 65535
    return values[None]


def run(scene: Path, output: Path, function: Any, **options: Any) -> dict[str, Any]:
    asked = PredictOptions(block=BLOCK, **options)
    return predict_one(Request(str(scene), str(output), model=(card(), function), options=asked))


@pytest.mark.full
def test_a_run_tells_what_its_product_shows(tmp_path: Path) -> None:
    """The counts of all blocks are those of the labels on disk, block by block."""
    values = noise(EXTENT, nodata=True)
    scene = write_raster(tmp_path / "a.tif", values, nodata=65535)
    report = run(scene, tmp_path / "out.tif", probe)
    with rasterio.open(tmp_path / "out.tif") as file:
        labels = file.read(1)
    plan = Plan.from_json(report["plan"])
    taper, total = Taper(plan.grid, plan.taper), SeamCounts.zero(2, CLASSES)
    for box in (block.box for block in plan.output_blocks):
        part = labels[box.slices()]
        counter = SeamCounter(taper, np.arange(CLASSES), box)
        one_hot = np.eye(256, dtype=np.float32)[part][..., :CLASSES]
        counter.add(box.start[0], one_hot, part, part != 255)
        total = total + counter.counts
    names = [c.name for c in card().classes]
    expected = total.summary(names, plan.blocks)
    assert report["seams"] == json.loads(json.dumps(expected))
    assert plan.blocks == 6
    assert report["seams"]["index"] == pytest.approx(1, abs=0.1)


@pytest.mark.full
def test_a_seam_is_seen_and_said_in_one_line(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "a.tif", noise(EXTENT))
    plain = run(scene, tmp_path / "straight.tif", probe, taper="crop")
    seen = run(scene, tmp_path / "seen.tif", leaning, taper="crop")
    assert plain["seams"]["index"] == pytest.approx(1, abs=0.1)
    assert seen["seams"]["index"] > 2
    assert f"seams: x{seen['seams']['index']:.2f} " in summary_lines(seen)
    assert summary_lines(seen).count("seams") == 1
    assert max(row["index"] for row in seen["seams"]["per_class"].values()) > 2


class StopAfter(Callback):
    def __init__(self, blocks: int) -> None:
        self.left = blocks

    def on(self, event: events.Event) -> None:
        self.left -= isinstance(event, events.BlockEnded)
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.full
def test_blocks_of_an_earlier_version_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "a.tif", noise(EXTENT))
    output = tmp_path / "out.tif"
    request = Request(
        str(scene), str(output), model=(card(), probe), options=PredictOptions(block=BLOCK)
    )
    with pytest.raises(KeyboardInterrupt):
        predict_one(request, StopAfter(3))
    store = WorkStore.open(tmp_path / "out.tif.work.zarr")
    old = 0
    for marker in (store.path / "done").glob("*.json"):
        receipt = json.loads(marker.read_text())
        if "seams" in receipt:
            old += 1
            marker.write_text(json.dumps({k: v for k, v in receipt.items() if k != "seams"}))
    assert old >= 3
    report = predict_one(request)
    assert report["status"] == "complete"
    assert report["seams"]["blocks"] == report["blocks"]["total"] - old


def test_a_report_without_the_count_is_still_told(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "a.tif", noise((300, 200)))
    report = run(scene, tmp_path / "out.tif", probe)
    for seams in (None, {**report["seams"], "index": None}):
        assert "seams" not in summary_lines({**report, "seams": seams})
    assert "seams" not in summary_lines({k: v for k, v in report.items() if k != "seams"})
