"""Standard streams that may be closed, or end in a pipe that nobody reads or on a full disk.

The work is worth more than the lines about it: no stream ends a command before its work is done.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import Any

_MODES = {"stdin": "r", "stdout": "w", "stderr": "w"}


class _Tolerant(io.FileIO):
    """The end of a stream. After the first error, ``error``, nothing more is written."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        while self.error is None:
            try:
                written = super().write(data)
            except OSError as error:
                self.error = error
            else:
                if written is not None:
                    return written
                select.select([], [self], [])  # a pipe that does not wait, and is full
        return memoryview(data).nbytes


def open_standard_streams() -> None:
    """Open on the null device what is closed of file descriptors 0 to 2, before a file gets one of them
    and the lines of a library with it; processes that are started inherit them. From then on the
    streams take writes that fail."""
    for number, (name, mode) in enumerate(_MODES.items()):
        _occupy(number)
        stream = getattr(sys, name)
        if stream is None:  # closed when Python began
            handle = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(handle, mode, encoding="utf-8"))
        elif mode == "w":
            setattr(sys, name, _tolerant(stream))


def _occupy(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        os.set_inheritable(number, True)


def _tolerant(stream: Any) -> io.TextIOWrapper:
    stream.flush()
    end = _Tolerant(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(end),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def write_error(stream: Any) -> OSError | None:
    """The error after which a standard stream took nothing more; None where it takes all."""
    end = getattr(getattr(stream, "buffer", None), "raw", None)
    return end.error if isinstance(end, _Tolerant) else None
