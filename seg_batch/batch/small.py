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

from seg_batch.batch.facts import may_heal, result_of
from seg_batch.batch.queue import Item
from seg_batch.executors import Doubtful
from seg_batch.machine import here
from seg_batch.verbs.outputs import ATTEMPT
from seg_batch.verbs.predict import predict_one
from seg_batch.verbs.request import Request


def run_small(item: Item) -> dict[str, Any] | Doubtful:
    """The task: the result of ``facts.result_of``, or what ``predict_one`` raises."""
    began = time.time()
    report = predict_one(attempt_at(item.request))
    result = result_of(report, began, here())
    return Doubtful(result, why) if (why := may_heal(result)) else result


def attempt_at(request: Request) -> Request:
    """The request with a work store of this attempt alone, done in this process."""
    name = f"{ATTEMPT}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    return replace(request, attempt=name, cluster="inline")
