"""Which faults pass, and how long to wait for that.

Permanent is what another try can't change: a file that is no image, a model that does not fit, a block
that the model can't do. Passing is what the world may mend by itself: a disk or network that stumbles,
a worker that is killed, an output that another run is still writing.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from concurrent.futures import CancelledError

from seg_batch.errors import BusyError, DiskFullError, PassingError, SegbatchError

FULL = (errno.ENOSPC, errno.EDQUOT)
FIRST_WAIT_S, GROWTH = 1.0, 4.0


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def is_full(error: BaseException) -> bool:
    """Whether a disk that is full, or a quota, is behind the error."""
    return any(
        isinstance(one, DiskFullError) or (isinstance(one, OSError) and one.errno in FULL)
        for one in _causes(error)
    )


def is_passing(error: BaseException) -> bool:
    """Whether another try may succeed. The innermost cause decides."""
    return any(_passes(one) for one in _causes(error))


def _passes(error: BaseException) -> bool:
    if isinstance(error, SegbatchError):
        return isinstance(error, BusyError | PassingError)
    of_dask = type(error).__module__.startswith("distributed")  # KilledWorker, CommClosedError
    return of_dask or isinstance(error, OSError | MemoryError | CancelledError)


def wait_s(attempt: int) -> float:
    """Seconds before the try after attempt 1, 2, 3: 1, 4, 16."""
    return FIRST_WAIT_S * GROWTH ** (attempt - 1)
