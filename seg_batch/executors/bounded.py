"""One scheduler for all pools: a bounded number of futures in flight, in the order of the items."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from seg_batch.errors import ClusterError, RefusedError, SegbatchError
from seg_batch.executors.pool import Outcome, Pool


def run_bounded(
    pool: Pool, function: Callable[..., Any], items: Iterable[Any], *, retries: int = 1
) -> Iterator[Outcome]:
    """``function(item)`` for every item, at most ``pool.window`` at once, in order of completion.

    An item that raises is tried again ``retries`` times, unless the error is a refusal that
    another try can't change. A pool that dies raises ClusterError: what is done is on disk.
    """
    ended: queue.Queue[tuple[Any, Any, int]] = queue.Queue()
    waiting = iter(items)
    in_flight = 0

    def start(item: Any, tries: int) -> None:
        future = pool.submit(function, item)
        future.add_done_callback(lambda f: ended.put((f, item, tries)))

    def start_next() -> int:
        for item in waiting:
            start(item, 0)
            return 1
        return 0

    for _ in range(pool.window):
        in_flight += start_next()
    while in_flight:
        future, item, tries = _next_ended(ended, pool)
        outcome = _outcome(future, item)
        if outcome.error is not None and tries < retries and _worth_retrying(outcome.error):
            start(item, tries + 1)
            continue
        in_flight += start_next() - 1
        yield outcome


def _next_ended(ended: queue.Queue[Any], pool: Pool) -> Any:
    while True:
        try:
            return ended.get(timeout=1)
        except queue.Empty:
            if not pool.alive():
                raise ClusterError(
                    "the Dask scheduler or all its workers are gone: start them and run the same "
                    "command again to resume"
                ) from None


def _outcome(future: Any, item: Any) -> Outcome:
    try:
        return Outcome(item, result=future.result())
    except Exception as error:
        return Outcome(item, error=error)


def _worth_retrying(error: BaseException) -> bool:
    return not isinstance(error, RefusedError) and not (
        isinstance(error, SegbatchError) and error.status == 3
    )
