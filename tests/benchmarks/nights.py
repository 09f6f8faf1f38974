"""What the benchmarks of ``segbatch run`` share: workflows, small inputs, and a coordinator looked at
from outside while it works."""

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import rasterio
from timing import SEGBATCH

LOOK_S = 0.05
_TICK = os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int | str) -> int:
    """0 when the process has just ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def processor_s(pid: int) -> float:
    """Processor time of the process itself, children aside; 0 when it has just ended."""
    try:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    except (OSError, ValueError):
        return 0.0
    return (int(user) + int(system)) / _TICK


@dataclass(frozen=True)
class Look:
    """A process at one moment. ``t``: unix seconds."""

    t: float
    rss_bytes: int
    processor_s: float


@dataclass(frozen=True)
class Night:
    """A run and its coordinator over time."""

    told: dict[str, Any]
    seconds: float
    looks: list[Look]
    events: list[dict[str, Any]]

    def when(self, kind: str) -> float:
        """Of the first event of the kind, unix seconds."""
        return next(event["t"] for event in self.events if event["event"] == kind)

    @property
    def ended(self) -> float:
        return self.events[-1]["t"]

    def until_end(self) -> list[Look]:
        """The night itself: without the start of the program, and without the report made of it."""
        begun = self.when("begun")
        return [look for look in self.looks if begun <= look.t <= self.ended]

    @property
    def peak_bytes(self) -> int:
        return max(look.rss_bytes for look in self.until_end())

    @property
    def coordinator_s(self) -> float:
        looks = self.until_end()
        return looks[-1].processor_s - looks[0].processor_s

    @property
    def report_peak_bytes(self) -> int:
        return max(look.rss_bytes for look in self.looks)


def make_workflow(folder: Path, inputs: Path, *lines: str) -> Path:
    """``folder``/night.yaml: its products go to ``folder``/out."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "night.yaml"
    said = ["name: night", f"inputs: {inputs}", f"outputs: {folder / 'out'}", *lines]
    path.write_text("\n".join(said) + "\n")
    return path


def run_night(workflow: Path, expected: int = 0) -> Night:
    """``segbatch run`` in a process of its own, looked at while it works."""
    command = [*SEGBATCH, "run", str(workflow), "--json", "--quiet"]
    looks, start = [], time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            looks.append(Look(time.time(), resident_bytes(process.pid), processor_s(process.pid)))
            time.sleep(LOOK_S)
        assert process.stdout is not None
        said = process.stdout.read()
    if process.returncode != expected:
        raise SystemExit(f"{workflow} ended with {process.returncode}: {said}")
    told = json.loads(said)
    journal = Path(told["run"]) / "journal.jsonl"
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    seconds = time.perf_counter() - start
    return Night(told, seconds, [look for look in looks if look.rss_bytes], events)


def make_scenes(folder: Path, n: int, side: int = 64) -> Path:
    """``n`` small uint8 scenes, no two alike."""
    folder.mkdir(parents=True)
    place = {"crs": "EPSG:32612", "transform": rasterio.Affine(30, 0, 3e5, 0, -30, 4.2e6)}
    shape = {"width": side, "height": side, "count": 1, "dtype": "uint8"}
    for i in range(n):
        pixels = np.random.default_rng(i).integers(0, 8, (1, side, side), np.uint8)
        with rasterio.open(folder / f"{i:06}.tif", "w", driver="GTiff", **place, **shape) as file:
            file.write(pixels)
    return folder


def make_volumes(folder: Path, n: int, shape: tuple[int, ...] = (36, 50, 36)) -> Path:
    """``n`` small volumes of the size of a cropped hippocampus, 1 mm, no two alike."""
    folder.mkdir(parents=True)
    for i in range(n):
        voxels = np.random.default_rng(i).normal(400, 100, shape).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / f"{i:04}.nii.gz")
    return folder
