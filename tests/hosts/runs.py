"""A command that takes some seconds, watched while it runs, and the bytes that it must leave."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.engine.files import address_raster, segbatch, write_raster

SIDE = 6144
BLOCKS = 36


@dataclass(frozen=True)
class Reference:
    """A scene of ``BLOCKS`` blocks and what one quiet process makes of it."""

    scene: Path
    sha256: str

    def arguments(self, out: Path, *more: str) -> list[str]:
        """``predict`` of this scene into ``out``, slow enough to be disturbed."""
        told = ["--model", "probe", "--tta", "d4", "--block", "1024,1024", "--json"]
        return ["predict", str(self.scene), "-o", str(out), *told, *more]


def made_reference(folder: Path) -> Reference:
    scene = write_raster(folder / "scene.tif", address_raster((SIDE, SIDE), 1, "uint8"))
    reference, out = Reference(scene, ""), folder / "quiet.tif"
    ran = segbatch(*reference.arguments(out, "--cluster", "inline"))
    assert ran.status == 0, ran.err
    assert ran.json["blocks"]["total"] == BLOCKS
    return Reference(scene, sha256(out))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "seg_batch", *arguments]


class Running:
    """A started command that writes ``out``; used as a context, it does not outlive the test."""

    def __init__(self, words: list[str], out: Path, environment: dict[str, str]) -> None:
        self.out = out
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
            self._process.wait(10)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=10)

    def receipts(self) -> list[dict[str, str]]:
        """Of the blocks done so far; none when the product is in place."""
        read = []
        for path in Path(f"{self.out}.work.zarr").glob("done/*.*.json"):
            with suppress(FileNotFoundError):  # the run ends meanwhile
                read.append(json.loads(path.read_text("utf-8")))
        return read

    def wait_for_blocks(self, n: int, hosts: int = 1, processes: int = 1) -> None:
        """Until ``n`` blocks are done, by so many hosts and processes; fails where the run ended
        before."""
        deadline = time.monotonic() + 60
        while not self._has_done(n, hosts, processes):
            assert self._process.poll() is None, self._process.communicate()
            assert time.monotonic() < deadline, self.receipts()
            time.sleep(0.02)

    def _has_done(self, n: int, hosts: int, processes: int) -> bool:
        done = [receipt["worker"] for receipt in self.receipts()]
        names = {worker.split(":")[0] for worker in done}
        return len(done) >= n and len(names) >= hosts and len(set(done)) >= processes

    def is_working(self) -> bool:
        """Whether blocks are still to be done."""
        return self._process.poll() is None and 0 < len(self.receipts()) < BLOCKS

    def end(self, timeout: float = 120) -> tuple[int, str, str]:
        """Exit status and both streams."""
        out, err = self._process.communicate(timeout=timeout)
        return self._process.returncode, out, err
