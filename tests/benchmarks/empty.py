"""A scene of 100 000 x 100 000 pixels that holds no data at all (a sparse GeoTIFF): processor seconds of all
processes of ``predict``, from GeoTIFF to map, with a small network that must never be called.

``python tests/benchmarks/empty.py [--side 100000]``
"""

import argparse
import tempfile
from pathlib import Path

import rasterio
from timing import make_bundle, predict, show

SIDE = 100_000


def empty_scene(path: Path, side: int) -> Path:
    place = {"crs": "EPSG:32612", "transform": rasterio.Affine(1, 0, 3e5, 0, -1, 4.2e6)}
    shape = {"width": side, "height": side, "count": 4, "dtype": "uint16", "nodata": 0}
    tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "SPARSE_OK": True}
    with rasterio.open(path, "w", driver="GTiff", BIGTIFF="YES", **tiles, **place, **shape):
        return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=SIDE)
    side = parser.parse_args().side
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        scene = empty_scene(work / "scene.tif", side)
        bundle = make_bundle(work / "net", 2, 256, 64, channels=4, classes=8, filters=(8, 16, 32))
        ran = predict(scene, work / "map.tif", "--model", str(bundle))
        bytes_written = (work / "map.tif").stat().st_size
    predicted = ran.report["tiles_predicted"] - ran.report["tiles_skipped"]
    assert not predicted, f"{predicted} tiles were predicted"
    show(
        "empty" if side == SIDE else f"empty {side}",
        f"{side} x {side} pixels without data: {ran.cpu_s:.1f} processor seconds in {ran.seconds:.1f} s, "
        f"{bytes_written / 1e6:.1f} MB written",
        side=side,
        cpu_s=ran.cpu_s,
        product_bytes=bytes_written,
        sides={"segbatch": ran.costs},
    )


if __name__ == "__main__":
    main()
