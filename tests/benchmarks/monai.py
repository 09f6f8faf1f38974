"""Against MONAI: the same network wiring, patch, overlap and Gaussian weights, on the CPU, from
GeoTIFF to GeoTIFF, each as a command from start to end. Target: at least 2 times as fast.

Three pairs: as either comes (segbatch chooses its precision), both in float32 with MONAI's network
in the memory layout that suits it best, and both in bfloat16. `make bench` builds .venv-monai.
"""

import math
import sys
import tempfile
from pathlib import Path

from timing import Ran, interleaved, make_bundle, make_scene, predict, run_command, show

SIDE, PATCH, OVERLAP, CLASSES = 3072, 256, 64, 8
FILTERS = (16, 32, 64, 128, 256)
TARGET = 2.0
ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-monai" / "bin" / "python"
PAIRS = {
    "as they come": ("auto", "plain"),
    "float32": ("float32", "channels_last"),
    "bfloat16": ("mixed", "bfloat16"),
}


def monai(scene: Path, output: Path, mode: str) -> Ran:
    numbers = {"--classes": CLASSES, "--patch": PATCH, "--overlap": OVERLAP}
    options = [text for option, n in numbers.items() for text in (option, str(n))]
    # -P: this folder is not on its path, where monai would be this file
    side = Path(__file__).parent / "monai_side.py"
    command = [str(PYTHON), "-P", str(side), str(scene), str(output), "--mode", mode]
    return run_command([*command, *options, "--filters", *map(str, FILTERS)])


def parameters() -> int:
    """Of our network with one head, so that both sides are seen to have the same wiring."""
    from seg_batch.nn.anunet import ANUNetConfig, anunet

    model = anunet(ANUNetConfig(2, 4, CLASSES, FILTERS, heads=(len(FILTERS) - 1,)))
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def compare(name: str, scene: Path, bundle: Path, precision: str, mode: str) -> None:
    inside: dict[str, float] = {}

    def ours() -> float:
        options = ["--model", str(bundle), "--taper", "gaussian", "--precision", precision]
        ran = predict(scene, scene.with_name("ours.tif"), *options)
        inside["segbatch"] = ran.report["seconds"]
        return ran.seconds

    def theirs() -> float:
        ran = monai(scene, scene.with_name("theirs.tif"), mode)
        inside["monai"] = ran.report["seconds"]
        assert ran.report["parameters"] == parameters(), "the networks differ"
        return ran.seconds

    found = interleaved(2, segbatch=ours, monai=theirs)
    ratio = found["monai"] / found["segbatch"]
    show(
        f"monai, {name}",
        f"{found['segbatch']:.1f} s against {found['monai']:.1f} s: {ratio:.2f} times as fast "
        f"(target {TARGET:.0f}); by their own clocks, without start and imports of torch, "
        f"{inside['monai'] / inside['segbatch']:.2f} times",
        ratio=ratio,
        target=TARGET,
        **found,
    )


def main() -> None:
    if not PYTHON.is_file():
        sys.exit("no .venv-monai: run make bench")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        scene = make_scene(work / "scene.tif", SIDE)
        network = {"channels": 4, "classes": CLASSES, "filters": FILTERS}
        bundle = make_bundle(work / "net", 2, PATCH, OVERLAP, **network)
        for name, (precision, mode) in PAIRS.items():
            compare(name, scene, bundle, precision, mode)


if __name__ == "__main__":
    main()
