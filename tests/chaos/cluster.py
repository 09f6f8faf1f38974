"""A Dask scheduler and its workers as processes of their own, to be killed apart from the run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.chaos.night import WORKERS, Night, end_session, kill, processes


class Cluster:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.port = 20000 + os.getpid() % 20000
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._sessions: list[subprocess.Popen[bytes]] = []

    def start(self, night: Night) -> None:
        listen = ["scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"]
        work = ["worker", self.address, "--nworkers", str(WORKERS), "--nthreads", "2"]
        env = {**night.environment(), "CHAOS_SESSION": str(night.sessions + 1)}
        self._sessions = [self._popen(listen, env)]
        self._sessions.append(self._popen([*work, "--no-dashboard"], env))

    def _popen(self, arguments: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self._folder / "said.txt").open("ab") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments],
                stdout=said, stderr=said, env=env, cwd=self._folder, start_new_session=True,
            )  # fmt: skip

    def kill_scheduler(self) -> None:
        for pid in processes(self._sessions[0].pid):
            kill(pid)
        self._sessions[0].wait()

    def stop(self) -> None:
        for process in self._sessions:
            end_session(process.pid)
            process.wait()
        self._sessions = []
