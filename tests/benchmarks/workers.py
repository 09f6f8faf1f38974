"""The same bytes, whoever does the work and however it is cut: one worker, two, and three block
shapes, with a real network. Also what a second worker gains."""

import hashlib
import sys
import tempfile
from pathlib import Path

import rasterio
from timing import Ran, make_bundle, make_scene, predict, show

SIDE = 3072
RUNS = {
    "inline": ["--cluster", "inline", "--block", "1024,3072"],
    "one worker": ["--cluster", "local", "--workers", "1", "--block", "1024,3072"],
    "two workers": ["--cluster", "local", "--workers", "2", "--block", "1024,3072"],
    "blocks 1024,1024": ["--block", "1024,1024"],
    "blocks 2048,1024": ["--block", "2048,1024"],
    "blocks 3072,3072": ["--block", "3072,3072"],
}


def pixels(product: Path) -> str:
    """sha256 of the map itself, whatever its tags say."""
    with rasterio.open(product) as file:
        return hashlib.sha256(file.read(1).tobytes()).hexdigest()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work, hashes, runs = Path(folder), {}, dict[str, Ran]()
        scene = make_scene(work / "scene.tif", SIDE)
        bundle = make_bundle(work / "net", 2, 256, 64, channels=4, classes=8, filters=(8, 16, 32))
        for name, options in RUNS.items():
            runs[name] = predict(scene, work / "map.tif", "--model", str(bundle), *options)
            hashes[name] = pixels(work / "map.tif")
            print(
                f"{name}: sha256 {hashes[name][:16]}, {runs[name].report['seconds']:.1f} s, "
                f"recompute x{runs[name].report['recompute']:.2f}",
                flush=True,
            )
    same = len(set(hashes.values())) == 1
    seconds = {name: ran.report["seconds"] for name, ran in runs.items()}
    ratio = seconds["two workers"] / seconds["one worker"]
    show(
        "workers",
        f"{'the same bytes' if same else 'BYTES DIFFER'} in {len(RUNS)} runs; two workers take "
        f"x{ratio:.2f} the time of one",
        same=same,
        ratio=ratio,
        seconds=seconds,
    )
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
