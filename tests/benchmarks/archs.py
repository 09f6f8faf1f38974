"""What each network costs beside ANU-Net: parameters, operations, forward time in both CPU engines
as a ratio to anunet (turn by turn, in one process), memory of a forward pass. Images of 4 channels,
8 classes, one patch of 256 x 256; TensorFlow in float32, OpenVINO as it runs by default.

``python tests/benchmarks/archs.py [--width 32] [NAME ...]``: widths of the sources, or all networks
with the same ones: 32, doubled at each level. Ends with a table in Markdown.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from timing import interleaved, seconds_of, show

CHANNELS, CLASSES, SIDE, ROUNDS = 4, 8, 256, 5
ENGINES = ("tensorflow", "openvino")
COLUMNS = (
    *("network", "parameters", "receptive field", "GFLOP per megavoxel"),
    *("TensorFlow, time / anunet", "OpenVINO, time / anunet", "memory of a patch, MiB"),
)

# A fresh process: how much its resident memory rose at most while the network ran.
MEMORY = """
import sys
import numpy as np
from archs import CHANNELS, SIDE, loaded
def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024
predictor = loaded(sys.argv[1], sys.argv[2])
predictor(np.zeros((1, 64, 64, CHANNELS), np.float32))
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
for _ in range(3):
    predictor(np.ones((1, SIDE, SIDE, CHANNELS), np.float32))
print(status("VmHWM") - before)
"""


def loaded(path: str, engine: str) -> Any:
    """The predictor; OpenVINO in bfloat16 where the CPU has it."""
    from seg_batch.errors import PlanError
    from seg_batch.nn.engines import load_predictor

    try:
        precision = "mixed" if engine == "openvino" else "float32"
        return load_predictor(path, engine=engine, precision=precision)
    except PlanError:
        return load_predictor(path, engine=engine, precision="float32")


def widths(name: str, width: int | None) -> tuple[int, ...]:
    from seg_batch.nn.zoo import ARCHITECTURES

    source = ARCHITECTURES[name].config.filters
    return source if width is None else tuple(width * 2**i for i in range(len(source)))


def made(name: str, width: int | None, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The network with new weights in a file, and what is known of it without running it."""
    from seg_batch.nn.anunet import deepest
    from seg_batch.nn.cost import activation_bytes, forward_flops
    from seg_batch.nn.receptive import receptive_field
    from seg_batch.nn.zoo import build

    filters = widths(name, width)
    model = deepest(build(name, rank=2, channels=CHANNELS, classes=CLASSES, filters=filters))
    path = folder / f"{name}.keras"
    model.save(path)
    patch = (SIDE, SIDE)
    return path, {
        "filters": filters,
        "parameters": model.count_params(),
        "receptive_field": receptive_field(model)[0],
        "gflop_per_megavoxel": forward_flops(model, patch) / SIDE**2 * 1e-3,
        "estimated_bytes": activation_bytes(model, patch),
    }


def times(one: Path, other: Path) -> dict[str, float]:
    """``{"tensorflow": ratio, "tensorflow_s": seconds, ...}`` of `one` against `other`."""
    patch = np.random.default_rng(0).normal(size=(1, SIDE, SIDE, CHANNELS)).astype(np.float32)
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
    from seg_batch.nn.zoo import ARCHITECTURES

    flat = [name for name, one in ARCHITECTURES.items() if 2 in one.config.ranks]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=flat)
    parser.add_argument("--width", type=int)
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        house, _ = made("anunet", asked.width, Path(folder))
        for name in asked.names:
            path, facts = made(name, asked.width, Path(folder))
            facts |= times(path, house)
            facts |= {f"{engine}_bytes": memory_bytes(path, engine) for engine in ENGINES}
            told = ", ".join(f"x{facts[e]:.2f} the time of anunet in {e}" for e in ENGINES)
            show(f"archs {name}", told, network=name, **facts)
            rows.append(row(name, facts))
    print(f"\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", *rows, sep="\n")


if __name__ == "__main__":
    main()
