"""A GPU: how much of it the network uses, and how fast a scene in memory becomes labels, against torch.

``python tests/benchmarks/gpu.py [--small] [--only SIDE ...] [--minutes 7.5]``, in one environment with JAX or TensorFlow for
Keras and, for the other sides, torch with MONAI and nnU-Net; what is missing is said in its line. Each side is a process of
its own, after another, all with the same ANU-Net, patch and overlap, in half precision:

==============  ====================================================================================
``matmul``      a product of bfloat16 matrices: what the device can do
``forward``     the network alone, on batches that lie on the device; its share of that
``stays``       stored values to labels by the programs of ``nn.engines.device``, two blocks at a time
``host``        the same with the network on the device and the sums on the CPU
``monai`` ...   the torch sides (``torch_side/on_gpu.py``)
==============  ====================================================================================

Without a GPU there is nothing to measure; ``--small`` goes through all of it on a CPU, for its own sake.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
LINES = "SEGBATCH_BENCHMARK_LINES"
TORCH = ("monai", "monai_tuned", "nnunet")
SIDES = ("matmul", "forward", "stays", "host", *TORCH)
CHANNELS, CLASSES = 4, 8
LARGE = {"filters": (32, 64, 128, 256, 512), "patch": 512, "overlap": 64, "batch": 16}
SMALL = {"filters": (4, 8), "patch": 64, "overlap": 16, "batch": 2}
SCENE, BLOCK, LEAST_S, MATRIX = (8192, 160), (4096, 96), (5.0, 0.5), (8192, 256)  # large, small


class Sampler:
    """What nvidia-smi says of the device, some times a second, from a thread: moment, share of time with work, bytes."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, float, int]] = []
        query = "--query-gpu=utilization.gpu,memory.used"
        command = ["nvidia-smi", query, "--format=csv,noheader,nounits", "-lms", "100", "-i", "0"]
        try:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        except OSError:
            self._process = None
            return
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout:
            busy, used = line.split(",")
            self.rows.append((time.time(), float(busy) / 100, int(used) << 20))

    def between(self, began: float, ended: float) -> dict[str, float]:
        rows = [row for row in self.rows if began <= row[0] <= ended]
        if not rows:
            return {}
        busy = sum(row[1] for row in rows) / len(rows)
        return {"busy": busy, "used_bytes": max(row[2] for row in rows)}

    def close(self) -> None:
        if self._process is not None:
            self._process.terminate()


def scene_of(side: int) -> np.ndarray:
    """uint16 ``(side, side, CHANNELS)``: fields of one value, and noise."""
    rng = np.random.default_rng(side)
    rows, columns = np.arange(side) // 37 * 3, np.arange(side) // 53 * 5
    fields = (rows[:, None] + columns)[..., None] * np.arange(1, CHANNELS + 1) % 4096
    return (fields + rng.integers(0, 64, (side, side, 1))).astype(np.uint16)


def repeated(work: Callable[[], Any], least_s: float) -> dict[str, float]:
    """Seconds of one round, when all ended, over rounds of at least so many seconds; the first is not counted."""
    work()
    began, runs = time.time(), 0
    while not runs or time.time() - began < least_s:
        work()
        runs += 1
    ended = time.time()
    return {"seconds": (ended - began) / runs, "began": began, "ended": ended}


# --- the sides of Keras, each in a process of its own --------------------------------------------------


def saved_model(folder: Path, filters: tuple[int, ...]) -> tuple[Path, int]:
    """An ANU-Net with its last head and new weights, and how many of them are trained."""
    from seg_batch.nn.backend import keras
    from seg_batch.nn.networks.anunet import ANUNetConfig, anunet

    keras.utils.set_random_seed(0)
    heads = (len(filters) - 1,)
    model = anunet(ANUNetConfig(2, CHANNELS, CLASSES, tuple(filters), heads=heads))
    model.save(folder / "model.keras")
    return folder / "model.keras", sum(int(np.prod(w.shape)) for w in model.trainable_weights)


def loaded(folder: Path, size: dict[str, Any]) -> tuple[Any, int]:
    from seg_batch.nn.engines import load_predictor
    from seg_batch.nn.engines.tensorflow import backend_of_keras

    path, trained = saved_model(folder, size["filters"])
    engine = "tensorflow" if backend_of_keras() == "tensorflow" else "keras"
    precision = "mixed" if has_gpu() else "float32"
    return load_predictor(path, engine=engine, batch=size["batch"], precision=precision), trained


