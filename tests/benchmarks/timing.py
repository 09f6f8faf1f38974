"""What the benchmarks share: fair timing, a command run and measured, inputs made on the spot.

Ratios come from one run, turn by turn (A B A B), so that a busy machine slows both sides alike.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import rasterio
from rasterio.windows import Window

SEGBATCH = [sys.executable, "-c", "from seg_batch.cli.main import main; main()"]
LINES = "SEGBATCH_BENCHMARK_LINES"
ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".venv-peers" / "bin"  # torch, MONAI, nnU-Net: see the Makefile
DATA = Path(os.environ.get("SEGBATCH_DATA", Path(__file__).parents[3] / "shared" / "data"))


def seconds_of(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def interleaved(rounds: int, **sides: Callable[[], float]) -> dict[str, float]:
    """The median of what each side returns (its own seconds), one round of all after the other."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            figures[name].append(side())
    return {name: statistics.median(values) for name, values in figures.items()}


@dataclass(frozen=True)
class Ran:
    """One command: its report, and wall time, processor time and memory of all its processes, seen from outside.

    ``rss_bytes``: the most that was resident at one moment. ``cpu_s``: of processes that were waited for.
    """

    report: dict[str, Any]
    seconds: float
    rss_bytes: int
    cpu_s: float

    @property
    def costs(self) -> dict[str, float]:
        """For ``show(sides=...)``."""
        return {"seconds": self.seconds, "cpu_s": self.cpu_s, "peak_bytes": self.rss_bytes}


def _peak_rss_bytes(pid: int) -> int:
    """What the system says of a living process; 0 when it has just ended."""
    try:
        return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        return 0


def _rss_bytes(pid: int) -> int:
    """Of a process and all its descendants, now."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        threads = Path(f"/proc/{pid}/task").glob("*/children")
        children = [int(child) for path in threads for child in path.read_text().split()]
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(map(_rss_bytes, children))


def _cpu_s() -> float:
    """Of all children of this process that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(command: list[str], out: IO[bytes] | int = subprocess.DEVNULL, **env: str) -> Ran:
    """Run a command; ``env`` is added to the environment.

    Its memory is looked up while it lives: ``ru_maxrss`` would include that of this process.
    """
    start, before, peak = time.perf_counter(), _cpu_s(), 0
    with subprocess.Popen(command, stdout=out, env={**os.environ, **env}) as process:
        while process.poll() is None:
            peak = max(peak, _peak_rss_bytes(process.pid), _rss_bytes(process.pid))
            time.sleep(0.02)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return Ran({}, seconds, peak, _cpu_s() - before)


def run_command(command: list[str], **env: str) -> Ran:
    """Run a command that prints one JSON object; whatever else it does is measured."""
    with tempfile.TemporaryFile() as out:
        ran = measured(command, out, **env)
        out.seek(0)
        return replace(ran, report=json.load(out))


def predict(scene: Path, output: Path, *options: str) -> Ran:
    """``segbatch predict`` in a process of its own, from nothing: no earlier result is resumed."""
    command = [*SEGBATCH, "predict", str(scene), "-o", str(output), "--json", "--overwrite"]
    return run_command([*command, *options])


def show(name: str, text: str, **figures: Any) -> None:
    """One line for people, one for programs; the latter also goes to the file named by ``LINES``, of
    which ``all.py`` makes the table. ``sides``: what each side of a comparison took (``Ran.costs``)."""
    print(f"{name}: {text}")
    line = json.dumps({"benchmark": name, **figures})
    print(line, flush=True)
    if LINES in os.environ:
        with Path(os.environ[LINES]).open("a") as file:
            file.write(line + "\n")


def make_scene(
    path: Path, side: int, bands: int = 4, speckle: float = 0.02, **options: Any
) -> Path:
    """A square uint16 GeoTIFF in tiles: fields of one value, some dozens to a patch, and a share of
    stray pixels, so that neither scene nor map is easier to pack than a real one.

    Written strip by strip, so that a scene of any size needs little memory.
    """
    rng = np.random.default_rng(side)
    profile = {"driver": "GTiff", "tiled": True, "blockxsize": 512, "blockysize": 512}
    place = {"crs": "EPSG:32612", "transform": rasterio.Affine(30, 0, 3e5, 0, -30, 4.2e6)}
    shape = {"width": side, "height": side, "count": bands, "dtype": "uint16", "BIGTIFF": "YES"}
    with rasterio.open(path, "w", **profile, **place, **shape, **options) as file:
        for top in range(0, side, 512):
            rows = np.arange(top, min(top + 512, side))
            columns = (np.arange(side) // 53 * 5 + 7).astype(np.uint16)
            fields = np.add.outer((rows // 37 * 3).astype(np.uint16), columns)
            if speckle:
                fields += (rng.random(fields.shape, np.float32) < speckle) * np.uint16(3)
            strip = np.stack([fields * np.uint16(b + 1) % 4096 for b in range(bands)])
            file.write(strip, window=Window(0, top, side, len(rows)))
    return path


def make_bundle(folder: Path, rank: int, patch: int, overlap: int, **network: Any) -> Path:
    """A bundle with random weights: what it says means nothing, what it costs is real."""
    from seg_batch.config.card import ModelCard
    from seg_batch.core.files import sha256
    from seg_batch.nn.analysis.flops import activation_bytes, forward_flops
    from seg_batch.nn.backend import keras
    from seg_batch.nn.networks.anunet import ANUNetConfig, anunet

    keras.utils.set_random_seed(7)
    config = ANUNetConfig(rank=rank, **network)
    model = anunet(ANUNetConfig(rank=rank, **network, heads=(config.depth,)))
    folder.mkdir(parents=True)
    model.save(folder / "model.keras")
    sides, n = (patch,) * rank, config.channels
    card = ModelCard(
        name=folder.name,
        kind="raster" if rank == 2 else "volume",
        rank=rank,
        channels=tuple(f"channel {i}" for i in range(n)),
        classes=[{"id": i, "name": str(i), "colour": (i, i, i)} for i in range(config.classes)],
        patch=sides,
        multiple=(config.multiple,) * rank,
        overlap=(overlap,) * rank,
        normalisation={"kind": "card", "mean": (2000.0,) * n, "std": (1000.0,) * n},
        compute={
            "activation_bytes": activation_bytes(model, sides),
            "flops": forward_flops(model, sides),
        },
        weights_sha256=sha256(folder / "model.keras"),
    )
    (folder / "card.json").write_text(card.model_dump_json(indent=2))
    return folder
