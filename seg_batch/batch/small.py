"""A small input, done whole in one task: read, predicted, written and reported by one worker.

Nothing but the request goes there and a compact result comes back, so thousands cost the coordinator
little; the model stays loaded in the process. Whatever a task makes on the way has a name of its own,
so a worker that was thought dead and is not disturbs nobody.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from dataclasses import replace
from typing import Any

from seg_batch.batch.facts import result_of
from seg_batch.batch.queue import Item
from seg_batch.batch.retry import is_full, is_passing
from seg_batch.errors import DiskFullError, PassingError, SegbatchError
from seg_batch.verbs.outputs import ATTEMPT
from seg_batch.verbs.predict import predict_one
from seg_batch.verbs.request import Request


def here() -> str:
    """This process, as receipts and the journal name it."""
    return f"{socket.gethostname()}:{os.getpid()}"


def run_small(item: Item) -> dict[str, Any]:
    """The task. Raises what ``predict_one`` does, with a passing fault as ``PassingError`` and a full
    disk as ``DiskFullError``: causes do not survive the way back."""
    began = time.time()
    try:
        report = predict_one(attempt_at(item.request))
    except Exception as error:
        raise told_apart(error) from error
    return result_of(report, item.request.input, began, here())


def attempt_at(request: Request) -> Request:
    """The request with a work store of this attempt alone, done in this process."""
    name = f"{ATTEMPT}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    return replace(request, attempt=name, cluster="inline")


def told_apart(error: Exception) -> Exception:
    """The error as one whose type says by itself what can be done about it."""
    text = str(error) if isinstance(error, SegbatchError) else f"{type(error).__name__}: {error}"
    if is_full(error):
        return DiskFullError(text)
    if is_passing(error):
        return PassingError(text)
    return error if isinstance(error, SegbatchError) else SegbatchError(text)
