"""Whether a worker's memory grows with the blocks it has done: 5 000 blocks in one worker process, with
the trivial predictor, and with a small ANU-Net in OpenVINO.

Target: resident memory over the last tenth of the blocks less than 3 % above that over the second
tenth (in the first, the model is loaded and every path is taken for the first time). Medians.

``python tests/benchmarks/leaks.py [--blocks 5000] [--only probe|anunet]``
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nights import resident_bytes
from timing import make_bundle, make_scene, show

import seg_batch

TARGET, SIDE, MIB = 1.03, 256, 1 << 20


class Worker:
    """Listens to a run of one worker: its memory after each block."""

    def __init__(self) -> None:
        self.bytes: list[int] = []
        self.pids: set[int] = set()

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *told: None

    def block(self, outcome: Any) -> None:
        if outcome.error is not None:
            raise outcome.error
        pid = int(outcome.result["worker"].rpartition(":")[2])
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
        block=(SIDE, SIDE),
        listener=told,
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
    side = SIDE * math.isqrt(told.blocks - 1) + SIDE
    good = True
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        scene = make_scene(work / "scene.tif", side, bands=1)
        network = {"channels": 1, "classes": 4, "filters": (4, 8, 16)}
        models = {"probe": "probe", "anunet": make_bundle(work / "bundle", 2, 128, 32, **network)}
        for name, model in models.items():
            if told.only in (None, name):
                good = grown(name, scene, work, model) < TARGET and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
