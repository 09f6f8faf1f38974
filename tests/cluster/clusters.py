"""Real schedulers and workers, each a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def process(*command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m COMMAND``, which can import the functions of these tests; ended with the block.

    The current folder is another one, for ``-m`` puts that first on the path."""
    before = environment.pop("PYTHONPATH", os.environ.get("PYTHONPATH"))
    path = os.pathsep.join(filter(None, (before, str(ROOT))))
    started = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment, "PYTHONPATH": path},
        cwd="/",
    )
    try:
        yield started
    finally:
        started.terminate()
        started.communicate(timeout=30)


def tls(folder: Path, role: str) -> tuple[str, ...]:
    """The options by which Dask's own commands take a set of certificates."""
    names = (("ca-file", "ca.pem"), ("cert", f"{role}.pem"), ("key", f"{role}-key.pem"))
    return tuple(f"--tls-{option}={folder / name}" for option, name in names)


@contextmanager
def scheduler(folder: Path, certs: Path | None = None, role: str = "scheduler") -> Iterator[str]:
    """The address of a scheduler on loopback."""
    told = folder / "scheduler.json"
    options = [
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
        "--scheduler-file",
        str(told),
    ]
    if certs is not None:
        options += ["--protocol", "tls", *tls(certs, role)]
    with process("distributed.cli.dask_scheduler", *options):
        deadline = time.monotonic() + 60
        while not told.exists() or not told.read_text().strip():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield json.loads(told.read_text())["address"]


def worker(address: str, *options: str, **environment: str) -> Any:
    """A worker of that scheduler, with no nanny around it."""
    own = ("--nthreads", "2", "--no-dashboard", "--no-nanny", "--host", "127.0.0.1")
    return process("distributed.cli.dask_worker", address, *own, *options, **environment)


def of_another_version(folder: Path) -> dict[str, str]:
    """An environment in which segbatch says that it is 9.9.9."""
    other = folder / "other" / "segbatch-9.9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: segbatch\nVersion: 9.9.9\n")
    return {"PYTHONPATH": str(other.parent)}
