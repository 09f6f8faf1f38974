"""An iterator that runs ahead in a thread, so that the next batch is ready when it is wanted."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_END = object()


@contextmanager
def prefetched[T](items: Iterator[T], depth: int = 3) -> Iterator[Iterator[T]]:
    """Give an iterator over `items` that keeps up to `depth` of them ready.

    Exceptions of `items` are raised where the item would have come. Leaving the context stops the
    thread, also when not all items have been taken.
    """
    ready: queue.Queue[Any] = queue.Queue(maxsize=depth)
    stop = threading.Event()
    thread = threading.Thread(target=_fill, args=(iter(items), ready, stop), daemon=True)
    thread.start()
    try:
        yield _drain(ready)
    finally:
        stop.set()
        while thread.is_alive():  # a full queue would block the thread for ever
            _discard(ready)
            thread.join(0.05)


def _fill(items: Iterator[Any], ready: "queue.Queue[Any]", stop: threading.Event) -> None:
    try:
        for item in items:
            ready.put((item, None))
            if stop.is_set():
                return
        ready.put((_END, None))
    except BaseException as error:  # handed over, not swallowed
        ready.put((_END, error))


def _drain(ready: "queue.Queue[Any]") -> Iterator[Any]:
    while True:
        item, error = ready.get()
        if error is not None:
            raise error
        if item is _END:
            return
        yield item


def _discard(ready: "queue.Queue[Any]") -> None:
    with suppress(queue.Empty):
        ready.get_nowait()
