"""Commands that are run when a run has ended: ``on_finish`` of a workflow.

They are run without a shell, one after another, with

    SEGBATCH_RUN      the run folder
    SEGBATCH_STATUS   the exit status of the run: 0 complete, 1 fault, 2 it could not begin,
                      3 inputs quarantined, 130 stopped
    SEGBATCH_REPORT   the report of the run, report.html; a run that never began has none

in their environment. Their failures never change the exit status.
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

from seg_batch.core.run_files import PAGE
from seg_batch.core.units import plain_s

LIMIT_S = 60.0
_TAIL = 2000  # bytes of the output of a command that are kept


def run_hooks(
    commands: Sequence[Sequence[str]],
    run: Path,
    status: int,
    failed: Callable[[str, str], None],
    limit_s: float = LIMIT_S,
) -> int:
    """Run each command after the run in the folder ``run``; returns how many succeeded.
    ``failed(word, why)`` is called for each of the others, with its first word."""
    environment = {
        **os.environ,
        "SEGBATCH_RUN": str(run),
        "SEGBATCH_STATUS": str(status),
        "SEGBATCH_REPORT": str(run / PAGE),
    }
    succeeded = 0
    for command in commands:
        if (why := _run(list(command), environment, limit_s)) is None:
            succeeded += 1
        else:
            failed(command[0] if command else "", why)  # the other words may be secret
    return succeeded


def _run(command: list[str], environment: dict[str, str], limit_s: float) -> str | None:
    """None, or why the command did not succeed.

    Its output goes to a file and not through a pipe, which a process that it leaves behind would
    hold open for ever.
    """
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
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
            return f"it took longer than {plain_s(limit_s)} and was killed{_tail(output)}"
        except BaseException:  # a signal ends the run itself
            _end(process)
            raise
        return None if status == 0 else f"it ended with status {status}{_tail(output)}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the command and its children: it has a session of its own."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _TAIL))
    text = output.read().decode("utf-8", "replace").strip()
    return f": {text}" if text else ""
