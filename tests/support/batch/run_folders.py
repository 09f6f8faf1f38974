"""Run folders as a night leaves them: real products, and a journal whose times are chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.io import MemoryFile

from seg_batch.batch.summaries import input_facts, result_of
from seg_batch.config.predict_options import PredictOptions
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request, prepare
from tests.support.files import address_raster, address_volume, write_raster, write_volume

BEGUN = 1_790_000_000.0
HOSTILE = "a <script>alert(1)<&\"'>\x1b[31m\u202egnp.tif"

RESULT: dict[str, Any] = {
    "status": "complete",
    "output": "/nowhere/a.tif",
    "report": "/nowhere/a.tif.json",
    "product": {"sha256": "0" * 64, "bytes": 10, "mtime_ns": 1},
    "seconds": 2.0,
    "stages_s": {"read": 0.5, "model": 1.0, "total": 1.5},
    "tiles": 30,
    "tiles_skipped": 10,
    "blocks": {"total": 1, "done": 1, "failed": 0, "resumed": 0},
    "promised_bytes": 100,
    "peak_rss_bytes": 90,
    "worker": "h:1",
    "classes": [
        {
            "id": 1,
            "name": "forest",
            "colour": [0, 99, 0],
            "voxels": 5,
            "share": 0.5,
            "hectares": 2.5,
        }
    ],
    "seam_index": 1.02,
    "warnings": ["not georeferenced"],
    "failures": [],
}
FACTS = {"kind": "raster", "extent": [10, 10], "blocks": 1, "voxels": 100, "model": "m"}


class Told:
    """A journal being written: ``tell`` puts an event at so many seconds after the beginning."""

    def __init__(self, folder: Path, name: str = "overnight") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.lines = folder, []
        (folder / "workflow.json").write_text(json.dumps({"name": name, "model": "probe"}))
        self.tell(0, "begun", workflow_sha256="0" * 64, host="nighthost", pid=7, segbatch="0.1.0")

    def tell(self, at: float, kind: str, input: str | None = None, **fields: Any) -> None:
        self.lines.append({"t": BEGUN + at, "event": kind, "input": input, **fields})

    def done(self, at: float, seconds: float, key: str, result: dict, worker: str) -> None:
        """An input that was begun and is done ``seconds`` later."""
        self.tell(at, "started", key, attempt=1)
        times = {"began": BEGUN + at, "finished": BEGUN + at + seconds, "seconds": seconds}
        outcome = {**result, **times, "worker": worker}
        self.tell(at + seconds, "done", key, outcome=outcome)

    def end(self, at: float, status: int = 0, why: str = "") -> Path:
        self.tell(at, "ended", status=status, why=why)
        return self.write()

    def write(self) -> Path:
        lines = sorted(self.lines, key=lambda event: event["t"])
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (self.folder / "journal.jsonl").write_text(text, encoding="utf-8")
        return self.folder


def product(path: Path, output: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """``(facts, result)`` of a real run of the built-in predictor over ``path``."""
    request = Request(str(path), str(output), "probe", PredictOptions(), "inline")
    facts = input_facts(prepare(request))
    return facts, result_of(predict_one(request), 0.0, "nighthost:1")


def scene(path: Path, shape: tuple[int, int] = (90, 130), bands: int = 1) -> Path:
    return write_raster(path, address_raster(shape, bands, "uint8"), nodata=255)


def head(path: Path, shape: tuple[int, int, int] = (24, 20, 9)) -> Path:
    """1 x 1.5 x 3 mm, stored LAS."""
    return write_volume(path, address_volume(shape), np.diag([-1, 1.5, 3, 1]))


def small_night(folder: Path) -> Path:
    """One of each: complete scene and volume, refused, failed after a retry, partial, waiting."""
    told = Told(folder / "run")
    first, second = "nighthost:11", "nighthost:12"
    a = scene(folder / HOSTILE.replace("/", "_"))
    b, c = head(folder / "head.nii.gz"), scene(folder / "holes.tif", bands=3)
    found = {}
    for k, path in enumerate((a, b, c)):
        ending = ".nii.gz" if path.name.endswith("gz") else ".tif"
        found[k] = product(path, folder / f"out{k}{ending}")
        told.tell(1, "surveyed", str(path), facts=found[k][0])
    told.tell(1, "refused", "gone.tif", error="gone.tif does not exist: mend its <path>")
    told.tell(1, "surveyed", "later.tif", facts=found[0][0])
    told.tell(1, "surveyed", "bad.tif", facts=found[0][0])
    told.done(2, 5, str(a), found[0][1], first)
    told.done(2, 9, str(b), found[1][1], second)
    failure = {"block": "0.1", "box": "[0:64, 64:128]", "error": "the input can't be read"}
    holes = {"status": "partial", "failures": [failure]}
    holes["blocks"] = {"total": 6, "done": 5, "failed": 1, "resumed": 0}
    told.done(8, 20, str(c), {**found[2][1], **holes}, first)
    told.tell(12, "started", "bad.tif", attempt=1, worker=second)
    told.tell(14, "retried", "bad.tif", attempt=1, error="worker died", wait_s=1)
    told.tell(14, "worker_lost", worker=second, why="killed by the kernel")
    told.tell(15, "started", "bad.tif", attempt=2, worker=second)
    told.tell(18, "failed", "bad.tif", error="DamagedError: no", status=3, worker=second)
    return told.end(30, 3, "the disk is nearly full")


def pixels(png: bytes | None) -> np.ndarray:
    assert png is not None
    with MemoryFile(png) as memory, memory.open() as file:
        return np.moveaxis(file.read(), 0, -1)
