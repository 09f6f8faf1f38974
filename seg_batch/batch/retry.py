"""Which faults of an input pass, and how long to wait for that."""

from __future__ import annotations

from seg_batch.executors.faults import fault_of

FIRST_WAIT_S, GROWTH = 1.0, 4.0


def is_full(error: BaseException) -> bool:
    """Whether a disk that is full, or a quota, is behind the error."""
    return fault_of(error) == "full"


def is_passing(error: BaseException) -> bool:
    """Whether the world may mend it by itself, so that another try may succeed."""
    return fault_of(error) == "passing"


def wait_s(attempt: int) -> float:
    """Seconds before the try after attempt 1, 2, 3: 1, 4, 16."""
    return FIRST_WAIT_S * GROWTH ** (attempt - 1)
