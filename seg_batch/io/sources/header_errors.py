"""Errors that libraries raise at a header, as a refusal of the file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from seg_batch.core.errors import InputError, SegbatchError
from seg_batch.io.sources.protocol import one_line, remedy_of

_NO_FAULT_OF_A_FILE = (SegbatchError, ImportError, SyntaxError, NameError)
_WORDS = 200  # characters of an error that are kept in the line
_log = logging.getLogger(__name__)


@contextmanager
def header_errors(path: str | Path, title: str) -> Iterator[None]:
    """``InputError`` of one line for whatever a reader of the format ``title`` raises while it opens ``path``.

    Readers raise errors of any type for a header that they did not expect. The line has the type and the
    words of the error, and guesses no reason; the traceback is logged, in case the fault is ours.
    """
    try:
        with np.errstate(all="ignore"):  # numbers that overflow are judged, not printed
            yield
    except _NO_FAULT_OF_A_FILE:
        raise
    except MemoryError as error:
        raise InputError(
            f"{path}: opening it needs more memory than there is: its header may be damaged; look at it in "
            "another program, or use a machine with more memory"
        ) from error
    except OSError as error:
        if error.errno is None:  # a library's, not the system's
            raise _refusal(path, title, error) from error
        raise InputError(f"{path}: can't be read ({error.strerror}); {remedy_of(error)}") from error
    except Exception as error:
        raise _refusal(path, title, error) from error


def _refusal(path: str | Path, title: str, error: Exception) -> InputError:
    _log.info("%s: %s does not open it", path, title, exc_info=True)
    words = f"{type(error).__name__}: {one_line(error)[:_WORDS]}"
    return InputError(
        f"{path}: its header or metadata can't be read as {title} ({words}); write it anew with the program "
        "that made it, or convert it"
    )
