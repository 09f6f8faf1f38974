"""How Dask is set where its scheduler is started by us.

Each task waits at the scheduler until a worker is free, so that none waits behind a slow one. What
Dask measures of itself is turned down: at its own pace a scheduler without work takes 4 % of a core
(38 ms a second, measured; 7 with these), which over a night of small inputs is more than their tasks.
Its logs of messages keep few: each message holds the inputs it spoke of, 3 kB of them.
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
    """For as long as a scheduler is being started: it keeps what it found then. Its workers have Dask's
    own: with these, they end with noise on the terminal."""
    import dask

    return dask.config.set(SETTINGS)
