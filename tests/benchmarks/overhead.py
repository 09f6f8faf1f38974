"""What is left when the network costs nothing: output pixels per second with the probe (8 classes)
on 4 x uint16 bands. The ratio is against merely copying the scene into a map: reading every band of
every tile and writing one; beside it, that against gdal_translate, which copies all bands. Both compress with
DEFLATE at GDAL's level, 6, where products have level 1: beside each stands the same at level 1."""

import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from figures import target
from timing import Ran, interleaved, make_scene, predict, seconds_of, show

from seg_batch.core.hardware import cores

SIDE = 8192


def copy(scene: Path, output: Path, **level: int) -> None:
    """The least that any tool has to do."""
    with rasterio.open(scene) as source:
        profile = source.profile | {"count": 1, "dtype": "uint8", "compress": "deflate", **level}
        with rasterio.open(output, "w", **profile) as file:
            for _, window in source.block_windows(1):
                values = source.read(window=window)
                file.write((values[0] & 7).astype(np.uint8), 1, window=window)


def translate(scene: Path, output: Path, **level: int) -> None:
    """The call that gdal_translate makes; the program itself where it is installed."""
    if program := shutil.which("gdal_translate"):
        options = ["-q", "-co", "TILED=YES", "-co", "COMPRESS=DEFLATE", "-co", "BIGTIFF=YES"]
        options += [text for k, n in level.items() for text in ("-co", f"{k.upper()}={n}")]
        subprocess.run([program, *options, str(scene), str(output)], check=True)
    else:
        rasterio.shutil.copy(
            scene, output, driver="GTiff", tiled=True, compress="deflate", bigtiff="yes", **level
        )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        scene = make_scene(work / "scene.tif", SIDE)
        runs: list[Ran] = []

        def whole() -> float:
            ran = predict(scene, work / "map.tif", "--model", "probe")
            runs.append(ran)
            return ran.seconds

        found = interleaved(
            3,
            predict=whole,
            copy=lambda: seconds_of(lambda: copy(scene, work / "copy.tif")),
            translate=lambda: seconds_of(lambda: translate(scene, work / "translated.tif")),
            fast_copy=lambda: seconds_of(lambda: copy(scene, work / "copy.tif", zlevel=1)),
            fast_translate=lambda: seconds_of(
                lambda: translate(scene, work / "translated.tif", zlevel=1)
            ),
        )
    run = statistics.median(ran.report["seconds"] for ran in runs)
    rate, wanted = SIDE**2 / run, target("overhead", "pixels_per_s")
    show(
        "overhead",
        f"{rate / 1e6:.1f} million pixels per second on {cores()} cores (target "
        f"{wanted / 1e6:.0f}), {SIDE**2 / found['predict'] / 1e6:.1f} with the start of the "
        f"command; x{run / found['copy']:.2f} the time of a plain copy, x{run / found['translate']:.2f} "
        f"that of gdal_translate; at level 1 x{run / found['fast_copy']:.2f} and "
        f"x{run / found['fast_translate']:.2f}",
        pixels_per_s=rate,
        ratio=run / found["copy"],
        over_translate=run / found["translate"],
        over_fast_copy=run / found["fast_copy"],
        over_fast_translate=run / found["fast_translate"],
        cpu_s=statistics.median(ran.cpu_s for ran in runs),
        sides={"segbatch": runs[-1].costs},
        run_s=run,
        **found,
    )


if __name__ == "__main__":
    main()
