"""What can go wrong, as types: the command line turns each into one line and an exit status.

A message says what was found, why it hurts and what to do. Every error takes exactly one
positional argument, so that it survives pickling on its way back from a worker.
"""

from __future__ import annotations

import errno
from enum import IntEnum

# What the system says of a disk with no space, or a quota with none left; and of a disk or a link that
# may be well in a moment.
FULL = (errno.ENOSPC, errno.EDQUOT)
STUMBLES = (errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EBUSY, errno.ETIMEDOUT, errno.ECONNRESET)


class Exit(IntEnum):
    """Exit statuses. ``PARTIAL``: the end was reached, and not all was made as asked; ``STOPPED``:
    it was not, and the same command goes on."""

    COMPLETE = 0
    FAULT = 1
    REFUSED = 2
    PARTIAL = 3
    STOPPED = 130


class SegbatchError(Exception):
    """Base of all errors raised on purpose. ``status`` is the exit status of the command."""

    status = Exit.FAULT

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return type(self), (self.message,), self.__dict__  # notes travel, too


class RefusedError(SegbatchError):
    """The run can't begin as asked: bad input, usage or plan. Nothing was written."""

    status = Exit.REFUSED


class InputError(RefusedError):
    """The input file is missing, damaged, or not what the command needs."""


class WorkflowError(InputError):
    """A workflow, or another file that people write for us, says what can't be done: at which line, and
    why."""


class OutputError(RefusedError):
    """The output can't be written, or something that is not ours is in its place."""


class BundleError(RefusedError):
    """The model bundle is unknown, damaged, or from a newer version."""


class PlanError(RefusedError):
    """The plan can't be carried out: it needs more memory or disk than allowed, or makes no sense."""


class StoreError(RefusedError):
    """The work store belongs to another plan, or another process is writing to it."""


class DiskFullError(OutputError):
    """The disk, or a quota on it, is full: every input would fail, so the whole run stops."""


class BusyError(StoreError, OutputError):
    """Another run is writing here: it may be done soon, so another try may succeed."""


class ClusterError(RefusedError):
    """The Dask cluster can't be reached or does not run the same version."""


class ReadError(SegbatchError):
    """A region of the input can't be read although its header could: the block becomes a hole."""


class DamagedError(SegbatchError):
    """What was written does not read back as it was written."""


class PassingError(SegbatchError):
    """A fault that another try may not meet: a disk that stumbled, a worker that was lost."""


class UnreadableError(InputError, PassingError):
    """No part of an input can be read although its header could: damaged, or its disk stumbles."""


class PartialResultError(SegbatchError):
    """Some blocks failed; the product is marked as partial."""

    status = Exit.PARTIAL


class StoppedError(SegbatchError):
    """The run was asked to stop before its end; what is done is on disk, so it can be resumed."""

    status = Exit.STOPPED
