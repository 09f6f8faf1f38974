"""Waiting for what happens, however slow the machine is; and programs that stand still where a test
wants them to."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE_S = 300.0  # no measure of anything: a test that waits so long has failed


def until(true: Callable[[], Any], what: str = "it", process: Any = None) -> None:
    """Wait for it to be true; fails early where ``process``, which was to bring it about, has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        if process is not None and process.poll() is not None:
            assert true(), f"the process ended ({process.returncode}) before {what} came"
            return
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(0.01)


STANDING = """
import os, sys, threading, time
from fnmatch import fnmatch

event, pattern, after, folder = (os.environ["GATE_" + name] for name in ("EVENT", "AT", "AFTER", "DIR"))
passed, guard = 0, threading.Lock()


def stand(mine, path):
    end = time.monotonic() + 600
    with open(mine, "w") as file:
        file.write(path)
    while os.path.exists(mine) and not os.path.exists(os.path.join(folder, "open")):
        if not os.path.isdir(folder) or time.monotonic() > end:  # the test is over
            return
        time.sleep(0.005)


def watch(name, arguments):
    global passed
    if name != event:
        return
    path = str(arguments[1 if name == "os.rename" else 0])
    if not fnmatch(path, pattern):
        return
    with guard:
        passed += 1
        free = passed <= int(after)
    if not free:
        stand(os.path.join(folder, f"{os.getpid()}-{threading.get_native_id()}"), path)


sys.addaudithook(watch)
"""


class Gate:
    """Programs started with its ``environment``, and processes that these start, stand still at a step.

    The step is one that Python tells its audit hooks of (``os.rename``, also of ``os.replace``,
    ``os.mkdir``, ``os.scandir``), with a path that fits ``pattern``. Each process takes it ``after``
    times, and then each thread that would take it once more stands before it.
    """

    def __init__(
        self, folder: Path, pattern: str, *, after: int = 0, event: str = "os.rename"
    ) -> None:
        self._folder = folder / "gate"
        (self._folder / "code").mkdir(parents=True)
        (self._folder / "code" / "sitecustomize.py").write_text(STANDING)
        path = os.pathsep.join(filter(None, (str(self._folder / "code"), os.getenv("PYTHONPATH"))))
        self.environment = {
            **{"PYTHONPATH": path, "GATE_EVENT": event, "GATE_AT": pattern},
            **{"GATE_AFTER": str(after), "GATE_DIR": str(self._folder)},
        }

    def standing(self) -> list[int]:
        """The process of each thread that stands."""
        return [int(path.name.partition("-")[0]) for path in self._folder.glob("*-*")]

    def wait(self, process: subprocess.Popen[Any] | None = None, threads: int = 1) -> None:
        """Until so many threads stand."""
        until(lambda: len(self.standing()) >= threads, "one who stands at the gate", process)

    def step(self, process: subprocess.Popen[Any] | None = None) -> None:
        """Let those who stand take the step; the next time they stand again."""
        self.wait(process)
        for path in self._folder.glob("*-*"):
            path.unlink()

    def open(self) -> None:
        """Nobody stands any more."""
        (self._folder / "open").touch()