def matmul(size: dict[str, Any], small: bool) -> dict[str, Any]:
    from seg_batch.nn.backend import keras
    from seg_batch.nn.engines.device.backends import backend_of
    from seg_batch.nn.engines.tensorflow import backend_of_keras

    side, backend = MATRIX[small], backend_of(backend_of_keras())
    a = keras.ops.full((side, side), 1 / side, "bfloat16")  # so that products stay finite
    product, times = backend.compiled(lambda x, y: keras.ops.matmul(x, y)), 1 if small else 50

    def work() -> None:
        x = a
        for _ in range(times):
            x = product(x, a)
        backend.wait(keras.ops.cast(x[:1, :1], "float32"))

    facts = repeated(work, LEAST_S[small])
    return {**facts, "flops_s": 2.0 * side**3 * times / facts["seconds"]}


def forward(size: dict[str, Any], small: bool) -> dict[str, Any]:
    from seg_batch.nn.analysis.flops import forward_flops
    from seg_batch.nn.engines.device.programs import DevicePrograms

    patch, times = (size["patch"],) * 2, 1 if small else 10
    with tempfile.TemporaryDirectory() as folder:
        predictor, trained = loaded(Path(folder), size)
    model = predictor.loaded.keras_model
    programs = DevicePrograms(predictor.loaded, patch, size["batch"], predictor.precision)
    batch = programs.empty_batch()

    def work() -> None:
        for _ in range(times):
            result = programs.compute(batch)
        programs.wait(result)

    facts = repeated(work, LEAST_S[small])
    done = forward_flops(model, patch) * size["batch"] * times
    return {**facts, "flops_s": done / facts["seconds"], "parameters": trained, **memory()}


def segmented(size: dict[str, Any], small: bool, stays: bool) -> dict[str, Any]:
    from seg_batch.core.geometry import Block, Blocks, Box, Grid
    from seg_batch.core.normalise import Normaliser, Pixels
    from seg_batch.core.taper import Taper
    from seg_batch.inference.on_device.block import predict_on_device
    from seg_batch.inference.sliding_window.block import predict_block
    from seg_batch.inference.sliding_window.empty import EmptyRule
    from seg_batch.inference.sliding_window.stitch import Stitcher
    from seg_batch.io.sources.views.open_view import Seen
    from seg_batch.nn.engines.device import DEVICES

    image = Pixels(scene_of(SCENE[small]))
    extent = image.values.shape[:2]
    grid = Grid(extent, (size["patch"],) * 2, (size["overlap"],) * 2, (0, 0))
    normaliser = Normaliser((2000.0,) * CHANNELS, (1000.0,) * CHANNELS)
    labels, ids = np.empty(extent, np.uint8), np.arange(CLASSES, dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        predictor, trained = loaded(Path(folder), size)
    device = DEVICES.of(predictor, grid.patch, size["batch"])
    taper = Taper(grid, "gaussian")
    tiling = (grid, taper, normaliser, predictor, CLASSES, 2, size["batch"], EmptyRule(255))

    def read(window: Box, box: Box) -> Seen:
        return Seen(image[window.slices()], image[box.slices()], [])

    def one(block: Block) -> None:
        stitcher = Stitcher(*tiling)
        if stays:
            result = predict_on_device(stitcher, device, read, block.box, ids)
        else:
            result = predict_block(stitcher, read, block.box, ids)
        assert not result.fell_back, result.fell_back
        labels[block.box.slices()] = result.labels

    def work() -> None:
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(one, Blocks(extent, (BLOCK[small],) * 2)))

    facts = repeated(work, LEAST_S[small])
    used = device.shared().programs.batch if stays else predictor.batch
    return {**facts, "parameters": trained, "batch": used, **memory()}


def memory() -> dict[str, Any]:
    """The most that JAX had of the device."""
    if "jax" not in sys.modules:
        return {}
    stats = sys.modules["jax"].devices()[0].memory_stats() or {}
    return {"bytes": stats.get("peak_bytes_in_use")}


def has_gpu() -> bool:
    from seg_batch.core import hardware

    return hardware.gpus() > 0


def keras_side(side: str, small: bool) -> dict[str, Any]:
    size = SMALL if small else LARGE
    if side in ("stays", "host"):
        return segmented(size, small, side == "stays")
    return {"matmul": matmul, "forward": forward}[side](size, small)


# --- all sides, one after another ------------------------------------------------------------------------


