"""Against MONAI: the same network wiring, patch, overlap and Gaussian weights, on the CPU, from
GeoTIFF to GeoTIFF, each as a command from start to end.

Three pairs: as either comes (segbatch chooses engine and precision), both in float32 with MONAI's
network in the memory layout that suits it best, and both in bfloat16. As they come, the network of
the paper, too (base 32). Targets: as they come 4.5 times as fast at base 16 and 5 times at base 32;
2 times in the other pairs. `make bench` builds .venv-monai.
"""

import math
import sys
import tempfile
from pathlib import Path

from timing import Ran, interleaved, make_bundle, make_scene, predict, run_command, show

from seg_batch.nn.engines import load_predictor

SIDE, PATCH, OVERLAP, CLASSES = 3072, 256, 64, 8
BASE_16, BASE_32 = (16, 32, 64, 128, 256), (32, 64, 128, 256, 512)
ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-monai" / "bin" / "python"
PAIRS = {
    "as they come": (BASE_16, "auto", "plain", 4.5),
    "as they come, base 32": (BASE_32, "auto", "plain", 5.0),
    "float32": (BASE_16, "float32", "channels_last", 2.0),
    "bfloat16": (BASE_16, "mixed", "bfloat16", 2.0),
}


def monai(scene: Path, output: Path, mode: str, filters: tuple[int, ...]) -> Ran:
    numbers = {"--classes": CLASSES, "--patch": PATCH, "--overlap": OVERLAP}
    options = [text for option, n in numbers.items() for text in (option, str(n))]
    # -P: this folder is not on its path, where monai would be this file
    side = Path(__file__).parent / "monai_side.py"
    command = [str(PYTHON), "-P", str(side), str(scene), str(output), "--mode", mode]
    return run_command([*command, *options, "--filters", *map(str, filters)])


def parameters(filters: tuple[int, ...]) -> int:
    """Of our network with one head, so that both sides are seen to have the same wiring."""
    from seg_batch.nn.networks.anunet import ANUNetConfig, anunet

    model = anunet(ANUNetConfig(2, 4, CLASSES, filters, heads=(len(filters) - 1,)))
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def compare(name: str, scene: Path, bundle: Path) -> None:
    filters, precision, mode, target = PAIRS[name]
    inside: dict[str, float] = {}

    def ours() -> float:
        options = ["--model", str(bundle), "--taper", "gaussian", "--precision", precision]
        ran = predict(scene, scene.with_name("ours.tif"), *options)
        inside["segbatch"] = ran.report["seconds"]
        return ran.seconds

    def theirs() -> float:
        ran = monai(scene, scene.with_name("theirs.tif"), mode, filters)
        inside["monai"] = ran.report["seconds"]
        assert ran.report["parameters"] == parameters(filters), "the networks differ"
        return ran.seconds

    found = interleaved(2, segbatch=ours, monai=theirs)
    ratio = found["monai"] / found["segbatch"]
    show(
        f"monai, {name}",
        f"{found['segbatch']:.1f} s against {found['monai']:.1f} s: {ratio:.2f} times as fast "
        f"(target {target}); by their own clocks, without start and imports of torch, "
        f"{inside['monai'] / inside['segbatch']:.2f} times",
        ratio=ratio,
        target=target,
        **found,
    )


def main() -> None:
    if not PYTHON.is_file():
        sys.exit("no .venv-monai: run make bench")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        scene = make_scene(work / "scene.tif", SIDE)
        bundles = {}
        for filters in (BASE_16, BASE_32):
            network = {"channels": 4, "classes": CLASSES, "filters": filters}
            folder = work / f"base-{filters[0]}"
            bundles[filters] = make_bundle(folder, 2, PATCH, OVERLAP, **network)
            load_predictor(
                folder / "model.keras", engine="openvino"
            )  # converted, once for all runs
        for name, (filters, *_) in PAIRS.items():
            compare(name, scene, bundles[filters])


if __name__ == "__main__":
    main()
