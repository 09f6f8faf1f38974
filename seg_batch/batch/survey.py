"""The survey: every input's header read and its plan made, on the workers, before any is begun.

What can't be done is known then, with the reason; the rest is ordered by what it will take.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import batched

from seg_batch.batch.job import PlannedInput, RefusedInput
from seg_batch.batch.journal.events import InputFacts
from seg_batch.batch.summaries import input_facts
from seg_batch.core.errors import ClusterError, SegbatchError
from seg_batch.core.hardware import here
from seg_batch.executors import Pool, run_bounded
from seg_batch.executors.faults import back_off_s, fault_of
from seg_batch.inference.request import Request, prepare

LOOKS = 3  # further ones at an input whose disk stumbles
TOGETHER = 8  # inputs per task: to look at one takes some milliseconds, as does to hand one out

Asked = tuple[str, Request]


def inspect_input(asked: tuple[Asked, ...]) -> list[InputFacts | RefusedInput]:
    """The task: what is known of each input."""
    return [_look(key, request) for key, request in asked]


def _look(key: str, request: Request, failures: int = 0) -> InputFacts | RefusedInput:
    try:
        return input_facts(prepare(request))
    except SegbatchError as error:
        if fault_of(error) == "passing" and failures < LOOKS:
            time.sleep(back_off_s(failures + 1))
            return _look(key, request, failures + 1)
        text = error.message
    except Exception as error:  # a file can break its reader in ways that nobody has thought of
        text = f"{request.input} can't be read ({type(error).__name__}: {error}): check the file"
    return RefusedInput(key, text, os.path.exists(request.input), here())


def survey_inputs(
    pool: Pool, requests: dict[str, Request], stop: Callable[[], bool]
) -> Iterator[PlannedInput | RefusedInput]:
    """Each input as it was found, as it comes; ends early once ``stop``.

    ClusterError where a worker does not see an input that is there: every other would be missing, too.
    """
    groups = (group for group in batched(requests.items(), TOGETHER) if not stop())
    for outcome in run_bounded(pool, inspect_input, groups):
        if outcome.error is not None:
            yield from (RefusedInput(key, _lost(outcome.error)) for key, _ in outcome.item)
            continue
        for (key, request), looked in zip(outcome.item, outcome.result, strict=True):
            if isinstance(looked, RefusedInput):
                _require_seen(looked, request)
                yield looked
            else:
                yield _planned(key, request, looked)


def _lost(error: BaseException) -> str:
    return f"the workers that looked at it were lost ({error}): run the same command again"


def _require_seen(refused: RefusedInput, request: Request) -> None:
    if not refused.seen and os.path.exists(request.input):
        raise ClusterError(
            f"worker {refused.worker} does not see {request.input}: put inputs and outputs on a file "
            "system that all workers share"
        )


def _planned(key: str, request: Request, facts: InputFacts) -> PlannedInput:
    """Engine and precision are now settled, so that whichever worker does it, and however often, the
    bytes are the same."""
    options = replace(request.options, engine=facts["engine"], precision=facts["precision"])
    return PlannedInput(key, replace(request, options=options), facts)
