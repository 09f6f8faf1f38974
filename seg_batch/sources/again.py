"""Reading again what a disk or a link stumbled over, before anybody is told that it can't be read."""

from __future__ import annotations

import time
from collections.abc import Callable

from seg_batch.errors import STUMBLES

WAITS_S = (0.1, 0.4)
PATIENCE = 8  # reads that may fail one after another; then nothing is waited for until one succeeds


class Again:
    """Of one source; a file whose disk is dead costs a few seconds, however many chunks it has."""

    def __init__(self) -> None:
        self._failed = 0

    def __call__[T](self, read: Callable[[], T]) -> T:
        """What ``read`` returns, the first, second or third time. Its OSError, where that says that
        another try may succeed and none did; any other at once."""
        waits = iter(WAITS_S if self._failed < PATIENCE else ())
        while True:
            try:
                found = read()
            except OSError as error:
                wait_s = next(waits, None) if error.errno in STUMBLES else None
                if wait_s is None:
                    self._failed += 1
                    raise
                time.sleep(wait_s)
            else:
                self._failed = 0
                return found
