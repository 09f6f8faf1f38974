"""What an error says about the next try: none, later, on another worker, or an end of the run."""

from __future__ import annotations

from collections.abc import Collection, Iterator
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

# final: permanent, no try changes it.    unable: a fault of this worker, another may succeed.
# passing: transient, retried later.      full: no disk space left.       other: of unknown kind.
Fault = Literal["final", "unable", "passing", "full", "other"]


def fault_of(error: BaseException) -> Fault:
    """The kind of an error. Call it where the error was raised: causes are lost in transport."""
    causes = list(_causes(error))
    if any(isinstance(cause, DiskFullError) or _has_errno(cause, FULL) for cause in causes):
        return "full"
    if isinstance(error, BusyError | PassingError):
        return "passing"
    if isinstance(error, SegbatchError) and any(_has_errno(cause, STUMBLES) for cause in causes):
        return "passing"
    if isinstance(error, BundleError):
        return "unable"
    if isinstance(error, RefusedError | PartialResultError | StoppedError):
        return "final"
    # What Dask itself raises is about a lost worker.
    of_dask = type(error).__module__.partition(".")[0] == "distributed"
    is_external = of_dask or isinstance(error, OSError | MemoryError | CancelledError)
    return "passing" if is_external else "other"


def back_off_s(failures: int) -> float:
    """Exponential backoff after so many transient failures: 1, 4, 16, then 60 s."""
    return min(60.0, 4.0 ** (failures - 1))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _has_errno(error: BaseException, numbers: Collection[int]) -> bool:
    return isinstance(error, OSError) and error.errno in numbers
