"""Whether a worker's memory grows with the blocks it has done: 5 000 blocks in one worker process, with
the trivial predictor, and with a small ANU-Net in OpenVINO.

Target: resident memory over the last tenth of the blocks less than 3 % above that over the second
tenth (in the first, the model is loaded and GDAL's cache of 64 MiB is filled: with fewer blocks than
5 000 it still fills later, which is no leak). Medians.

``python tests/benchmarks/leaks.py [--blocks 5000] [--only probe|anunet]``
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from nights import resident_bytes
from rasterio.windows import Window
from timing import make_bundle, show

import seg_batch
from seg_batch.core import events
from seg_batch.core.callbacks import Callback

TARGET, MIB = 1.03, 1 << 20
BLOCK = (1024, 128)  # no block has fewer rows than a chunk, so the scene is narrow and very high


def narrow_scene(path: Path, blocks: int) -> Path:
    """One column of blocks, one uint8 band; noise of which no two blocks have the same."""
    rows, width = BLOCK
    place = {"crs": "EPSG:32612", "transform": rasterio.Affine(1, 0, 3e5, 0, -1, 4.2e6)}
    shape = {"width": width, "height": rows * blocks, "count": 1, "dtype": "uint8"}
    tiles = {"tiled": True, "blockxsize": width, "blockysize": 128}
    rng = np.random.default_rng(blocks)
    with rasterio.open(path, "w", driver="GTiff", **tiles, **place, **shape) as file:
        for block in range(blocks):
            pixels = rng.integers(0, 8, (1, rows, width), np.uint8)
            file.write(pixels, window=Window(0, rows * block, width, rows))
    return path


class Worker(Callback):
    """Listens to a run of one worker: its memory after each block."""

    def __init__(self) -> None:
        self.bytes: list[int] = []
        self.pids: set[int] = set()

    def on(self, event: events.Event) -> None:
        if not isinstance(event, events.BlockEnded):
            return
        if event.error is not None:
            raise event.error
        pid = int(event.receipt["worker"].rpartition(":")[2])
        self.pids.add(pid)
        self.bytes.append(resident_bytes(pid))


def grown(name: str, scene: Path, work: Path, model: Any, **options: Any) -> float:
    told, start = Worker(), time.perf_counter()
    seg_batch.predict(
        scene,
        work / f"{name}.zarr",
        model=model,
        cluster="local",
        workers=1,
        block=BLOCK,
        callback=told,
        **options,
    )
    if len(told.pids) != 1:
        raise SystemExit(f"{len(told.pids)} worker processes, where one should have lived on")
    tenth = len(told.bytes) // 10
    before, after = told.bytes[tenth : 2 * tenth], told.bytes[-tenth:]
    growth = statistics.median(after) / statistics.median(before)
    show(
        f"leaks, {name}",
        f"{len(told.bytes)} blocks in {time.perf_counter() - start:.0f} s: "
        f"{statistics.median(before) / MIB:.1f} MiB in the second tenth, "
        f"{statistics.median(after) / MIB:.1f} in the last: x{growth:.4f} (target x{TARGET})",
        growth=growth,
        blocks=len(told.bytes),
        before_bytes=statistics.median(before),
        after_bytes=statistics.median(after),
    )
    return growth


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--blocks", type=int, default=5000)
    asked.add_argument("--only", choices=("probe", "anunet"))
    told = asked.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        scene = narrow_scene(work / "scene.tif", told.blocks)
        network = {"channels": 1, "classes": 4, "filters": (4, 8, 16)}
        models = {"probe": "probe", "anunet": make_bundle(work / "bundle", 2, 128, 32, **network)}
        for name, model in models.items():
            if told.only in (None, name):
                good = grown(name, scene, work, model) < TARGET and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
