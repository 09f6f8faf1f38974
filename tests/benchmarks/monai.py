"""Against MONAI: the same network wiring, patch, overlap and Gaussian weights, on the CPU, from
GeoTIFF to GeoTIFF, each as a command from start to end.

Pairs: as either comes (segbatch chooses engine, precision and patch), at two widths, the second the network of
the paper (base 32), and with torch.compile; both in float32 and both in bfloat16, with MONAI's network in the memory
layout that suits it best; the same with the patch and overlap that segbatch has chosen; and a plain loop over
windows instead of MONAI. `make bench` builds .venv-peers.

``python tests/benchmarks/monai.py [--side 2048] [--only NAME ...]``
"""

import argparse
import tempfile
from pathlib import Path

from peers import Pair, Task, compare, require_peers
from timing import make_bundle, make_scene

from seg_batch.core.hardware import has_bfloat16
from seg_batch.nn.engines import load_predictor

QUICK, PATCH, OVERLAP, CHANNELS, CLASSES = 2048, 256, 64, 4, 8
BASE_16, BASE_32 = (16, 32, 64, 128, 256), (32, 64, 128, 256, 512)
BY_HAND = ("--channels-last",)
HALF = (*BY_HAND, "--bfloat16")
OURS = HALF if has_bfloat16() else BY_HAND  # in our precision of today
ONE = ("--batch", "1")  # compiled once: the last batch of four is another shape
PAIRS = (
    Pair("as they come", BASE_16),
    Pair("as they come, base 32", BASE_32),
    Pair("float32", BASE_16, "float32", BY_HAND),
    Pair("bfloat16", BASE_16, "mixed", HALF),
)
QUICK_PAIRS = (
    Pair("compiled", BASE_16, options=("--compile", *ONE)),
    Pair("our patch", BASE_16, options=(*OURS, *ONE), our_patch=True),
    Pair("our patch, compiled", BASE_16, options=(*OURS, "--compile", *ONE), our_patch=True),
    Pair("plain loop", BASE_16, options=("--way", "loop")),
)


def pairs(side: int) -> list[Pair]:
    """Their names tell the side of the scene, but for the first one that was measured, of 3072 pixels."""
    known = PAIRS if side == 3072 else (*PAIRS, *QUICK_PAIRS)
    prefix = "monai" if side == 3072 else f"monai {side}"
    return [Pair(**{**vars(pair), "name": f"{prefix}, {pair.name}"}) for pair in known]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=QUICK)
    parser.add_argument("--only", nargs="+", help="names without their prefix")
    asked = parser.parse_args()
    require_peers()
    chosen = [
        pair
        for pair in pairs(asked.side)
        if not asked.only or pair.name.partition(", ")[2] in asked.only
    ]
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        scene = make_scene(work / "scene.tif", asked.side)
        bundles = {}
        for filters in {pair.filters for pair in chosen}:
            network = {"channels": CHANNELS, "classes": CLASSES, "filters": filters}
            folder = work / f"base-{filters[0]}"
            bundles[filters] = make_bundle(folder, 2, PATCH, OVERLAP, **network)
            # Converted, once for all runs.
            load_predictor(folder / "model.keras", engine="openvino")
        task = Task(scene, bundles, (PATCH,) * 2, (OVERLAP,) * 2, CHANNELS, CLASSES)
        for pair in chosen:
            compare(pair, task, rounds=1 if asked.side < 3072 else 2)


if __name__ == "__main__":
    main()
