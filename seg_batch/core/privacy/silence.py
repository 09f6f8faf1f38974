"""Libraries are kept from printing: what they say of a file may quote it."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_GUARD = threading.Lock()
SAID = "a library had something to say; its words are withheld, since they may quote the input"


class _Nothing(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None: ...


def _silence() -> None:
    """For the rest of this process: a warning may come from any of its threads at any time."""
    with _GUARD:
        warnings.simplefilter("ignore")
        root = logging.getLogger()
        if not root.handlers:  # else the handler of last resort prints
            root.addHandler(_Nothing())


@contextmanager
def quiet_libraries(asked: bool) -> Iterator[None]:
    """In this block, and after it, Python's warnings and the logs of libraries are printed no more."""
    if asked:
        _silence()
    yield
