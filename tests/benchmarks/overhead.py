"""What is left when the network costs nothing: output pixels per second with the probe (8 classes)
on 4 x uint16 bands. Target: 15 million on two cores. The ratio is against merely copying the scene
into a map: reading every band of every tile and writing one."""

import statistics
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from timing import interleaved, make_scene, predict, seconds_of, show

from seg_batch.core.hardware import cores

SIDE = 8192
TARGET = 15e6


def copy(scene: Path, output: Path) -> None:
    """The least that any tool has to do, with the same compression."""
    with rasterio.open(scene) as source:
        profile = source.profile | {"count": 1, "dtype": "uint8", "compress": "deflate"}
        with rasterio.open(output, "w", **profile) as file:
            for _, window in source.block_windows(1):
                values = source.read(window=window)
                file.write((values[0] & 7).astype(np.uint8), 1, window=window)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        scene = make_scene(work / "scene.tif", SIDE)
        inside: list[float] = []

        def whole() -> float:
            ran = predict(scene, work / "map.tif", "--model", "probe")
            inside.append(ran.report["seconds"])
            return ran.seconds

        found = interleaved(
            3, predict=whole, copy=lambda: seconds_of(lambda: copy(scene, work / "copy.tif"))
        )
        run = statistics.median(inside)
        rate = SIDE**2 / run
        show(
            "overhead",
            f"{rate / 1e6:.1f} million pixels per second on {cores()} cores (target "
            f"{TARGET / 1e6:.0f}), {SIDE**2 / found['predict'] / 1e6:.1f} with the start of the "
            f"command; x{run / found['copy']:.2f} the time of a plain copy",
            pixels_per_s=rate,
            target=TARGET,
            ratio=run / found["copy"],
            run_s=run,
            **found,
        )


if __name__ == "__main__":
    main()
