"""Commands that are run when a run has ended: ``on_finish`` of a workflow.

They are run without a shell, one after the other, with

    SEGBATCH_RUN      the run folder
    SEGBATCH_STATUS   the exit status of the run: 0 complete, 1 fault, 2 it could not begin,
                      3 inputs set aside, 130 stopped
    SEGBATCH_REPORT   the report of the run, report.html; of one that never began there is none

in their environment. What becomes of them never changes the exit status.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from seg_batch.core.units import plain_s

LIMIT_S = 60.0
_TAIL = 2000  # bytes of what a command said that are kept


def run_hooks(
    commands: Sequence[Sequence[str]],
    *,
    run: Path,
    status: int,
    report: Path,
    failed: Callable[[str, str], None],
    limit_s: float = LIMIT_S,
) -> int:
    """Run each command; returns how many succeeded. ``failed(word, why)`` hears of the others, by
    their first words."""
    environment = {
        **os.environ,
        "SEGBATCH_RUN": str(run),
        "SEGBATCH_STATUS": str(status),
        "SEGBATCH_REPORT": str(report),
    }
    good = 0
    for command in commands:
        why = _run(list(command), environment, limit_s)
        good += why is None
        if why is not None:
            failed(command[0] if command else "", why)  # what follows may be secret
    return good


def _run(command: list[str], environment: dict[str, str], limit_s: float) -> str | None:
    """None, or why the command did not succeed.

    What it says goes to a file and not through a pipe: a process that it leaves behind would hold
    the pipe open for ever.
    """
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        except (OSError, ValueError, IndexError) as error:
            return f"it can't be run ({error})"
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            _end(process)
            return f"it took longer than {plain_s(limit_s)} and was killed{_tail(said)}"
        except BaseException:  # the run itself is told to end
            _end(process)
            raise
        return None if status == 0 else f"it ended with status {status}{_tail(said)}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the command and whatever it began: its session is its own."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(said: IO[bytes]) -> str:
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - _TAIL))
    text = said.read().decode("utf-8", "replace").strip()
    return f": {text}" if text else ""
