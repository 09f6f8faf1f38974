"""Workers that die or are cut off, as any cluster's scheduler reports them; each once.

Also the respawn of our own cluster's processes that died while they started. A nanny restarts a worker
that dies at work, but gives up one that dies before, and Dask never retries. On a machine with too
little memory a run would lose one worker after the other.
"""

from __future__ import annotations

import queue
from typing import Any

Event = tuple[float, dict[str, Any]]

# The scheduler's name of what made it give up a worker -> the reason for the user.
_WHY = {
    "handle-worker-cleanup": "its process ended, or the link to it was cut",
    "check-worker-ttl": "nothing was heard of it for too long: it was suspended, or cut off",
}

GIVEN_UP = ("closed", "failed")  # a nanny's status after that


class WorkerEvents:
    """Collects the losses from now on. A worker that leaves as planned (retired, scaled down, at the end
    of its lifetime) is not lost."""

    def __init__(self, client: Any) -> None:
        self._lost: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._silent: set[str] = set()
        client.subscribe_topic("scheduler", self._on_scheduler)
        client.subscribe_topic("all", self._on_all)

    def take(self) -> list[tuple[str, str]]:
        """Address and reason of the workers lost since the last call."""
        lost = []
        while not self._lost.empty():
            lost.append(self._lost.get())
        return lost

    def _on_scheduler(self, event: Event) -> None:
        if event[1].get("action") == "worker-ttl-timed-out":
            self._silent.update(event[1]["workers"])

    def _on_all(self, event: Event) -> None:
        facts = event[1]
        if facts.get("action") != "remove-worker" or facts["expected"]:
            return
        worker = facts["worker"]
        cause = "check-worker-ttl" if worker in self._silent else facts["stimulus_id"]
        reasons = (why for name, why in _WHY.items() if cause.startswith(name))
        reason = next(reasons, "it left by itself")
        if tasks := len(facts["processing-tasks"]):
            reason += f"; what it had in hand ({tasks}) is done elsewhere"
        self._lost.put((worker, reason))


def respawn(cluster: Any, wanted: int) -> None:
    """Start processes until there are ``wanted``; returns at once."""

    def forget() -> None:
        for name, nanny in list(cluster.workers.items()):
            if nanny.status.name in GIVEN_UP:
                del cluster.workers[name]

    cluster.loop.add_callback(forget)
    cluster.scale(wanted)  # starts what is not in ``cluster.workers``, each with its own spec
