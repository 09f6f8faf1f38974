"""Who hears SIGINT and SIGTERM: the coordinator alone."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.resource_tracker import ensure_running

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def unheard() -> Iterator[None]:
    """Threads and processes begun meanwhile, and those that they begin, never hear either.

    A terminal sends its interrupt, and systemd its SIGTERM, to all processes of a run. Were workers to
    end by it, what they have in hand would be lost; when their coordinator ends, so do they.
    """
    ensure_running()  # it unblocks both in the thread that begins it: here, and not later
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
