"""How Dask is set where its scheduler is started by us.

Each task waits at the scheduler until a worker is free, so that none waits behind a slow one. What
Dask measures of itself is turned down: at its own pace a scheduler without work takes 4 % of a core
(38 ms a second, measured; 7 with these), which over a night of small inputs is more than their tasks.
Its logs of messages keep few: each message holds the inputs it spoke of, 3 kB of them. A worker kept
what its profiler saw in each of the last 1000 seconds, and grew by it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

SETTINGS = {
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.worker.profile.enabled": False,
    "distributed.admin.low-level-log-length": 20,  # messages kept, each with its tasks
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.tick.limit": "30s",
    "distributed.admin.system-monitor.interval": "2s",
    "distributed.admin.system-monitor.log-length": 1800,  # an hour
    "distributed.admin.system-monitor.disk": False,
}


def our_settings() -> AbstractContextManager[object]:
    """For as long as a cluster is being started: its scheduler keeps what it found then. A nanny reads
    them when it comes to it, which may be later: it is given ``SETTINGS`` as its ``config``."""
    import dask
    import distributed  # noqa: F401  its own come first, else they would leave with ours

    return dask.config.set(SETTINGS)
