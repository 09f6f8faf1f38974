"""A run folder opened by its one coordinator: lease held, journal open, takeover recorded."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from seg_batch.batch.journal.events import Journal, highest_token
from seg_batch.batch.journal.lease import LIMIT_S, Lease, acquire, leave
from seg_batch.core.run_files import JOURNAL
from seg_batch.core.versions import package_version


def taken_over_line(lease: Lease) -> str | None:
    """The message about a takeover; None when there was none."""
    if lease.taken_over is None:
        return None
    return f"taking over this run from {lease.taken_over}: {lease.why}"


def begin(journal: Journal, workflow_sha256: str) -> None:
    """Record which workflow is begun, by which process."""
    journal.append(
        "begun",
        workflow_sha256=workflow_sha256,
        host=socket.gethostname(),
        pid=os.getpid(),
        segbatch=package_version(),
    )


def on_terminal(line: str) -> None:
    """Print a line on standard error."""
    print(f"segbatch: {line}", file=sys.stderr, flush=True)


@contextmanager
def open_run(
    folder: Path,
    *,
    limit_s: float = LIMIT_S,
    say: Callable[[str], None] = on_terminal,
    on_lost: Callable[[str], None] = leave,
) -> Iterator[Journal]:
    """The journal of the run in ``folder``, for the one process that may append to it.

    ``say`` gets a line when the run was taken over from a dead owner, or while it is unknown
    whether the owner is dead. BusyError when the owner lives. The others as in ``lease.acquire``.
    """
    with (
        acquire(
            folder,
            limit_s=limit_s,
            on_lost=on_lost,
            say=say,
            min_token=highest_token(folder / JOURNAL),
        ) as lease,
        closing(Journal(folder / JOURNAL, lease)) as journal,
    ):
        if (line := taken_over_line(lease)) and lease.taken_over:
            say(line)
            earlier = lease.taken_over
            journal.append(
                "taken_over", from_host=earlier.host, from_pid=earlier.pid, why=lease.why
            )
        yield journal
