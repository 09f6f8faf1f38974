"""The errors raised on purpose: the command line turns each into one line and an exit status.

A message says what was found, why it hurts and what to do. Every error takes exactly one positional
argument, so that it survives pickling on its way back from a worker.
"""

from __future__ import annotations

import errno
from enum import IntEnum

# ``errno`` of a full disk or a used-up quota, and of transient faults of a disk or a link.
FULL = (errno.ENOSPC, errno.EDQUOT)
STUMBLES = (errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EBUSY, errno.ETIMEDOUT, errno.ECONNRESET)


class Exit(IntEnum):
    """Exit statuses. ``PARTIAL``: the run ended, and some results are missing or incomplete;
    ``STOPPED``: it was interrupted, and the same command resumes it."""

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
        return type(self), (self.message,), self.__dict__  # with the notes


class RefusedError(SegbatchError):
    """The run can't start: bad input, usage or plan. Nothing was written."""

    status = Exit.REFUSED


class InputError(RefusedError):
    """The input file is missing, damaged, or not what the command needs."""


class WorkflowError(InputError):
    """A workflow or another file that users write asks for something impossible; the message names the
    line and the reason."""


class OutputError(RefusedError):
    """The output can't be written, or its path holds something that segbatch did not write."""


class BundleError(RefusedError):
    """The model bundle is unknown, damaged, or from a newer version."""


class PlanError(RefusedError):
    """The plan can't be carried out: it needs more memory or disk than allowed, or is contradictory."""


class NoRoomError(PlanError):
    """A worker would need more memory than it is allowed."""


class StoreError(RefusedError):
    """The work store belongs to another plan, or another process is writing to it."""


class DiskFullError(OutputError):
    """The disk, or a quota on it, is full: every input would fail, so the whole run stops."""

    status = Exit.STOPPED  # what is done is kept, and the same command resumes it


class BusyError(StoreError, OutputError):
    """Another run is writing here; a later try may succeed."""


class ClusterError(RefusedError):
    """The Dask cluster can't be reached or does not run the same version."""


class ReadError(SegbatchError):
    """A region of the input can't be read although its header could; the block is left empty."""


class DamagedError(SegbatchError):
    """Written data does not read back as it was written."""


class PassingError(SegbatchError):
    """A transient fault, such as a disk error or a lost worker; another try may succeed."""


class UnreadableError(InputError, PassingError):
    """No part of an input can be read although its header could: it is damaged, or its disk has a
    transient fault."""


class UnreachableError(InputError, PassingError):
    """A host does not answer, or not with what it was asked for, for as long as reads are tried again."""


class ChangedError(InputError):
    """An input changed while it was read: what was made of it so far is of another one."""


class PartialResultError(SegbatchError):
    """Some blocks failed; the product is marked as partial."""

    status = Exit.PARTIAL


class StoppedError(SegbatchError):
    """The run was interrupted; what is done is on disk, so it can be resumed."""

    status = Exit.STOPPED
