"""Steps on objects over blocks against SciPy on the whole array: voxels per second and peak memory, on a
map of 8192 x 8192 with stray pixels. The chain runs as in predict (work store, checksums, fsync); SciPy
labels class by class in memory and reads and writes nothing. The maps must be equal."""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from timing import predict, show

SIDE = int(sys.argv[sys.argv.index("--side") + 1]) if "--side" in sys.argv else 8192
LEAST = 20
CHAIN = ("min_size:20", "fill_holes", "largest:residue 1")
MIB = 1 << 20


def make_map(path: Path) -> Path:
    """Fields of labels 0, 1 and 2, two in a hundred pixels stray, with holes of background."""
    rng = np.random.default_rng(3)
    rows, columns = np.arange(SIDE) // 61, np.arange(SIDE) // 47
    labels = ((rows[:, None] * 7 + columns * 5 + rows[:, None] * columns) % 3).astype(np.uint8)
    stray = rng.random(labels.shape, np.float32)
    labels[stray < 0.015] = 0
    labels[stray > 0.995] = 2
    profile = {"driver": "GTiff", "tiled": True, "blockxsize": 512, "blockysize": 512}
    with rasterio.open(
        path, "w", width=SIDE, height=SIDE, count=1, dtype="uint8", compress="zstd", **profile
    ) as file:
        file.write(labels, 1)
    return path


def scipy_side(scene: Path, out: Path) -> None:
    """The same three steps on the array, and what they took."""
    from scipy import ndimage

    with rasterio.open(scene) as file:
        labels = file.read(1)
    seconds = {}
    start = time.perf_counter()
    for label in (1, 2):
        found, _ = ndimage.label(labels == label)
        small = np.bincount(found.ravel()) < LEAST
        small[0] = False
        labels[small[found]] = 0
    seconds["min_size"] = time.perf_counter() - start
    start = time.perf_counter()
    found, n = ndimage.label(labels == 0)
    edge = [found[0], found[-1], found[:, 0], found[:, -1]]
    low, high = np.full(n + 1, 255), np.zeros(n + 1, int)
    for a, b in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        for here, there in ((a, b), (b, a)):
            meet = (found[here] > 0) & (labels[there] > 0)
            np.minimum.at(low, found[here][meet], labels[there][meet])
            np.maximum.at(high, found[here][meet], labels[there][meet])
    hole = low == high
    hole[np.unique(np.concatenate(edge))] = False
    hole[0] = False
    labels = np.where(hole[found], low[found], labels).astype(np.uint8)
    seconds["fill_holes"] = time.perf_counter() - start
    start = time.perf_counter()
    found, _ = ndimage.label(labels == 1)
    sizes = np.bincount(found.ravel())
    sizes[0] = 0
    labels[(labels == 1) & (found != sizes.argmax())] = 0
    seconds["largest"] = time.perf_counter() - start
    np.save(out, labels)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peak_rss_bytes": peak}))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene = make_map(folder / "scene.tif")
        steps = [word for step in CHAIN for word in ("--post", step)]
        plain = predict(scene, folder / "plain.tif", "--model", "probe")
        ran = predict(scene, folder / "map.tif", "--model", "probe", *steps)
        command = [sys.executable, __file__, "--scipy", str(scene), str(folder / "whole.npy")]
        whole = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        with rasterio.open(folder / "map.tif") as file:
            same = np.array_equal(file.read(1), np.load(folder / "whole.npy"))
    ours = {row["step"]["step"]: row["seconds"] for row in ran.report["post"]}
    figures = {
        step: {
            "voxels_per_s": SIDE**2 / ours[step],
            "over_scipy": whole["seconds"][step] / ours[step],
        }
        for step in ours
    }
    peaks = {
        "without_chain": plain.rss_bytes,
        "with_chain": ran.rss_bytes,
        "promised": ran.report["promised_bytes"],
        "scipy": whole["peak_rss_bytes"],
    }
    told = ", ".join(
        f"{step} {f['voxels_per_s'] / 1e6:.1f} million voxels/s (x{f['over_scipy']:.2f} of SciPy's)"
        for step, f in figures.items()
    )
    memory = ", ".join(f"{who} {size / MIB:.0f} MiB" for who, size in peaks.items())
    show("post", f"{told}; peak {memory}; maps {'equal' if same else 'DIFFER'}", **figures, **peaks)
    sys.exit(0 if same and ran.rss_bytes <= peaks["promised"] else 1)


if __name__ == "__main__":
    if "--scipy" in sys.argv:
        scipy_side(*map(Path, sys.argv[-2:]))
    else:
        main()
