"""The processes of a Dask cluster as a pool."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from seg_batch.executors.pool import IN_FLIGHT

PATIENCE_S = 60


class DaskPool:
    """Processes of a Dask cluster: one of our own making, or an existing one by address."""

    inline = False

    def __init__(self, client: Any, cluster: Any = None) -> None:
        self.name = client.scheduler.address if cluster is None else "local"
        self._client, self._cluster = client, cluster
        # A lost scheduler is told of in one line (``run_bounded``), not in Dask's tracebacks.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        self.workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
        self.window = (IN_FLIGHT + 1) * self.workers
        self._alone_since: float | None = None

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self._client.submit(function, *args, pure=False, retries=0)

    def ask(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """``function(*args)`` once on every worker, by worker address."""
        return dict(self._client.run(function, *args))

    def alive(self) -> bool:
        """False when the scheduler is gone, or has had no worker for a minute."""
        if self._client.status != "running":
            return False
        try:
            if self._client.nthreads():  # asked anew: scheduler_info is a copy that may be old
                self._alone_since = None
                return True
        except OSError:
            return False
        self._alone_since = self._alone_since or time.monotonic()
        return time.monotonic() - self._alone_since < PATIENCE_S

    def drain(self) -> None:
        """Nothing to wait for: a worker's block is written whole, or not marked."""

    def close(self) -> None:
        self._client.close(timeout=2)
        if self._cluster is not None:
            self._cluster.close(timeout=5)
