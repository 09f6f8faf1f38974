"""Against MONAI: the same network wiring, patch, overlap and Gaussian weights, on the CPU, from
GeoTIFF to GeoTIFF, each as a command from start to end.

Pairs: as either comes (segbatch chooses engine, precision and patch), at two widths, the second the network of
the paper (base 32), and with torch.compile; both in float32 and both in bfloat16, with MONAI's network in the memory
layout that suits it best; the same with the patch and overlap that segbatch has chosen; and a plain loop over
windows instead of MONAI. `make bench` builds .venv-peers.

``python tests/benchmarks/monai.py [--side 3072] [--only NAME ...]``
"""

import argparse
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from peers import Pair, Task, compare, require_peers
from timing import make_bundle, make_scene

from seg_batch.core.hardware import has_bfloat16
from seg_batch.nn.engines import load_predictor

FIRST, QUICK, WIDE = 3072, 2048, 1536
PATCH, OVERLAP, CHANNELS, CLASSES = 256, 64, 4, 8
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


def pairs(side: int | None) -> dict[int, list[Pair]]:
    """By the side of the scene, which their names tell, but for the first one that was measured, of 3072 pixels."""
    if side is not None:
        return {side: named(side, PAIRS if side == FIRST else (*PAIRS, *QUICK_PAIRS))}
    narrow = [pair for pair in (*PAIRS, *QUICK_PAIRS) if pair.filters == BASE_16]
    # Those of one run of ours are neighbours.
    narrow.sort(key=lambda pair: pair.precision)
    return {QUICK: named(QUICK, narrow), WIDE: named(WIDE, [PAIRS[1]])}


def named(side: int, some: Iterable[Pair]) -> list[Pair]:
    prefix = "monai" if side == FIRST else f"monai {side}"
    return [replace(pair, name=f"{prefix}, {pair.name}") for pair in some]


def measure(side: int, some: list[Pair], work: Path) -> None:
    work.mkdir()
    scene = make_scene(work / "scene.tif", side)
    bundles = {}
    for filters in {pair.filters for pair in some}:
        network = {"channels": CHANNELS, "classes": CLASSES, "filters": filters}
        folder = work / f"base-{filters[0]}"
        bundles[filters] = make_bundle(folder, 2, PATCH, OVERLAP, **network)
        load_predictor(folder / "model.keras", engine="openvino")  # converted, once for all runs
    task = Task(scene, bundles, (PATCH,) * 2, (OVERLAP,) * 2, CHANNELS, CLASSES)
    for pair in some:
        compare(pair, task, rounds=2 if side == FIRST else 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, help="of the scene, for all pairs")
    parser.add_argument("--only", nargs="+", help="names without their prefix")
    asked = parser.parse_args()
    require_peers()
    with tempfile.TemporaryDirectory() as folder:
        for side, known in pairs(asked.side).items():
            some = [p for p in known if not asked.only or p.name.partition(", ")[2] in asked.only]
            if some:
                measure(side, some, Path(folder) / str(side))


if __name__ == "__main__":
    main()
