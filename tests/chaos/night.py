"""A night to be disturbed: real inputs, a workflow, the command, its processes, what it left."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import rasterio
from rasterio.transform import Affine

from seg_batch.batch.journal import Journal
from seg_batch.core.run_files import JOURNAL

SAMPLES = Path(__file__).resolve().parents[2] / "seg_batch" / "data" / "samples"
FAULTS = Path(__file__).with_name("faults")
WORKERS = 3
MANIFEST, NETWORK = "inputs.csv", "hippocampus-mri"


def make_inputs(folder: Path, scenes: int = 12, volumes: int = 8) -> None:
    """Scenes and volumes of real pixels; every fourth scene is mirrored on until it has several
    blocks. No two are alike. A manifest gives the scenes to the probe, all of whose voxels tell where
    they are, and the volumes to a trained network."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [f"scene{i:02}.tif,probe" for i in range(scenes)]
    rows += [f"volume{i:02}.nii.gz,{NETWORK}" for i in range(volumes)]
    (folder / MANIFEST).write_text("\n".join(["input,model", *rows, ""]))
    with rasterio.open(SAMPLES / "zion_landsat8.tif") as file:
        pixels, profile = file.read(), file.profile
    for i in range(scenes):
        part = np.roll(pixels, (13 * i, 29 * i), (1, 2))
        if i % 4 == 3:
            part = np.pad(part[:1], ((0, 0), (0, 3900), (0, 3800)), "reflect")
        part = part[:, : part.shape[1] - 7 * i, : part.shape[2] - 5 * i]
        shape = dict(zip(("count", "height", "width"), part.shape, strict=True))
        place = {"transform": profile["transform"] @ Affine.translation(100 * i, 0)}
        tiles = {"tiled": True, "blockxsize": 256, "blockysize": 256}
        with rasterio.open(
            folder / f"scene{i:02}.tif", "w", **{**profile, **shape, **place, **tiles}
        ) as file:
            file.write(part)
    for i in range(volumes):
        image = nibabel.load(SAMPLES / f"hippocampus_{('001', '143')[i % 2]}.nii.gz")
        voxels = np.roll(np.asanyarray(image.dataobj), 3 * i, 0)[: 30 - i]
        voxels = np.pad(voxels, ((0, 20), (0, 30), (0, 25)), "reflect")
        nibabel.Nifti1Image(voxels, image.affine, image.header).to_filename(
            folder / f"volume{i:02}.nii.gz"
        )


@dataclass
class Night:
    """One run: its workflow over ``inputs``, into a folder of its own, with ``env`` for its
    processes."""

    inputs: Path
    folder: Path
    cluster: str = "local"
    workers: int = WORKERS
    env: dict[str, str] = field(default_factory=dict)
    sessions: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.workflow.write_text(
            f"name: night\ninputs: {{manifest: {self.inputs / MANIFEST}}}\noutputs: {self.products}\n"
            f"cluster: {self.cluster}\nworkers: {self.workers}\n"
            "limits: {memory: 1GiB}\n"
        )

    @property
    def workflow(self) -> Path:
        return self.folder / "night.yaml"

    @property
    def products(self) -> Path:
        return self.folder / "out"

    @property
    def run(self) -> Path:
        return self.products / ".segbatch" / "night"

    @property
    def log(self) -> Path:
        return self.folder / "blocks.log"

    def environment(self) -> dict[str, str]:
        """That of every process of the run: where its faults come from, and where blocks are told."""
        paths = [str(FAULTS), os.environ.get("PYTHONPATH", "")]
        extra = {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "CHAOS_LOG": str(self.log),
            "CHAOS_SESSION": str(self.sessions),
        }
        return {**os.environ, **extra, **self.env}

    def start(self) -> subprocess.Popen[str]:
        """The command, in a session of its own, so that its processes can be told from others."""
        self.sessions += 1
        with (self.folder / "said.txt").open("a") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "seg_batch", "run", str(self.workflow)],
                stdout=said,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                start_new_session=True,
                text=True,
            )

    def said(self) -> str:
        return (self.folder / "said.txt").read_text()

    def finish(self, limit_s: float = 600) -> int:
        """The command, undisturbed; its exit status."""
        process = self.start()
        try:
            return process.wait(limit_s)
        finally:
            end_session(process.pid)

    def digests(self) -> dict[str, str]:
        """sha256 of every product by name; reports hold times and are left out."""
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.products.iterdir())
            if path.name.endswith((".tif", ".nii.gz"))
        }

    def leftovers(self) -> list[str]:
        """What a complete run should have taken away."""
        kept = (".tif", ".nii.gz", ".tif.json", ".nii.gz.json")
        names = [path.name for path in self.products.iterdir()]
        return [name for name in names if not name.endswith(kept) and name != ".segbatch"]

    def begun(self) -> list[Counter[tuple[str, str]]]:
        """How often each session began each block, by input and block."""
        found: list[Counter[tuple[str, str]]] = [Counter() for _ in range(self.sessions)]
        if self.log.exists():
            for line in self.log.read_text().splitlines():
                session, path, block = line.split("\t")
                found[int(session) - 1][path, block] += 1
        return found

    def faults(self) -> int:
        """Reads that were made to fail."""
        told = Path(f"{self.log}.eio")
        return len(told.read_text().splitlines()) if told.exists() else 0

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """Of the journal, all or of one kind."""
        found = Journal.read(self.run / JOURNAL)
        return [event for event in found if kind in ("", event["event"])]

    def repeated(self) -> list[int]:
        """For each session but the first: blocks begun that an earlier one had begun as well."""
        sessions, before, counts = self.begun(), set(), []
        for session in sessions:
            counts.append(len(before & session.keys()))
            before |= session.keys()
        return counts[1:]


def processes(session: int) -> dict[int, str]:
    """pid -> command line of every living process of a session."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] not in "ZX":
                    found[int(folder.name)] = (folder / "cmdline").read_text()
            except OSError:
                continue
    return found


def workers_of(session: int) -> list[int]:
    """The worker processes of a local cluster."""
    return [pid for pid, command in processes(session).items() if "spawn_main" in command]


def end_session(session: int) -> None:
    """Kill whatever a session left."""
    for pid in processes(session):
        kill(pid)


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal; somebody who is gone already needs none."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def wait_until(true: object, limit_s: float = 120.0) -> bool:
    """Whether ``true()`` became true in time."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if true():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False