def command_of(side: str, scene: Path, small: bool) -> list[str]:
    if side not in TORCH:
        return [sys.executable, __file__, "--side", side, *(["--small"] if small else [])]
    size = SMALL if small else LARGE
    numbers = {"classes": CLASSES, **{k: size[k] for k in ("patch", "overlap", "batch")}}
    options = [text for k, n in numbers.items() for text in (f"--{k}", str(n))]
    script = Path(__file__).parent / "torch_side" / "on_gpu.py"
    least = ["--least", str(LEAST_S[small])]
    filters = ["--filters", *map(str, size["filters"])]
    return [sys.executable, str(script), side, str(scene), *options, *least, *filters]


def environment() -> dict[str, str]:
    backend = "tensorflow" if find_spec("jax") is None else "jax"
    return {
        "KERAS_BACKEND": backend,
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }


def run_side(side: str, scene: Path, small: bool, seconds: float) -> dict[str, Any]:
    """The last line that the side prints; why there is none as ``missing``."""
    library = "torch" if side in TORCH else "keras"
    if find_spec(library) is None:
        return {"missing": f"{library} is not installed"}
    try:
        command = command_of(side, scene, small)
        ran = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return {"missing": f"not done after {seconds:.0f} s"}
    if ran.returncode:
        return {"missing": f"failed: {(ran.stderr.strip().splitlines() or [''])[-1][:300]}"}
    result: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    return result


def texts(side: str, facts: dict[str, Any], all_facts: dict[str, dict[str, Any]]) -> Iterator[str]:
    """What one side's line says."""
    if "missing" in facts:
        yield facts["missing"]
        return
    if "flops_s" in facts:
        yield f"{facts['flops_s'] / 1e12:.4g} TFLOP/s"
        if side == "forward" and "flops_s" in all_facts.get("matmul", {}):
            yield f"{facts['flops_s'] / all_facts['matmul']['flops_s']:.3f} of the matrix product"
    else:
        yield f"{facts['seconds']:.3f} s, {facts['voxels_s'] / 1e6:.4g} million voxels/s"
        if "seconds" in all_facts.get("stays", {}) and side != "stays":
            yield f"takes {facts['seconds'] / all_facts['stays']['seconds']:.2f} times as long"
    yield f"busy {facts['busy']:.2f}" if "busy" in facts else "busy: not measured"
    if facts.get("bytes"):
        yield f"{facts['bytes'] / 2**30:.2f} GiB of the device"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="tiny sizes, on a CPU too")
    parser.add_argument("--minutes", type=float, default=7.5, help="for all sides together")
    parser.add_argument("--only", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(keras_side(given.side, given.small)))
        return
    sys.path.insert(0, str(ROOT))
    if not has_gpu() and not given.small:
        print("gpu: there is no GPU here, so nothing was measured (--small tries the script)")
        return
    measure(given.only, given.small, time.monotonic() + 60 * given.minutes)


def measure(sides: list[str], small: bool, deadline: float) -> None:
    sampler, all_facts = Sampler(), dict[str, dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        scene = Path(folder) / "scene.npy"
        np.save(scene, scene_of(SCENE[small]))
        for side in sides:
            left = deadline - time.monotonic()
            facts = {"missing": "no time was left"} if left < 5 else {}
            facts = facts or run_side(side, scene, small, min(left, 150))
            if "seconds" in facts and "flops_s" not in facts:
                facts["voxels_s"] = SCENE[small] ** 2 / facts["seconds"]
            facts |= sampler.between(facts.get("began", 0), facts.get("ended", 0))
            all_facts[side] = facts
            print(f"gpu {side}: {'; '.join(texts(side, facts, all_facts))}", flush=True)
    sampler.close()
    counts = {facts["parameters"] for facts in all_facts.values() if "parameters" in facts}
    assert len(counts) <= 1, f"the networks differ: {counts} parameters"
    print(json.dumps({"benchmark": "gpu", "small": small, "sides": all_facts}))
    if LINES in os.environ and not small:
        with Path(os.environ[LINES]).open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in figures(all_facts))


def figures(facts: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The lines that the table of ``all.py`` is made of."""
    speeds = [facts.get(side, {}).get("flops_s") for side in ("forward", "matmul")]
    if all(speeds):
        yield {"benchmark": "gpu, forward", "share": speeds[0] / speeds[1]}
    ours = facts.get("stays", {})
    if "busy" in ours:
        yield {"benchmark": "gpu, run", "busy": ours["busy"]}
    for side in TORCH:
        if "seconds" in ours and "seconds" in facts.get(side, {}):
            ratio = facts[side]["seconds"] / ours["seconds"]
            yield {"benchmark": f"gpu, {side}", "ratio": ratio}


if __name__ == "__main__":
    main()
