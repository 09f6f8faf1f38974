"""A scene behind a server of ranges with 50 ms latency, where one request in a hundred fails, over the same file here:
seconds of ``predict`` with the packaged 16-filter network, turn by turn.

``python tests/benchmarks/remote.py [--side 3072] [--rounds 3] [--latency 0.05] [--failing 0.01]``
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from timing import ROOT, interleaved, predict, show

sys.path.insert(0, str(ROOT))

from tests.support.remote.range_server import serving

MODEL = "landsat8-landcover"


def scene(path: Path, side: int, bands: int) -> bytes:
    """A GeoTIFF of noise, which is as large as a file of such a side gets."""
    place = {"crs": "EPSG:32612", "transform": rasterio.Affine(30, 0, 3e5, 0, -30, 4.2e6)}
    shape = {"width": side, "height": side, "count": bands, "dtype": "uint16"}
    tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    chance = np.random.default_rng(1)
    with rasterio.open(path, "w", driver="GTiff", **tiles, **place, **shape) as file:
        for row in range(0, side, 512):
            part = chance.integers(7000, 14000, (bands, min(512, side - row), side), np.uint16)
            file.write(part, window=((row, row + part.shape[1]), (0, side)))
    return path.read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=3072)
    parser.add_argument("--bands", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--failing", type=float, default=0.01)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        content = scene(work / "scene.tif", asked.side, asked.bands)
        with serving(
            {"/scene.tif": content}, latency_s=asked.latency, failing=asked.failing
        ) as server:

            def side(name: str, source: str) -> float:
                return predict(source, work / f"{name}.tif", "--model", MODEL, "--force").seconds  # fmt: skip

            seconds = interleaved(
                asked.rounds,
                here=lambda: side("here", str(work / "scene.tif")),
                remote=lambda: side("remote", f"{server.url}/scene.tif"),
            )
            with rasterio.open(work / "here.tif") as one, rasterio.open(work / "remote.tif") as two:
                assert np.array_equal(one.read(), two.read()), "the maps differ"
            count = len(server.requests) / asked.rounds
    show(
        "remote",
        f"{asked.side} x {asked.side} of {len(content) / 1e6:.0f} MB: {seconds['remote']:.1f} s over {asked.latency * 1000:.0f} ms and "
        f"{100 * asked.failing:g} % of failures, {seconds['here']:.1f} s here, {count:.0f} requests a run",
        ratio=seconds["remote"] / seconds["here"],
        seconds=seconds["remote"],
    )


if __name__ == "__main__":
    main()
