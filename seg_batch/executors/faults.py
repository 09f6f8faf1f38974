"""What an error says about the next try: none, later, elsewhere, or an end to everything."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Literal

from seg_batch.core.errors import (
    FULL,
    STUMBLES,
    BundleError,
    BusyError,
    DiskFullError,
    PartialResultError,
    PassingError,
    RefusedError,
    SegbatchError,
    StoppedError,
)

# final: no try changes it.      unable: this worker can't, another may.
# passing: the world may mend it. full: there is no space left.  other: nobody knows.
Fault = Literal["final", "unable", "passing", "full", "other"]


def fault_of(error: BaseException) -> Fault:
    """What is behind an error. To be asked where it was raised: causes do not travel."""
    causes = list(_causes(error))
    if any(_is_full(one) for one in causes):
        return "full"
    if isinstance(error, BusyError | PassingError):
        return "passing"
    if isinstance(error, SegbatchError) and any(_stumbled(one) for one in causes):
        return "passing"
    if isinstance(error, BundleError):
        return "unable"
    if isinstance(error, RefusedError | PartialResultError | StoppedError):
        return "final"
    return "passing" if _is_of_the_world(error) else "other"


def back_off_s(failures: int) -> float:
    """How long to wait after so many failures of one thing that may pass: 1, 4, 16, then 60 s."""
    return min(60.0, 4.0 ** (failures - 1))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _is_full(error: BaseException) -> bool:
    return isinstance(error, DiskFullError) or (isinstance(error, OSError) and error.errno in FULL)


def _stumbled(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in STUMBLES


def _is_of_the_world(error: BaseException) -> bool:
    """A disk, a link, or a worker that was lost: whatever Dask itself raises is one of the last."""
    of_dask = type(error).__module__.partition(".")[0] == "distributed"
    return of_dask or isinstance(error, OSError | MemoryError | CancelledError)
