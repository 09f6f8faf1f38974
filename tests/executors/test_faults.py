"""What an error says about the next try."""

import errno
import pickle
from concurrent.futures import CancelledError

import pytest

from seg_batch.core.errors import (
    BundleError,
    BusyError,
    ClusterError,
    DiskFullError,
    InputError,
    OutputError,
    PassingError,
    SegbatchError,
    StoppedError,
    UnreadableError,
)
from seg_batch.executors.faults import fault_of
from seg_batch.executors.task import TaskWrapper


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (InputError("no image"), "final"),
        (ClusterError("old"), "final"),
        (StoppedError("asked"), "final"),
        (caused(InputError("unreadable"), FileNotFoundError(2, "gone")), "final"),
        (caused(OutputError("refused"), PermissionError(errno.EACCES, "no")), "final"),
        (caused(OutputError("stumbled"), OSError(errno.EIO, "I/O")), "passing"),
        (BundleError("no weights"), "unable"),
        (BusyError("another run"), "passing"),
        (PassingError("lost"), "passing"),
        (UnreadableError("no part of it"), "passing"),
        (OSError(errno.EIO, "I/O"), "passing"),
        (CancelledError(), "passing"),
        (MemoryError(), "passing"),
        (DiskFullError("full"), "full"),
        (OSError(errno.ENOSPC, "full"), "full"),
        (OSError(errno.EDQUOT, "quota"), "full"),
        (caused(ValueError("zstd"), OSError(errno.ENOSPC, "full")), "full"),
        (caused(SegbatchError("x"), caused(KeyError(1), OSError(errno.ENOSPC, "y"))), "full"),
        (ValueError("shape"), "other"),
        (SegbatchError("not a number"), "other"),
    ],
)
def test_what_is_behind_an_error(error: Exception, fault: str) -> None:
    assert fault_of(error) == fault


@pytest.mark.full
def test_a_lost_worker_passes() -> None:
    distributed = pytest.importorskip("distributed")
    assert fault_of(distributed.scheduler.KilledWorker("task", None, 4)) == "passing"


def test_the_end_of_an_item_tells_what_its_causes_were_before_they_are_lost() -> None:
    def full(item: int) -> None:
        try:
            raise OSError(errno.ENOSPC, "no space left")
        except OSError as error:
            raise ValueError("could not write") from error

    assert TaskWrapper(full)(1).fault == "full"


def test_notes_of_an_error_of_ours_travel() -> None:
    error = InputError("what was found")
    error.add_note("where")
    back = pickle.loads(pickle.dumps(error))
    assert (back.message, back.__notes__) == ("what was found", ["where"])
