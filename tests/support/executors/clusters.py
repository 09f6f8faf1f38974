"""Real schedulers and workers, each a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.patience import PATIENCE_S, until

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def process(*command: str, says: str = "", **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m COMMAND``, which can import the functions of these tests, once it has said ``says``;
    ended with the block.

    The current folder is another one, for ``-m`` puts that first on the path."""
    path = os.pathsep.join(filter(None, (environment.pop("PYTHONPATH", ""), str(ROOT))))
    with tempfile.NamedTemporaryFile() as said:
        started = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdout=subprocess.DEVNULL,
            stderr=said,
            env={**os.environ, **environment, "PYTHONPATH": path},
            cwd="/",
        )
        try:
            until(lambda: says in Path(said.name).read_text(), says, started)
            yield started
        finally:
            started.terminate()
            started.wait(PATIENCE_S)


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
        until(lambda: told.exists() and told.read_text().strip())
        yield json.loads(told.read_text())["address"]


@contextmanager
def worker(
    address: str, *options: str, registers: bool = True, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of that scheduler, with no nanny around it, that it has taken in (if it ``registers``)."""
    own = ("--nthreads", "2", "--no-dashboard", "--no-nanny", "--host", "127.0.0.1")
    command = ("distributed.cli.dask_worker", address, *own, *options)
    with process(*command, says="Registered to" if registers else "", **environment) as started:
        yield started


def of_another_version(folder: Path) -> dict[str, str]:
    """An environment in which segbatch says that it is 9.9.9."""
    other = folder / "other" / "segbatch-9.9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: segbatch\nVersion: 9.9.9\n")
    return {"PYTHONPATH": str(other.parent)}
