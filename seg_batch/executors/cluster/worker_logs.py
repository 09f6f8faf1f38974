"""Bringing home what libraries log in the workers of a pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seg_batch.executors.pool import Pool


def gather_logs(pool: Pool, told: Callable[[dict[str, Any]], None]) -> None:
    """From now on ``told`` hears each warning and error of each worker, those that come later too:
    ``process`` (host:pid), ``level``, ``logger``, ``text``. It is called from a thread of the pool.

    Nothing to do for a pool in this process, whose libraries log here anyway.
    """
    if pool.inline:
        return
    from seg_batch.executors.cluster.worker_plugins import LOG_TOPIC, GatherLogs

    client = pool._client  # type: ignore[attr-defined]  # of the same room: a DaskPool
    client.subscribe_topic(LOG_TOPIC, lambda event: told(event[1]))
    client.register_plugin(GatherLogs())
