"""A run folder opened by its one coordinator: the lock held, the journal open, a takeover told."""

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


def taken_over_line(tenure: Lease) -> str | None:
    """What a person is told of a takeover; None when there was none."""
    if tenure.taken_over is None:
        return None
    return f"taking over this run from {tenure.taken_over}: {tenure.why}"


def begin(journal: Journal, workflow_sha256: str) -> None:
    """Tell which workflow is begun, by whom."""
    journal.append(
        "begun",
        workflow_sha256=workflow_sha256,
        host=socket.gethostname(),
        pid=os.getpid(),
        segbatch=package_version(),
    )


def on_terminal(line: str) -> None:
    """A line for a person, on standard error."""
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

    ``say`` is told when the run was taken over from an owner that is dead, or when one waits to know
    whether it is. BusyError when its owner lives; see ``lease.hold``.
    """
    with (
        acquire(
            folder,
            limit_s=limit_s,
            on_lost=on_lost,
            say=say,
            floor=highest_token(folder / JOURNAL),
        ) as tenure,
        closing(Journal(folder / JOURNAL, tenure)) as journal,
    ):
        if (line := taken_over_line(tenure)) and tenure.taken_over:
            say(line)
            earlier = tenure.taken_over
            journal.append(
                "taken_over", from_host=earlier.host, from_pid=earlier.pid, why=tenure.why
            )
        yield journal
