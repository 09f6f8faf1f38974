"""The random field: voxels per second, memory, and the ratio to its equations written as loops.

Targets: at least 1 million voxels per second on 4096 x 4096 voxels of 8 classes, all threads; and what
it holds beside its input and result does not grow with the image (at most x1.15 from 2048 x 2048).
Each size in a process of its own, defaults of the step, four channels; the input is made beforehand.
"""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from timing import interleaved, seconds_of, show

from seg_batch.config.postprocess import CrfStep
from seg_batch.core.hardware import cores
from seg_batch.inference.postprocess.crf import refine

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tests.support.postprocess.crf_reference import marginals  # noqa: E402

SMALL, LARGE = 2048, 4096
TARGET, GROWTH = 1e6, 1.15
MIB = 1 << 20


def made(shape: tuple[int, ...], classes: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities as stored and an image, both noise: no voxel is easier than another."""
    rng = np.random.default_rng(7)
    probabilities = rng.integers(0, 256, (classes, *shape), dtype=np.uint8)
    return probabilities, rng.random((*shape, 4), dtype=np.float32)


def resident() -> int:
    """Bytes of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


class Peak(threading.Thread):
    """The largest resident memory while it runs, looked at a hundred times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes, self.stop = resident(), threading.Event()

    def run(self) -> None:
        while not self.stop.wait(0.01):
            self.bytes = max(self.bytes, resident())


def alone(side: int, threads: int) -> None:
    """One run in this process: a JSON object on standard output."""
    probabilities, image = made((side, side))
    refine(probabilities[:, :64, :64], image[:64, :64], None, CrfStep(), threads=1)
    peak = Peak()
    before, cpu = peak.bytes, time.process_time()
    peak.start()
    seconds = seconds_of(lambda: refine(probabilities, image, None, CrfStep(), threads=threads))
    peak.stop.set()
    print(
        json.dumps(
            {
                "per_s": side**2 / seconds,
                "cpu_ns": (time.process_time() - cpu) / side**2 * 1e9,
                "bytes": peak.bytes - before,
            }
        )
    )


def measured(side: int, threads: int) -> dict[str, float]:
    command = [sys.executable, __file__, str(side), str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    found = json.loads(done.stdout)
    print(
        f"{side} x {side}, {threads} threads: {found['per_s'] / 1e6:.2f} million voxels per second, "
        f"{found['cpu_ns']:.0f} ns of a core per voxel, {found['bytes'] / MIB:.0f} MiB beside its input",
        flush=True,
    )
    return found


def against_loops() -> float:
    """How many times faster than the equations as loops, on an image that these can manage."""
    probabilities, image = made((24, 24))
    step, valid = CrfStep(), np.ones((24, 24), bool)
    sides = interleaved(
        3,
        loops=lambda: seconds_of(lambda: marginals(probabilities, image, valid, step, (1.0, 1.0))),
        fast=lambda: seconds_of(lambda: refine(probabilities, image, valid, step, threads=1)),
    )
    return sides["loops"] / sides["fast"]


def main() -> None:
    measured(SMALL, 1)
    small, large = (measured(side, cores()) for side in (SMALL, LARGE))
    growth, ratio = large["bytes"] / small["bytes"], against_loops()
    show(
        "crf",
        f"{large['per_s'] / 1e6:.2f} million voxels per second (target {TARGET / 1e6:g}), memory x{growth:.2f} "
        f"for 4 times the voxels (target x{GROWTH}), x{ratio:.0f} as fast as loops over voxels",
        per_s=large["per_s"],
        core_ns_per_voxel=large["cpu_ns"],
        target=TARGET,
        memory=[small["bytes"], large["bytes"]],
        against_loops=ratio,
    )
    sys.exit(0 if large["per_s"] >= TARGET and growth <= GROWTH else 1)


if __name__ == "__main__":
    alone(*map(int, sys.argv[1:])) if sys.argv[1:] else main()
