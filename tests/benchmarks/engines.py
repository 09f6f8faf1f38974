"""The forward pass alone: OpenVINO against TensorFlow, one patch at a time, turn by turn.

Targets, on a CPU with AVX512-BF16: bfloat16 against TensorFlow in float32 at least 1.8 times as
fast in 2-D (base 32, 256 px) and 3 times in 3-D (base 16, 96^3); float32 against float32 0.95 times.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from timing import interleaved, make_bundle, seconds_of, show

from seg_batch.core.hardware import has_bfloat16
from seg_batch.nn.engines import load_predictor

NETWORKS: dict[str, tuple[int, int, dict[str, Any], float]] = {
    "2-D": (2, 256, {"channels": 4, "classes": 8, "filters": (32, 64, 128, 256, 512)}, 1.8),
    "3-D": (3, 96, {"channels": 1, "classes": 3, "filters": (16, 32, 64, 128)}, 3.0),
}
SAME = 0.95
ROUNDS = 7


def compare(name: str, folder: Path) -> None:
    rank, side, network, target = NETWORKS[name]
    bundle = make_bundle(folder / name, rank, side, side // 4, **network)
    shape = (1, *(side,) * rank, network["channels"])
    patch = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    sides = {"tensorflow": ("tensorflow", "float32"), "openvino": ("openvino", "float32")}
    if has_bfloat16():
        sides["bfloat16"] = ("openvino", "mixed")
    models = {
        key: load_predictor(bundle / "model.keras", engine=engine, precision=precision)
        for key, (engine, precision) in sides.items()
    }
    for model in models.values():  # compiles
        model(patch)
    turns = {key: lambda m=model: seconds_of(lambda: m(patch)) for key, model in models.items()}
    found = interleaved(ROUNDS, **turns)
    for key, wanted in (("openvino", SAME), ("bfloat16", target)):
        if key in found:
            ratio = found["tensorflow"] / found[key]
            show(
                f"engines {name}, {key}",
                f"{found[key] * 1e3:.0f} ms against {found['tensorflow'] * 1e3:.0f} ms with TensorFlow "
                f"in float32: {ratio:.2f} times as fast (target {wanted})",
                ratio=ratio,
                target=wanted,
                **found,
            )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            compare(name, Path(folder))


if __name__ == "__main__":
    main()
