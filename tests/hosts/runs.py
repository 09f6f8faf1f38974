"""A command that takes some seconds, watched while it runs, and the bytes that it must leave."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import yaml

from tests.support.files import address_raster, segbatch, write_raster
from tests.support.patience import PATIENCE_S, until

SIDE, SMALL_SIDE = 6144, 700
BLOCKS = 36  # of the large scene
APPLIED = {"tta": "d4", "block": [1024, 1024]}  # slow enough to be disturbed


@dataclass(frozen=True)
class Reference:
    """A scene of ``BLOCKS`` blocks and three of one block, and the products of a quiet process:
    name -> sha256."""

    scenes: Path
    products: dict[str, str]

    def predict(self, out: Path, cluster: object, name: str = "large") -> list[str]:
        """The command for one scene, by default the large one."""
        scene = str(self.scenes / f"{name}.tif")
        return command("predict", scene, "-o", f"{out}/", *_OPTIONS, "--cluster", str(cluster))

    def run(self, out: Path, cluster: object) -> list[str]:
        """The command for all of them, as a workflow with its run folder in ``out``."""
        workflow = {
            "name": "night",
            "inputs": str(self.scenes),
            "model": "probe",
            "options": APPLIED,
            "outputs": str(out),
            "cluster": str(cluster),
        }
        path = out.with_suffix(".yaml")
        path.write_text(yaml.safe_dump(workflow))
        return command("run", str(path), "--json")


_OPTIONS = ("--model", "probe", "--tta", "d4", "--block", "1024,1024", "--json")


def made_reference(folder: Path) -> Reference:
    scenes, quiet = folder / "scenes", folder / "quiet"
    scenes.mkdir()
    sides = {"large": SIDE} | {f"small{i}": SMALL_SIDE + i for i in range(3)}
    for name, side in sides.items():
        write_raster(scenes / f"{name}.tif", address_raster((side, side), 1, "uint8"))
    ran = segbatch("predict", *sorted(scenes.iterdir()), "-o", f"{quiet}/", *_OPTIONS)
    assert ran.status == 0, ran.err
    assert [report["blocks"]["total"] for report in ran.json] == [BLOCKS, 1, 1, 1]
    return Reference(scenes, products(quiet))


def products(folder: Path) -> dict[str, str]:
    """Name -> sha256 of all maps in ``folder``."""
    return {path.name: sha256(path) for path in folder.glob("*.tif")}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "seg_batch", *arguments]


class Running:
    """A started command with products in ``out``; as a context, it does not outlive the test."""

    def __init__(self, words: list[str], out: Path, environment: dict[str, str]) -> None:
        self._store = out / "large_labels.tif.work.zarr"
        self._process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd="/",
        )

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE_S)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=PATIENCE_S)

    def receipts(self) -> list[dict[str, str]]:
        """Of the large scene's blocks done so far; none when its product is in place."""
        read = []
        for path in self._store.glob("done/*.*.json"):
            with suppress(FileNotFoundError):  # the run ends meanwhile
                read.append(json.loads(path.read_text("utf-8")))
        return read

    def wait_for_blocks(self, n: int, hosts: int = 1, processes: int = 1) -> None:
        """Until ``n`` blocks are done, by so many hosts and processes; fails where the run ended
        before."""
        until(lambda: self._has_done(n, hosts, processes), f"{n} blocks", self._process)

    def _has_done(self, n: int, hosts: int, processes: int) -> bool:
        done = [receipt["worker"] for receipt in self.receipts()]
        names = {worker.split(":")[0] for worker in done}
        return len(done) >= n and len(names) >= hosts and len(set(done)) >= processes

    def is_working(self) -> bool:
        """Whether blocks are still to be done."""
        return self._process.poll() is None and 0 < len(self.receipts()) < BLOCKS

    def end(self, timeout: float = PATIENCE_S) -> tuple[int, str, str]:
        """Exit status and both streams."""
        out, err = self._process.communicate(timeout=timeout)
        return self._process.returncode, out, err
