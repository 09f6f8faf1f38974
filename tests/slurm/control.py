"""A SLURM of one node on this machine, beside any other: started, asked, stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.patience import PATIENCE_S, until

HERE = Path(__file__).resolve().parent
PREFIX = "segbatch-slurm-"  # and the id of the process that owns it


@dataclass(frozen=True)
class Slurm:
    """A running SLURM; with ``environment`` its commands talk to it and to no other."""

    environment: dict[str, str]

    def call(self, *words: str) -> str:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=PATIENCE_S,
            check=True,
        )
        return done.stdout

    def jobs(self, state: str = "pending,running,completing") -> list[str]:
        """Ids of the jobs in these states, in order; by default of all that have not ended."""
        return sorted(self.call("squeue", "-h", "-o", "%A", "-t", state).split(), key=int)

    def cancel(self, *jobs: str) -> None:
        self.call("scancel", *jobs)

    def wait_until_empty(self) -> None:
        """Until every job has ended; one that finds no scheduler does so after a minute."""
        until(lambda: not self.jobs(), "the end of all jobs")


def down(folder: Path) -> None:
    subprocess.run([HERE / "down.sh", folder], check=True, timeout=PATIENCE_S)


def sweep() -> None:
    """Ends what test runs that no longer live have left behind."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if not Path(f"/proc/{folder.name.removeprefix(PREFIX)}").exists():
            down(folder)


@contextmanager
def one_node() -> Iterator[Slurm]:
    """Up, and down again whatever happens."""
    sweep()
    folder = Path(tempfile.gettempdir()) / f"{PREFIX}{os.getpid()}"
    path = f"{os.environ['PATH']}:/usr/sbin"
    environment = {**os.environ, "PATH": path, "PYTHON": sys.executable}
    try:
        subprocess.run([HERE / "up.sh", folder], env=environment, check=True, timeout=PATIENCE_S)
        yield Slurm({**environment, "SLURM_CONF": str(folder / "slurm.conf")})
    finally:
        if folder.exists():
            down(folder)
