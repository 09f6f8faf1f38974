"""Resampling against torch's trilinear interpolate and scipy's zoom (nnU-Net's default): the same
arrays, by turns, in one run, two threads for torch and for us.

The way there is of one channel, from 256^3 to 320^3, linear and cubic; the way back is of three
classes, both ways, row by row as a band rolls. Target: at most twice the time of torch. The first
call of a process is shown, too, with the machine code on disk and without. `make bench` builds
.venv-peers, where torch is.

Memory, by resample_memory.py: 104 classes on 512 x 512 x 397 voxels there and back, below 3 GiB. `resample.py large`
does 2048^3 voxels instead, in at most 16 GiB, which takes half an hour and 30 GB of disk.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from scipy import ndimage
from timing import interleaved, run_command, seconds_of, show

from seg_batch.core.geometry import Box
from seg_batch.core.resample.resampler import Resampler

SMALL, LARGE, TARGET, THREADS = (256,) * 3, (320,) * 3, 2.0, 2
GIB = 1 << 30
ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
FIRST_CALL = """
import json, time
import numpy as np
from seg_batch.core.geometry import Box
from seg_batch.core.resample.resampler import Resampler
start = time.perf_counter()
of = Resampler((8, 8, 8), (9, 9, 9), ("cubic", "linear", "cubic"))
of(np.zeros((8, 8, 8, 1)), None, Box.whole(of.source), Box.whole(of.target))
print(json.dumps({"seconds": time.perf_counter() - start}))
"""


def image(shape: tuple[int, ...], channels: int) -> np.ndarray:
    """What resample_side.py makes, too, with its channels first."""
    return np.random.default_rng(7).random((*shape, channels), np.float32)


def halves(of: Resampler, work: Callable[[Box], object]) -> None:
    """Two blocks at once, as a worker process has them."""
    middle = of.target[0] // THREADS
    whole = Box.whole(of.target)
    boxes = [Box(whole.start, (middle, *whole.stop[1:])), Box((middle, 0, 0), whole.stop)]
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(work, boxes))


def best_of_three(action: Callable[[], object]) -> float:
    return min(seconds_of(action) for _ in range(3))


def there(of: Resampler, values: np.ndarray) -> float:
    whole = Box.whole(of.source)
    return best_of_three(lambda: halves(of, lambda box: of(values, None, whole, box)))


def back(of: Resampler, values: np.ndarray) -> float:
    def roll(box: Box) -> None:
        first, stop = of.needed(box).start[0], of.needed(box).stop[0]
        for _ in of.roll(((row, values[row : row + 1]) for row in range(first, stop)), box):
            pass  # labels would be made of these rows

    return best_of_three(lambda: halves(of, roll))


def torch(of: Resampler, channels: int, sample: Path) -> float:
    side = Path(__file__).parent / "resample_side.py"
    numbers = [channels, THREADS, of.source[0], of.target[0]]
    ran = run_command([str(PYTHON), "-P", str(side), str(sample), *map(str, numbers)])
    return ran.report["seconds"]


def compare(name: str, of: Resampler, channels: int, ours: Callable[..., float]) -> None:
    values = image(of.source, channels)
    with tempfile.TemporaryDirectory() as temporary:
        sample = Path(temporary) / "sample.npy"
        ours(of, values)  # compiled
        figures = interleaved(
            3, segbatch=lambda: ours(of, values), torch=lambda: torch(of, channels, sample)
        )
        if of.rules[0] == "linear":
            whole, _ = of(values, None, Box.whole(of.source), Box.whole(of.target))
            assert abs(whole[::16, ::16, ::16] - np.load(sample)).max() < 1e-4, "other values"
    order = {"linear": 1, "cubic": 3}[of.rules[0]]
    ratios = [b / a for a, b in zip(of.source, of.target, strict=True)]
    figures["scipy"] = channels * seconds_of(
        lambda: ndimage.zoom(values[..., 0], ratios, order=order, mode="nearest", grid_mode=True)
    )
    ratio = figures["segbatch"] / figures["torch"]
    show(
        f"resample, {name}",
        f"{figures['segbatch']:.2f} s against {figures['torch']:.2f} s of torch (trilinear) and "
        f"{figures['scipy']:.1f} s of scipy: {ratio:.2f} times torch's (target at most {TARGET})",
        ratio=ratio,
        target=TARGET,
        **figures,
    )


def first_call() -> None:
    with tempfile.TemporaryDirectory() as cache:
        os.environ["NUMBA_CACHE_DIR"] = cache
        command = [sys.executable, "-c", FIRST_CALL]
        compiled, loaded = (run_command(command).report["seconds"] for _ in range(2))
        del os.environ["NUMBA_CACHE_DIR"]
    show(
        "resample, first call",
        f"{compiled:.1f} s where it is compiled, {loaded:.1f} s from the disk",
        compiled=compiled,
        loaded=loaded,
    )


def memory(name: str) -> None:
    """Peak of a process whose network costs nothing, against its promise and what it may use."""
    side = Path(__file__).parent / "resample_memory.py"
    with tempfile.TemporaryDirectory() as folder:
        ran = run_command([sys.executable, str(side), folder, name])
    figures = ran.report
    peak, promised, most = (
        figures[f"{key}_bytes"] / GIB for key in ("peak", "promised", "allowed")
    )
    show(
        f"resample, memory of {name}",
        f"{peak:.2f} GiB, promised {promised:.2f}, target {most:.0f}, in {figures['seconds']:.0f} s: "
        f"{'kept' if peak <= promised <= most else 'BROKEN'}",
        **figures,
    )


def main() -> None:
    if sys.argv[1:] == ["large"]:
        memory("large")
        return
    memory("classes")
    if not PYTHON.is_file():
        sys.exit("no .venv-peers: run make bench")
    first_call()
    for rule in ("linear", "cubic"):
        compare(f"{rule}, one channel", Resampler(SMALL, LARGE, (rule,) * 3), 1, there)
    linear = ("linear",) * 3
    compare("three classes back, finer", Resampler(SMALL, LARGE, linear), 3, back)
    compare("three classes back, coarser", Resampler(LARGE, SMALL, linear), 3, back)


if __name__ == "__main__":
    main()
