"""The survey: workers read the header of every input and plan it, before the first input is begun.

Inputs that can't be done are then refused with the reason; the others are ordered by estimates.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import batched
from typing import cast

from seg_batch.batch.job import PlannedInput, RefusedInput
from seg_batch.batch.journal.events import InputFacts
from seg_batch.batch.summaries import input_facts
from seg_batch.core.errors import ClusterError, SegbatchError
from seg_batch.core.files import file_of
from seg_batch.core.hardware import here
from seg_batch.core.privacy.addresses import is_remote
from seg_batch.executors import Pool, run_bounded
from seg_batch.executors.faults import back_off_s, fault_of
from seg_batch.inference.fit.verdict import Verdict
from seg_batch.inference.request import Request, prepare

LOOKS = 3  # retries of an input after a transient error of the disk
# Facts that are made of the plan and the model; ``warnings`` and ``fit`` have passed the gate before.
TOLD_ANYWAY = (
    "kind",
    "time",
    "output",
    "of",
    "model",
    "engine",
    "precision",
    "warnings",
    "fit",
    "also",
)
OF_GEOMETRY = ("slices", "spacing_mm", "tilt_deg", "modality")  # of what people know a volume by
TOGETHER = 8  # inputs per task: to inspect one takes some milliseconds, as does to submit a task


def inspect_inputs(group: tuple[tuple[str, Request], ...]) -> list[InputFacts | RefusedInput]:
    """The task: the facts of each input of a group, given by key and request."""
    return [_inspect(key, request) for key, request in group]


def _inspect(key: str, request: Request, failures: int = 0) -> InputFacts | RefusedInput:
    try:
        return told_facts(input_facts(prepare(request)), request)
    except SegbatchError as error:
        if fault_of(error) == "passing" and failures < LOOKS:
            time.sleep(back_off_s(failures + 1))
            return _inspect(key, request, failures + 1)
        text = error.message
    except Exception as error:  # a damaged file can make a library raise anything
        text = f"{request} can't be read ({type(error).__name__}: {error}): check the file"
    return RefusedInput(key, text, _exists(request), here())


def told_facts(facts: InputFacts, request: Request) -> InputFacts:
    """The facts of an input that is not to be known, as they may be told."""
    if (hidden := request.pseudonym) is None:
        return facts
    told = {key: v if key in TOLD_ANYWAY else hidden.told_of(v) for key, v in facts.items()}
    told["image"] = {key: v for key, v in facts.get("image", {}).items() if key in OF_GEOMETRY}
    return cast(InputFacts, told)


def _exists(request: Request) -> bool:
    return all(is_remote(path) or file_of(path).exists() for path in request.files)


def survey_inputs(
    pool: Pool, requests: dict[str, Request], stop: Callable[[], bool]
) -> Iterator[PlannedInput | RefusedInput]:
    """Each input, planned or refused, as its task ends; ends early once ``stop()`` is true.

    ClusterError where a worker does not see an input that this process sees: all others would be
    missing there, too.
    """
    groups = (group for group in batched(requests.items(), TOGETHER) if not stop())
    for outcome in run_bounded(pool, inspect_inputs, groups):
        if (error := outcome.error) is not None:
            lost = f"the workers that looked at it were lost ({error}): run the same command again"
            yield from (RefusedInput(key, lost) for key, _ in outcome.item)
            continue
        for (key, request), result in zip(outcome.item, outcome.result, strict=True):
            if not isinstance(result, RefusedInput):
                yield _planned(key, request, result)
                continue
            if not result.seen and _exists(request):
                raise ClusterError(
                    f"worker {result.worker} does not see {request}: put inputs and outputs on "
                    "a file system that all workers share"
                )
            yield result


def _planned(key: str, request: Request, facts: InputFacts) -> PlannedInput:
    """The survey fixes engine and precision, so that every worker and every attempt gives the same
    bytes. It has looked at the input, which is not looked at again."""
    options = replace(request.options, engine=facts["engine"], precision=facts["precision"])
    verdict = Verdict.from_json(facts["fit"])
    return PlannedInput(key, replace(request, options=options, verdict=verdict), facts)
