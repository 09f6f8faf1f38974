"""What each network costs beside ANU-Net: parameters, operations, forward time in both CPU engines
as a ratio to anunet (turn by turn, in one process), peak memory of a process. Images of 4 channels,
8 classes, one patch of 256 x 256 (volumes: 64 x 64 x 64, beside ANU-Net for volumes); TensorFlow in
float32, OpenVINO as it runs by default.

``python tests/benchmarks/archs.py [--width 32] [NAME ...]``: widths of the sources, or all networks
with the same ones: 32, doubled at each level. Ends with a table in Markdown.
"""

import argparse
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from timing import interleaved, seconds_of, show

CHANNELS, CLASSES, ROUNDS = 4, 8, 5
PATCH = {2: (256, 256), 3: (64, 64, 64)}
ENGINES = ("tensorflow", "openvino")
COLUMNS = (
    *("network", "parameters", "receptive field", "GFLOP per megavoxel"),
    *("TensorFlow, time / anunet", "OpenVINO, time / anunet", "peak memory, MiB"),
)

# A fresh process: its largest resident memory, libraries and weights included.
MEMORY = """
import sys
import numpy as np
from archs import CHANNELS, PATCH, loaded
from seg_batch.core.hardware import peak_rss_bytes
predictor = loaded(sys.argv[1], sys.argv[2])
for _ in range(3):
    predictor(np.ones((1, *PATCH[predictor.rank], CHANNELS), np.float32))
print(peak_rss_bytes())
"""


def loaded(path: str, engine: str) -> Any:
    """The predictor; OpenVINO in bfloat16 where the CPU has it."""
    from seg_batch.core.errors import PlanError
    from seg_batch.nn.engines import load_predictor

    try:
        precision = "mixed" if engine == "openvino" else "float32"
        return load_predictor(path, engine=engine, precision=precision)
    except PlanError:
        return load_predictor(path, engine=engine, precision="float32")


def widths(name: str, width: int | None) -> tuple[int, ...]:
    from seg_batch.nn.networks.registry import ARCHITECTURES

    source = ARCHITECTURES[name].config.filters
    return source if width is None else tuple(width * 2**i for i in range(len(source)))


def made(name: str, rank: int, width: int | None, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The network with new weights in a file, and what is known of it without running it."""
    from seg_batch.nn.analysis.flops import activation_bytes, forward_flops
    from seg_batch.nn.analysis.receptive_field import receptive_field
    from seg_batch.nn.networks.anunet import deepest
    from seg_batch.nn.networks.registry import build

    filters = widths(name, width)
    model = deepest(build(name, rank=rank, channels=CHANNELS, classes=CLASSES, filters=filters))
    path = folder / f"{name}-{rank}.keras"
    model.save(path)
    patch = PATCH[rank]
    return path, {
        "filters": filters,
        "parameters": model.count_params(),
        "receptive_field": receptive_field(model)[0],
        "gflop_per_megavoxel": forward_flops(model, patch) / math.prod(patch) * 1e-3,
        "estimated_bytes": activation_bytes(model, patch),
    }


def times(one: Path, other: Path, rank: int) -> dict[str, float]:
    """``{"tensorflow": ratio, "tensorflow_s": seconds, ...}`` of `one` against `other`."""
    patch = np.random.default_rng(0).normal(size=(1, *PATCH[rank], CHANNELS)).astype(np.float32)
    found: dict[str, float] = {}
    for engine in ENGINES:
        sides = {"one": loaded(str(one), engine), "other": loaded(str(other), engine)}
        for side in sides.values():
            side(patch)
        took = interleaved(
            ROUNDS,
            **{k: lambda run=run: seconds_of(lambda: run(patch)) for k, run in sides.items()},
        )
        found |= {engine: took["one"] / took["other"], f"{engine}_s": took["one"]}
    return found


def memory_bytes(path: Path, engine: str) -> int:
    command = [sys.executable, "-c", MEMORY, str(path), engine]
    here = Path(__file__).parent
    done = subprocess.run(command, cwd=here, check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


def row(name: str, facts: dict[str, Any]) -> str:
    mib = " / ".join(f"{facts[f'{engine}_bytes'] / 2**20:.0f}" for engine in ENGINES)
    field = facts["receptive_field"] or "whole patch"
    return (
        f"| `{name}` | {facts['parameters']:,} | {field} | {facts['gflop_per_megavoxel']:,.0f} "
        f"| {facts['tensorflow']:.2f} | {facts['openvino']:.2f} | {mib} |"
    )


def main() -> None:
    from seg_batch.nn.networks.registry import ARCHITECTURES

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(ARCHITECTURES))
    parser.add_argument("--width", type=int)
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        house = {rank: made("anunet", rank, asked.width, folder)[0] for rank in PATCH}
        for name in asked.names:
            rank = ARCHITECTURES[name].config.ranks[0]
            path, facts = made(name, rank, asked.width, folder)
            facts |= times(path, house[rank], rank)
            facts |= {f"{engine}_bytes": memory_bytes(path, engine) for engine in ENGINES}
            told = ", ".join(f"x{facts[e]:.2f} the time of anunet in {e}" for e in ENGINES)
            show(f"archs {name}", told, network=name, **facts)
            rows.append(row(name, facts))
    print(f"\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", *rows, sep="\n")


if __name__ == "__main__":
    main()
