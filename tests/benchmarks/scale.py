"""What the coordinator of a large run takes: of one scene of 100 000 x 100 000 pixels, nearly all of them
empty, and of 10 000 small inputs against 1 000. Trivial predictor, two workers.

Targets: less than 5 ms of the coordinator's processor time per block and per input (Dask's scheduler,
which is a thread of it, included), and its memory less than 1.2 times as large with ten times as much.

``python tests/benchmarks/scale.py [--side 100000] [--inputs 10000]``; 0 leaves one out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from nights import Night, make_scenes, make_workflow, resident_bytes, run_night
from rasterio.windows import Window
from timing import show

from seg_batch.core import events
from seg_batch.core.callbacks import Callback

TARGET_MS, GROWTH = 5.0, 1.2
BLOCK, WORKERS, MIB = 2048, 2, 1 << 20


def sparse_scene(path: Path, side: int) -> Path:
    """One band; a tile on the diagonal in every 10 000 pixels holds data, the others are not there."""
    place = {"crs": "EPSG:32612", "transform": rasterio.Affine(1, 0, 3e5, 0, -1, 4.2e6)}
    shape = {"width": side, "height": side, "count": 1, "dtype": "uint8", "nodata": 0}
    tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "SPARSE_OK": True}
    with rasterio.open(path, "w", driver="GTiff", BIGTIFF="YES", **tiles, **place, **shape) as file:
        for corner in range(0, side - 512, min(10_000, side // 2)):
            pixels = np.random.default_rng(corner).integers(1, 8, (1, 512, 512), np.uint8)
            file.write(pixels, window=Window(corner, corner, 512, 512))
    return path


class Coordinator(Callback):
    """Listens to a run in this process: processor time and memory after each block."""

    def __init__(self) -> None:
        self.looks: list[tuple[float, int]] = []

    def on(self, event: events.Event) -> None:
        if not isinstance(event, events.BlockEnded):
            return
        if event.error is not None:
            raise event.error
        self.looks.append((time.process_time(), resident_bytes("self")))


def alone(scene: str, output: str) -> None:
    """One run in this process; a JSON object on standard output. The first tenth of the blocks is
    when workers open the scene and Dask's tables grow."""
    import seg_batch

    told = Coordinator()
    report = seg_batch.predict(
        scene,
        output,
        model="probe",
        cluster="local",
        workers=WORKERS,
        block=(BLOCK, BLOCK),
        callback=told,
    )
    n = len(told.looks)
    first, last = told.looks[n // 10], told.looks[-1]
    seconds = last[0] - first[0]
    figures = {
        "blocks": n,
        "ms_per_block": 1000 * seconds / (n - 1 - n // 10),
        "rss_early": first[1],
        "rss_late": last[1],
        "seconds": report["seconds"],
        "skipped": report["tiles_skipped"] / report["plan"]["tiles"],
    }
    print(json.dumps(figures))


def large_scene(work: Path, side: int) -> bool:
    scene = sparse_scene(work / "scene.tif", side)
    command = [sys.executable, __file__, "--alone", str(scene), str(work / "map.zarr")]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    found = json.loads(said)
    growth = found["rss_late"] / found["rss_early"]
    show(
        "scale, one scene",
        f"{side} x {side}, {found['blocks']} blocks in {found['seconds']:.0f} s: coordinator "
        f"{found['ms_per_block']:.2f} ms per block (target {TARGET_MS:.0f}), "
        f"{found['rss_late'] / MIB:.0f} MiB after all blocks and {found['rss_early'] / MIB:.0f} after a "
        f"tenth: x{growth:.3f} (target x{GROWTH})",
        side=side,
        growth=growth,
        **found,
    )
    return bool(found["ms_per_block"] < TARGET_MS and growth < GROWTH)


def night_of(work: Path, n: int) -> Night:
    inputs = make_scenes(work / f"inputs-{n}", n)
    lines = ("model: probe", "cluster: local", f"workers: {WORKERS}", "limits: {memory: 2GiB}")
    night = run_night(make_workflow(work / f"night-{n}", inputs, *lines))
    if night.told["complete"] != n:
        raise SystemExit(f"{night.told['complete']} of {n} inputs are complete: {night.told}")
    return night


def many_inputs(work: Path, n: int) -> bool:
    few, many = night_of(work, n // 10), night_of(work, n)
    growth = many.peak_bytes / few.peak_bytes
    seconds = many.coordinator_s - few.coordinator_s
    ms = 1000 * seconds / (n - n // 10)
    show(
        "scale, many inputs",
        f"{n} inputs in {many.seconds:.0f} s: coordinator {ms:.2f} ms per input (target "
        f"{TARGET_MS:.0f}), at most {many.peak_bytes / MIB:.0f} MiB, with {n // 10} inputs "
        f"{few.peak_bytes / MIB:.0f}: x{growth:.3f} (target x{GROWTH}); with the report "
        f"{many.report_peak_bytes / MIB:.0f} MiB and {few.report_peak_bytes / MIB:.0f}",
        inputs=n,
        ms_per_input=ms,
        growth=growth,
        seconds=many.seconds,
        peak_bytes=many.peak_bytes,
        report_peak_bytes=many.report_peak_bytes,
    )
    return ms < TARGET_MS and growth < GROWTH


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--side", type=int, default=100_000)
    asked.add_argument("--inputs", type=int, default=10_000)
    asked.add_argument("--alone", nargs=2)
    told = asked.parse_args()
    if told.alone:
        alone(*told.alone)
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        good = not told.side or large_scene(work, told.side)
        good = (not told.inputs or many_inputs(work, told.inputs)) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
