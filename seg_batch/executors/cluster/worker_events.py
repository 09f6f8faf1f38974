"""Workers that die or are cut off, as the scheduler sees it: of whatever cluster, and each once.

Also processes of our own cluster that died while they were starting: begun anew. A nanny restarts a
worker that dies at work; one that dies on its way there, it gives up, and Dask never looks again. On a
machine with too little memory, a night would lose one worker after the other.
"""

from __future__ import annotations

import queue
from typing import Any

Event = tuple[float, dict[str, Any]]

# By how the scheduler names what made it give a worker up.
_WHY = {
    "handle-worker-cleanup": "its process ended, or the link to it was cut",
    "check-worker-ttl": "nothing was heard of it for too long: it was suspended, or cut off",
}

GIVEN_UP = ("closed", "failed")  # what a nanny's status is called then


class WorkerEvents:
    """Listens from now on. Whoever leaves as agreed (retired, scaled down, at the end of its lifetime)
    is not lost."""

    def __init__(self, client: Any) -> None:
        self._lost: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._silent: set[str] = set()
        client.subscribe_topic("scheduler", self._on_scheduler)
        client.subscribe_topic("all", self._on_all)

    def told(self) -> list[tuple[str, str]]:
        """Address and reason of those lost since this was last asked."""
        found = []
        while not self._lost.empty():
            found.append(self._lost.get())
        return found

    def _on_scheduler(self, event: Event) -> None:
        if event[1].get("action") == "worker-ttl-timed-out":
            self._silent.update(event[1]["workers"])

    def _on_all(self, event: Event) -> None:
        told = event[1]
        if told.get("action") != "remove-worker" or told["expected"]:
            return
        worker = told["worker"]
        cause = "check-worker-ttl" if worker in self._silent else told["stimulus_id"]
        why = next(
            (why for name, why in _WHY.items() if cause.startswith(name)), "it left by itself"
        )
        in_hand = len(told["processing-tasks"])
        more = f"; what it had in hand ({in_hand}) is done elsewhere" if in_hand else ""
        self._lost.put((worker, why + more))


def respawn(cluster: Any, wanted: int) -> None:
    """See to it that there will be ``wanted`` processes; returns at once."""

    def forget() -> None:
        for name, nanny in list(cluster.workers.items()):
            if nanny.status.name in GIVEN_UP:
                del cluster.workers[name]

    cluster.loop.add_callback(forget)
    cluster.scale(wanted)  # opens what is not in ``cluster.workers``, each as it was
